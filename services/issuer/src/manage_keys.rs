//! `ListKeys`, `RotateKeys`, `CompromiseKey`: an admin's acts.

use std::time::Duration;

use citycode_auth::Caller;
use citycode_command_auth::{RequestDigest, problem_of_execute};
use citycode_domain::event::{Event, SigningKeyAdded, SigningKeyCompromised, SigningKeyRetired};
use citycode_domain::ids::KeyId;
use citycode_domain::time::Timestamp;
use citycode_holder_log::{Begun, CommandContext, Executed};
use citycode_log_folds::keys_stream;
use citycode_service_kit::problem::{Code, Problem};
use citycode_service_kit::repeated::Repeated;
use citycode_token::{KeyEntry, SigningKey as PrivateKey, keys_cose_set, keys_jwks_json};
use citycode_wire::proto::issuer::v1::{
    CompromiseKeyRequest, CompromiseKeyResponse, ListKeysResponse, RotateKeysRequest, RotateKeysResponse, SigningKey,
};

use crate::{Issuer, KeyFolderError};

/// How long an old key may still sign after a new one came, so that no issuer that hears of it a moment later
/// signs codes that refuse.
const OVERLAP_SECONDS: i64 = 60;
/// Between two looks whether this issuer has a lasting key: well within the overlap.
const KEY_CHECK: Duration = Duration::from_secs(5);
/// A retired key verifies this much longer than its last code lives, so that an expired code is called expired.
const AFTERLIFE_SECONDS: i64 = 366 * 86_400;

impl Issuer {
    /// The public keys; nothing secret, for everyone.
    #[must_use]
    pub fn list_keys(&self) -> ListKeysResponse {
        let keyring = self.keys.keyring();
        let mut entries: Vec<&KeyEntry> = keyring.entries().iter().collect();
        entries.sort_by_key(|entry| (entry.signs_from, entry.key_id));
        ListKeysResponse {
            keys: entries.into_iter().map(signing_key).collect(),
            jwks: keys_jwks_json(&keyring),
            cose_key_set: keys_cose_set(&keyring),
        }
    }

    /// A new key signs from now on.
    ///
    /// # Errors
    /// `not_allowed`, `unavailable`.
    pub async fn rotate_keys(
        &self,
        caller: &Caller,
        request: &RotateKeysRequest,
    ) -> Result<RotateKeysResponse, Problem> {
        admin(caller)?;
        let now = self.authorizer.now()?;
        let request_digest = RequestDigest::of("rotate_keys");
        let context = self
            .authorizer
            .context(caller, &request.command_id, request_digest, "admin;unspecified", now)?;
        // An earlier attempt's key is the answer, and no other is made.
        let earlier = self
            .authorizer
            .log
            .earlier_system::<Problem>(&keys_stream(), &context)
            .await;
        let executed = match earlier.map_err(problem_of_execute)? {
            Some(earlier) => earlier,
            None => self.change_keys(&context, || self.rotation(None, now)).await?,
        };
        let key_id = key_added(&executed)?;
        Ok(RotateKeysResponse { key: self.key(key_id) })
    }

    /// A key may be in other hands: it signs no more, and is marked. What the log knows as issued stays valid (R25).
    ///
    /// # Errors
    /// `not_allowed`, `not_found`, `unavailable`.
    pub async fn compromise_key(
        &self,
        caller: &Caller,
        request: &CompromiseKeyRequest,
    ) -> Result<CompromiseKeyResponse, Problem> {
        admin(caller)?;
        let now = self.authorizer.now()?;
        let unknown = || Problem::new(Code::NotFound, "there is no signing key with this id");
        let key_id = KeyId::from_hex(&request.key_id).ok_or_else(unknown)?;
        // Another issuer may have added it a moment ago.
        let caught_up = self.authorizer.log.catch_up_with(&keys_stream()).await;
        caught_up.map_err(|error| problem_of_execute::<Problem>(error.without_refusal()))?;
        self.keys.keyring().get(key_id).ok_or_else(unknown)?;
        let request_digest = RequestDigest::of("compromise_key").bytes(&key_id.0);
        let context = self
            .authorizer
            .context(caller, &request.command_id, request_digest, "admin;unspecified", now)?;
        self.change_keys(&context, || self.compromise(key_id, now)).await?;
        Ok(CompromiseKeyResponse { key: self.key(key_id) })
    }

