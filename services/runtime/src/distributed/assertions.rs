//! The register of used assertions, as issuers and revocation services know it.

use std::sync::Arc;

use citycode_assertion_uses::UsesKey;
use citycode_assertion_uses::jetstream::{JetStreamAssertionUses, UsesConfig};
use citycode_command_auth::AssertionVerifier;

use super::dependencies::Dependencies;
use super::settings::ServiceSettings;
use crate::wiring::{StartError, assertion_verifier};

/// The key under which uses are registered.
pub const KEY: &str = "assertion-uses.key";

/// Takes assertions of the configured provider. The register is looked at once now, so that an operator hears of what is
/// wrong with it before anybody is refused.
pub(super) fn open(
    dependencies: &Dependencies,
    settings: &ServiceSettings,
) -> Result<Option<AssertionVerifier>, StartError> {
    let Some(provider) = &settings.assertion_provider else {
        return Ok(None);
    };
    let servers = dependencies.role().servers_of_log(settings);
    let config = UsesConfig {
        connection: servers.connection(dependencies.role().program())?,
        replicas: servers.replicas(),
        log_id: dependencies.log.log_id().0,
    };
    let uses = JetStreamAssertionUses::new(config, UsesKey::new(dependencies.secret(KEY)?));
    let uses = Arc::new(uses);
    let looking = Arc::clone(&uses);
    tokio::spawn(async move {
        if let Err(error) = looking.check().await {
            tracing::error!(%error, "THE REGISTER OF USED ASSERTIONS CANNOT BE USED: acts that need an assertion are unavailable");
        }
    });
    Ok(Some(assertion_verifier(provider, uses)?))
}
