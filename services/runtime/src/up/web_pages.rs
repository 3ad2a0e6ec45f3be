//! The web pages of a system in one process.

use std::sync::Arc;

use citycode_access_records::embedded::EmbeddedRecords;
use citycode_pages::{Pages, PagesParts};
use citycode_qr::{FontChoice, Fonts};
use citycode_service_clients::Clients;

use super::demo;
use super::settings::Settings;
use super::system::Parts;
use crate::wiring::page_settings::is_secure;
use crate::wiring::{Environment, StartError};

/// The records of sessions and devices, in the data folder.
const RECORDS: &str = "access/access.redb";

/// Opens the pages over these clients.
pub(super) fn open(
    parts: &Parts,
    environment: &Environment,
    clients: Clients,
    settings: &Settings,
) -> Result<Pages, StartError> {
    let sign_in = settings.sign_in.as_ref();
    Pages::new(PagesParts {
        clients,
        policy: Arc::clone(&parts.policy),
        tokens: Arc::clone(&parts.page_tokens) as Arc<dyn citycode_pages::PageTokens>,
        assertions: parts
            .demo_assertions
            .clone()
            .map(|source| source as Arc<dyn citycode_pages::AssertionSource>),
        records: Arc::new(EmbeddedRecords::open(&parts.folder.join(RECORDS))?),
        session_key: parts.session_key.clone(),
        clock: Arc::clone(&environment.clock),
        entropy: Arc::clone(&environment.entropy),
        fonts: Arc::new(Fonts::load(&FontChoice::Search)?),
        kiosk: settings.pages.kiosk.open().map_err(StartError::NamedFiles)?,
        demo: if settings.demo { demo::people() } else { Vec::new() },
        sign_in: settings.sign_in.clone(),
        host_names: settings.pages.names(sign_in),
        secure: is_secure(sign_in),
    })
    .map_err(StartError::SignIn)
}
