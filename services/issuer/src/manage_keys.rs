//! `ListKeys`, `RotateKeys`, `CompromiseKey`: management of signing keys by an admin.

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
use citycode_wire::proto::issuer::v1::{CompromiseKeyResponse, ListKeysResponse, RotateKeysResponse, SigningKey};
use citycode_wire::request::{CompromiseKeyCommand, RotateKeysCommand};

use crate::{Issuer, KeyFolderError};

/// How long an old key may sign after a new one was added, so that an issuer that reads the rotation a moment later
/// does not sign codes that verifiers refuse.
const OVERLAP_SECONDS: i64 = 60;
/// Interval of the check that this issuer has an active key: well within the overlap.
const KEY_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// A retired key verifies this much longer than its last code is valid, so that expired codes are answered as expired.
const RETIRED_KEY_RETENTION_SECONDS: i64 = 366 * 86_400;

impl Issuer {
    /// The public keys, for every caller.
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

    /// Adds a new signing key and retires the active ones.
    ///
    /// # Errors
    /// `not_allowed`, `unavailable`.
    pub async fn rotate_keys(
        &self,
        caller: &Caller,
        command: RotateKeysCommand,
    ) -> Result<RotateKeysResponse, Problem> {
        admin(caller)?;
        let now = self.authorizer.now()?;
        let request_digest = RequestDigest::of("rotate_keys");
        let context = self
            .authorizer
            .context(caller, command.command_id, request_digest, "admin;unspecified", now);
        // A repeat is answered with the key of the earlier attempt, and no other is created.
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

    /// Marks a key as compromised: it no longer signs. Codes that are in the log stay valid (R25).
    ///
    /// # Errors
    /// `not_allowed`, `not_found`, `unavailable`.
    pub async fn compromise_key(
        &self,
        caller: &Caller,
        command: CompromiseKeyCommand,
    ) -> Result<CompromiseKeyResponse, Problem> {
        admin(caller)?;
        let now = self.authorizer.now()?;
        let unknown = || Problem::new(Code::NotFound, "there is no signing key with this id");
        let key_id = command.key_id.ok_or_else(unknown)?;
        // Another issuer may just have added it.
        let caught_up = self.authorizer.log.catch_up_with(&keys_stream()).await;
        caught_up.map_err(|error| problem_of_execute::<Problem>(error.without_refusal()))?;
        self.keys.keyring().get(key_id).ok_or_else(unknown)?;
        let request_digest = RequestDigest::of("compromise_key").bytes(&key_id.0);
        let context = self
            .authorizer
            .context(caller, command.command_id, request_digest, "admin;unspecified", now);
        self.change_keys(&context, || self.compromise(key_id, now)).await?;
        Ok(CompromiseKeyResponse { key: self.key(key_id) })
    }

    /// Ensures that this issuer has an active key; called once the log has been folded. It does not affect other
    /// issuers' keys.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn ensure_signing_key(&self) -> Result<(), Problem> {
        let now = self.authorizer.now()?;
        if self.keys.has_active_key() {
            return self.keys.finalize_announced().map_err(|error| not_stored(&error));
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
            // A concurrent rotation at this issuer may have added one.
            if self.keys.has_active_key() {
                return Ok(Vec::new());
            }
            Ok(vec![self.announcement(now)?])
        };
        self.change_keys(&context, first_key).await.map(drop)
    }

    /// Checks continuously that this issuer has an active key: a rotation retires the keys of all issuers, and each
    /// issuer creates a new one within the overlap. Drop the future to stop.
    pub async fn keep_signing_key(&self) {
        let mut tick = tokio::time::interval(KEY_CHECK_INTERVAL);
        let repeated = Repeated::default();
        loop {
            tick.tick().await;
            match self.ensure_signing_key().await {
                Ok(()) => repeated.over(),
                Err(problem) => {
                    let detail = problem.detail();
                    if let Some(unreported) = repeated.failed(detail, self.authorizer.clock.monotonic()) {
                        tracing::error!(detail, unreported, "this issuer has no active signing key yet");
                    }
                }
            }
        }
    }

    /// The events of a rotation: a new key, and the retirement of all active ones. It is decided on the newest state of
    /// the log, so that of two concurrent rotations the later one retires the earlier one's key.
    fn rotation(&self, compromised: Option<KeyId>, now: Timestamp) -> Result<Vec<Event>, Problem> {
        let signs_until = now.plus_seconds(OVERLAP_SECONDS);
        let longest = self.authorizer.policy.longest_validity_seconds();
        let verifies_until = signs_until
            .plus_seconds(longest)
            .plus_seconds(RETIRED_KEY_RETENTION_SECONDS);
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

    /// The events that mark a key; an active key is replaced by the same commit.
    fn compromise(&self, key_id: KeyId, now: Timestamp) -> Result<Vec<Event>, Problem> {
        match self.keys.keyring().get(key_id) {
            Some(entry) if entry.compromised => Ok(Vec::new()),
            Some(entry) if entry.signs_until.is_none() => self.rotation(Some(key_id), now),
            _ => Ok(vec![Event::SigningKeyCompromised(SigningKeyCompromised { key_id })]),
        }
    }

    /// The event that adds this issuer's next key, whose file is already durable.
    fn announcement(&self, now: Timestamp) -> Result<Event, Problem> {
        let key = self.keys.to_announce(&*self.authorizer.entropy);
        let added = added(&*key.map_err(|error| not_stored(&error))?, now);
        // An event that no reader could fold must not be appended.
        self.keys.keyring().apply(&added).map_err(|error| {
            tracing::error!(%error, "a signing key cannot be added");
            Problem::new(Code::Unavailable, "no more signing keys can be added")
                .with_fix("an operator must check the issuer's log output")
        })?;
        Ok(added)
    }

    /// Appends what `decide` decides on the current keys; it is called again after each concurrent change.
    async fn change_keys(
        &self,
        context: &CommandContext,
        decide: impl FnMut() -> Result<Vec<Event>, Problem> + Send,
    ) -> Result<Executed, Problem> {
        let executed = self.authorizer.log.execute_system(keys_stream(), context, decide).await;
        let executed = executed.map_err(problem_of_execute)?;
        if let Err(error) = self.keys.finalize_announced() {
            // The key signs nevertheless, and the next check retries.
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
        Err(Problem::new(Code::NotAllowed, "only an admin may manage keys"))
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
