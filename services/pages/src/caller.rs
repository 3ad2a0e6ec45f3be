//! Access tokens for the calls that a page makes for its reader.
//!
//! Services authorise every call by the caller's token, also a page's. The pages sign short tokens: with `citycode up`
//! with an authority that exists only in the process, on NATS with one that all portals share. Each token has only the
//! role that the call needs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use citycode_auth::{AUDIENCE, Grant, LocalAuthority, PAGE_TOKEN_SECONDS, Role};
use citycode_service_kit::clock::Clock;
use citycode_service_kit::deadline;
use citycode_service_kit::entropy::Entropy;
use citycode_service_kit::problem::Problem;
use citycode_service_kit::telemetry::current_traceparent;
use citycode_wire::proto::model::v1::Authentication;
use data_encoding::HEXLOWER;
use std::sync::Mutex;
use tonic::metadata::MetadataValue;
use zeroize::Zeroizing;

use crate::site::Site;

/// How the pages name the authentication of a demo.
const METHOD: &str = "demo";
/// A token is signed anew when it has been used for so long.
const USED_FOR: Duration = Duration::from_secs(240);
/// Tokens that are remembered; beyond that the memory is emptied.
const MOST_REMEMBERED: usize = 4_096;

/// The caller of a page's calls.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PageCaller {
    /// The subject of its token: it names no person. Command ids are scoped to it.
    pub subject: String,
    /// Its role.
    pub role: Role,
    /// Whether it may ask whether an ID card itself admits.
    pub card_reader: bool,
}

impl PageCaller {
    /// A resident who acts through a channel.
    pub(crate) fn resident(site: &Site, id_number: &str, channel: &str) -> Self {
        let person = site.seal.name("caller", id_number.as_bytes());
        Self {
            subject: format!("pages-{}", HEXLOWER.encode(&person)),
            role: Role::Channel(channel.to_owned()),
            card_reader: false,
        }
    }

    /// A kiosk that acts through its channel.
    pub(crate) fn kiosk(site: &Site, device_id: &str, channel: &str) -> Self {
        let device = site.seal.name("caller", device_id.as_bytes());
        Self {
            subject: format!("pages-kiosk-{}", HEXLOWER.encode(&device)),
            role: Role::Channel(channel.to_owned()),
            card_reader: false,
        }
    }
}

/// Where pages get access tokens from.
pub trait PageTokens: Send + Sync {
    /// An access token for this caller, as in `authorization: Bearer TOKEN`.
    ///
    /// # Errors
    /// A [`Problem`]: this deployment gives the caller no token.
    fn token(&self, caller: &PageCaller) -> Result<Zeroizing<String>, Problem>;
}

/// Where pages get assertions from: an identity provider's statement that a person was authenticated, one per act.
pub trait AssertionSource: Send + Sync {
    /// An assertion about the person with this ID number.
    ///
    /// # Errors
    /// A [`Problem`]: there is none.
    fn assertion(&self, id_number: &str) -> Result<Zeroizing<String>, Problem>;
}

/// Assertions of a demo, in which anybody on the machine may be anybody.
pub struct DemoAssertions {
    /// The authority that the services of the process trust for assertions.
    pub authority: LocalAuthority,
    /// The randomness for their ids.
    pub entropy: Arc<dyn Entropy>,
    /// The clock for their times.
    pub clock: Arc<dyn Clock>,
}

impl AssertionSource for DemoAssertions {
    fn assertion(&self, id_number: &str) -> Result<Zeroizing<String>, Problem> {
        let made = self
            .authority
            .mint_assertion(id_number, METHOD, &*self.entropy, self.clock.now());
        made.map_err(|error| {
            tracing::error!(%error, "an assertion of the demo could not be signed");
            Problem::internal()
        })
    }
}

/// Tokens of an authority whose key the pages have.
pub struct LocalPageTokens {
    authority: LocalAuthority,
    clock: Arc<dyn Clock>,
    /// Whether the tokens are valid on this machine only.
    local_only: bool,
    remembered: Mutex<HashMap<PageCaller, (Duration, Zeroizing<String>)>>,
}

impl LocalPageTokens {
    /// Signs with an authority that only the services of this process trust.
    #[must_use]
    pub fn in_process(authority: LocalAuthority, clock: Arc<dyn Clock>) -> Self {
        Self::new(authority, clock, true)
    }

    /// Signs with the authority of a city's portals ([`LocalAuthority::of_pages`]), which services on other machines trust.
    #[must_use]
    pub fn of_portals(authority: LocalAuthority, clock: Arc<dyn Clock>) -> Self {
        Self::new(authority, clock, false)
    }

    fn new(authority: LocalAuthority, clock: Arc<dyn Clock>, local_only: bool) -> Self {
        Self {
            authority,
            clock,
            local_only,
            remembered: Mutex::default(),
        }
    }
}

impl PageTokens for LocalPageTokens {
    fn token(&self, caller: &PageCaller) -> Result<Zeroizing<String>, Problem> {
        let now = self.clock.monotonic();
        let mut remembered = self.remembered.lock().expect("no thread panics while holding it");
        if let Some((signed, token)) = remembered.get(caller)
            && now.saturating_sub(*signed) < USED_FOR
        {
            return Ok(token.clone());
        }
        let grant = Grant {
            subject: &caller.subject,
            roles: std::slice::from_ref(&caller.role),
            card_reader: caller.card_reader,
            local_only: self.local_only,
            lifetime_seconds: PAGE_TOKEN_SECONDS,
        };
        let token = self
            .authority
            .mint(&grant, AUDIENCE, self.clock.now())
            .map_err(|error| {
                tracing::error!(%error, "an access token of a page could not be signed");
                Problem::internal()
            })?;
        if remembered.len() >= MOST_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(caller.clone(), (now, token.clone()));
        Ok(token)
    }
}

impl Site {
    /// How the acting person was authenticated, if the channel demands an assertion; a new one for each call.
    ///
    /// # Errors
    /// There is no assertion.
    pub(crate) fn authentication(&self, channel: &str, id_number: &str) -> Result<Option<Authentication>, Problem> {
        let needed = self
            .policy
            .channel(channel)
            .is_some_and(|channel| channel.needs_assertion);
        let Some(source) = self.assertions.as_ref().filter(|_| needed) else {
            return Ok(None);
        };
        let assertion = source.assertion(id_number)?;
        Ok(Some(Authentication {
            method: METHOD.to_owned(),
            assertion: assertion.to_string(),
        }))
    }

    /// The message as a gRPC request of this caller.
    ///
    /// # Errors
    /// The caller gets no token.
    pub(crate) fn request<T>(&self, caller: &PageCaller, message: T) -> Result<tonic::Request<T>, Problem> {
        let token = self.tokens.token(caller)?;
        let bearer = Zeroizing::new(format!("Bearer {}", *token));
        let mut request = tonic::Request::new(message);
        let metadata = request.metadata_mut();
        let mut bearer = MetadataValue::try_from(bearer.as_str()).map_err(|_| Problem::internal())?;
        bearer.set_sensitive(true);
        metadata.insert("authorization", bearer);
        if let Some(left) = deadline::grpc_timeout().and_then(|left| left.parse().ok()) {
            metadata.insert(deadline::GRPC_TIMEOUT, left);
        }
        if let Some(trace) = current_traceparent().and_then(|own| MetadataValue::try_from(own).ok()) {
            metadata.insert("traceparent", trace);
        }
        Ok(request)
    }
}
