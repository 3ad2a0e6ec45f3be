//! The web pages for residents, kiosks, staff, gates and operations. The portal serves them.
//!
//! Handlers translate between pages and the typed gRPC services; they decide nothing about codes. A page's session is a
//! sealed cookie ([`session`]), which every portal with the same key opens. What must be remembered about sessions is a
//! small record in `crates/access-records`.
//!
//! | module | content |
//! |---|---|
//! | `site` | the parts, the shared state, the routes |
//! | `access` | start links, sign-in, sign-out |
//! | `my` | a resident's own codes |
//! | `kiosk`, `staff`, `gate`, `ops` | the pages of devices and operators |
//! | `issued`, `picture`, `paper` | codes in sealed cookies, as images, as print sheets in PDF, and as print sheets in HTML |
//! | `checks` | what the pages of checkpoints and gates share: the call of the verifier, the verdict |
//! | `frame`, `lang`, `words` | what all pages share: language, view, texts (Fluent) |
//! | [`session`], `seal` | sessions as sealed cookies |
//! | `guard` | applies to every page: the `Host` header, the origin of forms, security headers |
//! | `limits` | how often a secret may be guessed |
//! | `caller` | access tokens for the calls that a page makes |
//! | `acts` | what an act did, in words |
//! | `typed` | what people type, in plain characters |
//! | `assets` | the built browser files |

mod access;
mod acts;
mod assets;
mod caller;
mod checks;
mod frame;
mod gate;
mod guard;
mod issued;
mod kiosk;
mod lang;
mod limits;
mod my;
mod ops;
mod paper;
mod picture;
mod problem_page;
mod seal;
pub mod session;
mod site;
mod staff;
mod typed;
mod when;
mod words;

pub use access::oidc::SignInSettings;
pub use access::start::{LIFETIME_SECONDS as START_LINK_SECONDS, StartFor, StartLinks};
pub use caller::{AssertionSource, DemoAssertions, LocalPageTokens, PageCaller, PageTokens};
pub use kiosk::settings::{Identification, KioskSettings, PrintFormat};
pub use problem_page::UnknownAddresses;
pub use site::{DemoPerson, Pages, PagesParts};
