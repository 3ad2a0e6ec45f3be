//! The access tokens that `citycode up` accepts: the local admin's, those for trials, and an identity provider's.

use std::sync::Arc;

use citycode_auth::{AUDIENCE, AccessTokens, IssuedTokens, LocalAuthority, TrustedKeys};
use citycode_pages::{DemoAssertions, LocalPageTokens};
use citycode_service_kit::clock::Clock;
use citycode_service_kit::entropy::Entropy;
use zeroize::Zeroizing;

use super::data_folder::DataFolder;
use super::settings::Settings;
use crate::wiring::StartError;

/// The accepted tokens, and the local admin's own.
pub(super) struct Access {
    pub(super) tokens: Arc<AccessTokens>,
    pub(super) issued: Arc<IssuedTokens>,
    pub(super) admin_token: Zeroizing<String>,
    /// Signs the access tokens of the web pages' calls.
    pub(super) pages: Arc<LocalPageTokens>,
    /// Signs the assertions of a demo, and the keys with which services check them.
    pub(super) demo: Option<(Arc<DemoAssertions>, TrustedKeys)>,
}

impl Access {
    /// The local admin's token is signed by an authority that exists only in this process, so no later start accepts
    /// it; tokens for trials are signed by the persistent authority.
    ///
    /// # Errors
    /// [`StartError`]: keys or the list of issued tokens cannot be used.
    pub(super) fn open(
        settings: &Settings,
        folder: &DataFolder,
        entropy: &Arc<dyn Entropy>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let persistent = LocalAuthority::create_or_open(&folder.join("keys"), &**entropy)?;
        let ephemeral = persistent.ephemeral_with_same_issuer(&**entropy);
        let issued = Arc::new(IssuedTokens::open(persistent, folder.join("issued-tokens.json"))?);
        let mut trusted = TrustedKeys::new().with_local(&ephemeral)?;
        if let Some(provider) = &settings.identity_provider {
            trusted = trusted.with_jwks_file(&provider.issuer, &provider.jwks_file)?;
        }
        let tokens = AccessTokens::new(AUDIENCE, trusted).with_issued(Arc::clone(&issued))?;
        let demo = settings.demo.then(|| {
            let authority = LocalAuthority::ephemeral(&**entropy);
            let trusted = TrustedKeys::new().with_local(&authority)?;
            let assertions = DemoAssertions {
                authority,
                entropy: Arc::clone(entropy),
                clock: Arc::clone(clock),
            };
            Ok::<_, StartError>((Arc::new(assertions), trusted))
        });
        Ok(Self {
            demo: demo.transpose()?,
            tokens: Arc::new(tokens),
            issued,
            admin_token: ephemeral.mint_local_admin(AUDIENCE, clock.now())?,
            pages: Arc::new(LocalPageTokens::in_process(ephemeral, Arc::clone(clock))),
        })
    }
}
