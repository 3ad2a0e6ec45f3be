//! The register of used assertions of `citycode up`: a file in the data folder.

use std::sync::Arc;

use citycode_assertion_uses::UsesKey;
use citycode_assertion_uses::embedded::EmbeddedAssertionUses;
use citycode_auth::assertion::Assertions;
use citycode_auth::{AUDIENCE, LEEWAY_SECONDS, TrustedKeys};
use citycode_command_auth::AssertionVerifier;
use citycode_service_kit::clock::Clock;

use super::dependencies::Dependencies;
use super::settings::Settings;
use crate::wiring::StartError;

/// The file.
const FILE: &str = "assertion-uses.redb";

/// Accepts assertions of the configured provider.
///
/// A register that is created for an existing log accepts no assertions from before its creation, because an earlier
/// start of a release that recorded uses only in memory may have accepted them. Clocks of provider and machine may
/// differ by the leeway, and an assertion may have been accepted in the current second.
///
/// # Errors
/// [`StartError`]: the provider's keys or the register cannot be used.
pub(super) fn open(
    dependencies: &mut Dependencies,
    settings: &Settings,
    clock: &dyn Clock,
) -> Result<Option<AssertionVerifier>, StartError> {
    // A demo trusts its own authority instead of a provider.
    let demo = dependencies
        .access
        .demo
        .as_mut()
        .map(|(_, trusted)| std::mem::take(trusted));
    let trusted = match (&settings.assertion_provider, demo) {
        (Some(provider), _) => TrustedKeys::new().with_jwks_file(&provider.issuer, &provider.jwks_file)?,
        (None, Some(demo)) => demo,
        (None, None) => return Ok(None),
    };
    let takes_from = (!dependencies.first).then(|| clock.now().plus(LEEWAY_SECONDS + 1).0);
    let key = UsesKey::new(dependencies.assertion_uses_key.clone());
    let uses = EmbeddedAssertionUses::open(&dependencies.folder.join(FILE), key, takes_from)?;
    Ok(Some(AssertionVerifier {
        assertions: Assertions::new(AUDIENCE, trusted),
        uses: Arc::new(uses),
    }))
}