    /// Makes sure that this issuer has a key in use; called once the log has been folded. Leaves other issuers' alone.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn ensure_signing_key(&self) -> Result<(), Problem> {
        let now = self.authorizer.now()?;
        if self.keys.has_lasting() {
            return self.keys.settle_announced().map_err(|error| not_stored(&error));
        }
        let context = CommandContext {
            caller: "issuer".into(),
            command_id: citycode_domain::ids::CommandId(citycode_service_kit::entropy::Draw::array(
                &*self.authorizer.entropy,
            )),
            request_digest: RequestDigest::of("first_key").finish(),
            actor: "issuer".into(),
            trace_context: None,
            now,
            begun: Begun::default(),
        };
        let first_key = || {
            // A rotation that this issuer was asked for may have brought one meanwhile.
            if self.keys.has_lasting() {
                return Ok(Vec::new());
            }
            Ok(vec![self.announcement(now)?])
        };
        self.change_keys(&context, first_key).await.map(drop)
    }

    /// Looks again and again whether this issuer still has a key in use: a rotation retires every issuer's, and each
    /// makes its own new one within the overlap. Drop the future to stop.
    pub async fn keep_signing_key(&self) {
        let mut tick = tokio::time::interval(KEY_CHECK);
        let repeated = Repeated::default();
        loop {
            tick.tick().await;
            match self.ensure_signing_key().await {
                Ok(()) => repeated.over(),
                Err(problem) => {
                    let detail = problem.detail();
                    if let Some(unreported) = repeated.trouble(detail, self.authorizer.clock.monotonic()) {
                        tracing::error!(detail, unreported, "this issuer has no lasting signing key yet");
                    }
                }
            }
        }
    }

    /// A new key, and the end of the windows of all that are in use: decided on the newest keys that the log has, so that
    /// of two rotations at once the later one retires the earlier one's key, and one key lasts.
    fn rotation(&self, compromised: Option<KeyId>, now: Timestamp) -> Result<Vec<Event>, Problem> {
        let signs_until = now.plus_seconds(OVERLAP_SECONDS);
        let longest = self.authorizer.policy.longest_validity_seconds();
        let verifies_until = signs_until.plus_seconds(longest).plus_seconds(AFTERLIFE_SECONDS);
        let mut events = vec![self.announcement(now)?];
        let keyring = self.keys.keyring();
        let in_use = keyring.entries().iter().filter(|entry| entry.signs_until.is_none());
        events.extend(in_use.map(|entry| {
            Event::SigningKeyRetired(SigningKeyRetired {
                key_id: entry.key_id,
                signs_until,
                verifies_until,
            })
        }));
        events.extend(compromised.map(|key_id| Event::SigningKeyCompromised(SigningKeyCompromised { key_id })));
        Ok(events)
    }

    /// Marks a key that the log has; where it is in use, another one takes its place in the same instant.
    fn compromise(&self, key_id: KeyId, now: Timestamp) -> Result<Vec<Event>, Problem> {
        match self.keys.keyring().get(key_id) {
            Some(entry) if entry.compromised => Ok(Vec::new()),
            Some(entry) if entry.signs_until.is_none() => self.rotation(Some(key_id), now),
            _ => Ok(vec![Event::SigningKeyCompromised(SigningKeyCompromised { key_id })]),
        }
    }

    /// The event that brings this issuer's next key. Its file is durable already.
    fn announcement(&self, now: Timestamp) -> Result<Event, Problem> {
        let key = self.keys.to_announce(&*self.authorizer.entropy);
        let added = added(&*key.map_err(|error| not_stored(&error))?, now);
        // What no reader could fold must not stand in the log.
        self.keys.keyring().apply(&added).map_err(|error| {
            tracing::error!(%error, "a signing key cannot be added");
            Problem::new(Code::Unavailable, "the log can take no more signing keys")
                .with_fix("an operator must look at the issuer's log")
        })?;
        Ok(added)
    }

    /// Appends what is decided on the keys as the log has them, anew after each change of another issuer's.
    async fn change_keys(
        &self,
        context: &CommandContext,
        decide: impl FnMut() -> Result<Vec<Event>, Problem> + Send,
    ) -> Result<Executed, Problem> {
        let executed = self.authorizer.log.execute_system(keys_stream(), context, decide).await;
        let executed = executed.map_err(problem_of_execute)?;
        if let Err(error) = self.keys.settle_announced() {
            // It signs all the same, and the next look tries again.
            tracing::error!(%error, "the file of a new signing key could not be renamed");
        }
        Ok(executed)
    }

    fn key(&self, key_id: KeyId) -> Option<SigningKey> {
        self.keys.keyring().get(key_id).map(signing_key)
    }
}

/// The key that a command added, by this attempt or an earlier one.
fn key_added(executed: &Executed) -> Result<KeyId, Problem> {
    let added = executed.events.iter().find_map(|event| match event {
        Event::SigningKeyAdded(added) => Some(added.key_id),
        _ => None,
    });
    added.ok_or_else(Problem::internal)
}

fn not_stored(error: &KeyFolderError) -> Problem {
    tracing::error!(%error, "a signing key could not be stored");
    Problem::new(Code::Unavailable, "a new signing key could not be stored")
}

fn added(key: &PrivateKey, now: Timestamp) -> Event {
    Event::SigningKeyAdded(SigningKeyAdded {
        key_id: key.key_id(),
        public_key: key.public_key(),
        signs_from: now,
    })
}

fn admin(caller: &Caller) -> Result<(), Problem> {
    if caller.is_admin() {
        Ok(())
    } else {
        Err(Problem::new(Code::NotAllowed, "keys are an admin's"))
    }
}

fn signing_key(entry: &KeyEntry) -> SigningKey {
    SigningKey {
        key_id: entry.key_id.to_string(),
        public_key: entry.public_key().to_vec(),
        signs_from: entry.signs_from.0,
        signs_until: entry.signs_until.map(|until| until.0),
        verifies_until: entry.verifies_until.map(|until| until.0),
        compromised: entry.compromised,
    }
}
