//! The parts of the pages, the state that handlers share, and the routes.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use citycode_access_records::AccessRecords;
use citycode_domain::policy::{KindPolicy, Policy};
use citycode_qr::Fonts;
use citycode_service_clients::Clients;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::entropy::{Draw as _, Entropy};
use jiff::tz::TimeZone;
use zeroize::Zeroizing;

use crate::access::oidc::{Provider, SignInSettings};
use crate::access::start::StartLinks;
use crate::caller::{AssertionSource, PageTokens};
use crate::kiosk::settings::KioskSettings;
use crate::limits::Limits;
use crate::problem_page::UnknownAddresses;
use crate::seal::Seal;
use crate::words::Words;
use crate::{access, assets, gate, guard, kiosk, my, ops, problem_page, staff};

/// A sample resident of `citycode up --demo`.
#[derive(Clone, Debug)]
pub struct DemoPerson {
    /// ID number of nobody.
    pub id_number: String,
    /// An invented name.
    pub name: String,
    /// What makes the person a sample: the id of a text of the pages.
    pub role: String,
}

/// The parts of the pages.
pub struct PagesParts {
    /// Clients of the services.
    pub clients: Clients,
    /// The policy: labels, kinds, places, channels.
    pub policy: Arc<Policy>,
    /// Access tokens for the calls of pages.
    pub tokens: Arc<dyn PageTokens>,
    /// Assertions about people for channels that demand them; without a source those channels are not offered.
    pub assertions: Option<Arc<dyn AssertionSource>>,
    /// The records of sessions and devices.
    pub records: Arc<dyn AccessRecords>,
    /// The key of sealed cookies, the same for all portals of a city.
    pub session_key: Zeroizing<[u8; 32]>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The fonts of pictures and print sheets.
    pub fonts: Arc<Fonts>,
    /// How kiosks identify people and print.
    pub kiosk: KioskSettings,
    /// The sample residents; empty unless this is a demo.
    pub demo: Vec<DemoPerson>,
    /// How people sign in through a provider, if they do.
    pub sign_in: Option<SignInSettings>,
    /// Host names under which the pages are served, beside loopback and addresses: for example `code.example.org`.
    pub host_names: Vec<String>,
    /// Whether browsers reach the pages over TLS, so that cookies are sent over TLS only.
    pub secure: bool,
}

/// The shared state of handlers.
pub(crate) struct Site {
    pub(crate) clients: Clients,
    pub(crate) policy: Arc<Policy>,
    pub(crate) zone: TimeZone,
    pub(crate) tokens: Arc<dyn PageTokens>,
    pub(crate) assertions: Option<Arc<dyn AssertionSource>>,
    pub(crate) records: Arc<dyn AccessRecords>,
    pub(crate) seal: Seal,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) fonts: Arc<Fonts>,
    pub(crate) words: Words,
    pub(crate) limits: Limits,
    pub(crate) kiosk: KioskSettings,
    pub(crate) kiosk_tries: kiosk::Tries,
    pub(crate) demo: Vec<DemoPerson>,
    pub(crate) provider: Option<Provider>,
    pub(crate) host_names: Vec<String>,
    secure: bool,
}

/// The state of every handler.
pub(crate) type SharedSite = axum::extract::State<Arc<Site>>;

impl Site {
    /// Unix seconds.
    pub(crate) fn now(&self) -> i64 {
        self.clock.now().0
    }

    /// 16 random bytes.
    pub(crate) fn draw(&self) -> [u8; 16] {
        self.entropy.array()
    }

    pub(crate) fn is_demo(&self) -> bool {
        !self.demo.is_empty()
    }

    /// The attribute of cookies that are sent over TLS only.
    pub(crate) fn secure_attribute(&self) -> &'static str {
        if self.secure { "; Secure" } else { "" }
    }

    pub(crate) fn kind(&self, name: &str) -> Option<&KindPolicy> {
        self.policy.kind_named(name)
    }
}

/// The web pages. They have no state except their connections and records.
pub struct Pages {
    router: Router,
    start_links: StartLinks,
}

impl Pages {
    /// Builds all routes once.
    ///
    /// # Errors
    /// Why the settings of the sign-in cannot be used.
    pub fn new(parts: PagesParts) -> Result<Self, String> {
        let PagesParts {
            clients,
            policy,
            tokens,
            assertions,
            records,
            session_key,
            clock,
            entropy,
            fonts,
            kiosk,
            demo,
            sign_in,
            host_names,
            secure,
        } = parts;
        let provider = sign_in.map(Provider::new).transpose()?;
        let site = Arc::new(Site {
            clients,
            zone: citycode_policy_file::time_zone(&policy.time_zone).unwrap_or(TimeZone::UTC),
            policy,
            tokens,
            assertions,
            records,
            seal: Seal::new(&session_key),
            clock,
            entropy,
            fonts,
            words: Words::built_in(),
            limits: Limits::new(),
            kiosk,
            kiosk_tries: kiosk::Tries::default(),
            demo,
            provider,
            host_names,
            secure,
        });
        let pages = Router::new()
            .merge(access::routes())
            .merge(my::routes())
            .merge(kiosk::routes())
            .merge(staff::routes())
            .merge(gate::routes())
            .merge(ops::routes())
            .layer(from_fn_with_state(Arc::clone(&site), problem_page::show_errors))
            .layer(from_fn_with_state(Arc::clone(&site), guard::check))
            .with_state(Arc::clone(&site));
        Ok(Self {
            start_links: StartLinks(site),
            router: pages.merge(assets::routes()),
        })
    }

    /// Makes start links.
    #[must_use]
    pub fn start_links(&self) -> StartLinks {
        self.start_links.clone()
    }

    /// The page at unknown addresses.
    #[must_use]
    pub fn unknown_addresses(&self) -> UnknownAddresses {
        UnknownAddresses(Arc::clone(&self.start_links.0))
    }

    /// The routes, to be merged into the portal's.
    pub fn into_router(self) -> Router {
        self.router
    }
}
