//! The web pages of a portal on NATS servers.
//!
//! All portals of a city have the same two keys: `session.key`, from which the key of cookies is derived, and
//! `page-tokens.key`, which signs the access tokens of the pages' calls. So any portal opens the
//! sessions that another one began.

use std::sync::Arc;

use citycode_access_records::jetstream::{self as records, JetStreamRecords, OpenError, RecordsConfig};
use citycode_auth::LocalAuthority;
use citycode_domain::policy::Policy;
use citycode_pages::{LocalPageTokens, Pages, PagesParts};
use citycode_qr::{FontChoice, Fonts};
use citycode_service_clients::Clients;
use citycode_service_kit::files;
use citycode_service_kit::health::HealthRegistry;

use super::reported_records::ReportedRecords;
use super::settings::ServiceSettings;
use super::{Role, dependencies};
use crate::wiring::page_settings::is_secure;
use crate::wiring::{Environment, StartError};

/// The file of the key from which the key of cookies is derived.
pub const SESSION_KEY: &str = "session.key";
/// The file of the key of the pages' access tokens: an Ed25519 seed.
pub const PAGE_TOKENS_KEY: &str = "page-tokens.key";

/// Opens the pages over these clients, if the portal serves any; waits until their records are available.
pub(super) async fn open(
    settings: &ServiceSettings,
    environment: &Environment,
    health: &HealthRegistry,
    (clients, policy): (&Clients, &Arc<Policy>),
) -> Result<Option<Pages>, StartError> {
    if !settings.serves_pages() {
        return Ok(None);
    }
    let folder = settings.keys.as_ref().expect("validated before");
    let city_key = files::read_secret(&folder.join(SESSION_KEY))?;
    let signing = files::read_secret(&folder.join(PAGE_TOKENS_KEY))?;
    let section = settings.pages.clone().unwrap_or_default();
    let sign_in = settings.sign_in.as_ref();
    let kiosk = section.kiosk.open().map_err(StartError::NamedFiles)?;
    let fonts = Arc::new(Fonts::load(&FontChoice::Search)?);
    let servers = settings.page_records().expect("validated before");
    let config = RecordsConfig {
        connection: servers.connection(Role::Portal.program())?,
        replicas: servers.replicas(),
    };
    let component = health.component("page-records");
    let records = loop {
        match JetStreamRecords::open(&config, &city_key, of_engine(environment)).await {
            Ok(records) => break records,
            // `citycode provision` may be about to create it.
            Err(error) if error.may_pass() || matches!(error, OpenError::NoStream(_)) => {
                dependencies::wait_for(&component, &error).await;
            }
            Err(error) => return Err(StartError::OpenPageRecords(error)),
        }
    };
    component.ready();
    let authority = LocalAuthority::of_pages(&signing);
    let pages = Pages::new(PagesParts {
        clients: clients.clone(),
        policy: Arc::clone(policy),
        tokens: Arc::new(LocalPageTokens::of_portals(authority, Arc::clone(&environment.clock))),
        assertions: None,
        session_key: records.session_key(&city_key),
        records: Arc::new(ReportedRecords { records, component }),
        clock: Arc::clone(&environment.clock),
        entropy: Arc::clone(&environment.entropy),
        fonts,
        kiosk,
        demo: Vec::new(),
        host_names: section.names(sign_in),
        secure: is_secure(sign_in),
        sign_in: settings.sign_in.clone(),
    });
    pages.map(Some).map_err(StartError::SignIn)
}

fn of_engine(environment: &Environment) -> records::Environment {
    let (now, monotonic) = (Arc::clone(&environment.clock), Arc::clone(&environment.clock));
    records::Environment {
        now: Arc::new(move || now.now().0),
        monotonic: Arc::new(move || monotonic.monotonic()),
        fill_random: environment.fill_random(),
    }
}
