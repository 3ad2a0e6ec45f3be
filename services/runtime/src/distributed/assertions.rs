//! The register of used assertions, for issuers and revocation services.

use std::sync::Arc;

use citycode_assertion_uses::UsesKey;
use citycode_assertion_uses::jetstream::{JetStreamAssertionUses, UsesConfig};
use citycode_command_auth::AssertionVerifier;

use super::dependencies::Dependencies;
use super::settings::ServiceSettings;
use crate::wiring::{StartError, assertion_verifier};

/// The file of the key with which uses are registered.
pub const KEY: &str = "assertion-uses.key";

/// Accepts assertions of the configured provider. The register is checked once at startup, so that the log reports a
/// problem before a caller is refused.
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
        log_id: dependencies.log.parts_log_id().0,
    };
    let uses = JetStreamAssertionUses::new(config, UsesKey::new(dependencies.secret(KEY)?));
    let uses = Arc::new(uses);
    let checked = Arc::clone(&uses);
    tokio::spawn(async move {
        if let Err(error) = checked.check().await {
            tracing::error!(
                %error,
                "THE REGISTER OF USED ASSERTIONS CANNOT BE USED: acts that need an assertion are unavailable"
            );
        }
    });
    Ok(Some(assertion_verifier(provider, uses)?))
}
