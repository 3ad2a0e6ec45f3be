//! `Rename`: corrects a person's name, by an officer, or through a channel with an assertion of the person. Codes do
//! not change, because no token contains a name.
//!
//! The log records that a name was corrected, but neither the name nor a digest of it (R28). The new name is therefore
//! staged in the vault first, then the change is appended to the log, and then the vault activates the staged name and
//! destroys the old one. In the other order, a crash could leave a change in the log whose name is lost. A crash before
//! the append leaves a staged name that is never shown and is deleted with the next correction or the person. After a
//! crash later, followers of the log complete the change, at the next start or at once in another issuer
//! ([`ErasureQueue`](crate::ErasureQueue)); so does a repeat of the command.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use citycode_auth::Caller;
use citycode_command_auth::{Received, RequestDigest, problem_of_execute, problem_of_refusal, problem_of_vault};
use citycode_domain::event::{Event, Sealed};
use citycode_domain::ids::{HolderId, NameChangeId};
use citycode_domain::lifecycle::{HolderState, Refusal, rename_holder};
use citycode_domain::name::PersonName;
use citycode_domain::time::Timestamp;
use citycode_event_store::ReaderVersion;
use citycode_holder_log::{Decide, Decided, ExecuteError, Executed};
use citycode_service_kit::entropy::Draw;
use citycode_service_kit::problem::{Code, Outcome, Problem};
use citycode_vault::{NameApplied, Vault};
use citycode_wire::proto::issuer::v1::RenameResponse;
use citycode_wire::request::RenameCommand;

use crate::Issuer;

/// The reader version that introduced the event.
const SINCE: ReaderVersion = ReaderVersion(2);

impl Issuer {
    /// Corrects a person's name.
    ///
    /// # Errors
    /// `not_allowed`, `channel_not_allowed`, `invalid_request`, `invalid_id_number`, `not_registered`, `idempotency_key_reused`, `rate_limited`; `unavailable`, also while the previous release may
    /// read the log.
    pub async fn rename(&self, caller: &Caller, request: Received<RenameCommand>) -> Result<RenameResponse, Problem> {
        let Received { command, identity } = request;
        let authorizer = &self.authorizer;
        let now = authorizer.now()?;
        let by_officer = command.channel.is_none() && caller.is_officer();
        if !by_officer && command.channel.is_none() && caller.only_channel().is_none() {
            return Err(Problem::new(
                Code::NotAllowed,
                "correcting a name is an officer's act, or a channel's with an assertion",
            ));
        }
        let channel = if by_officer {
            None
        } else {
            Some(authorizer.channel(caller, command.channel.as_deref())?)
        };
        let id_number = authorizer.id_number(caller, &command.id_number, now)?;
        self.check_reader_version()?;
        let actor = match channel {
            Some(channel) => {
                let authenticated = authorizer.authenticate_by_assertion(&command.authentication, &id_number)?;
                let method = authorizer.consume_assertion(authenticated, &identity).await?;
                format!("channel:{};{method}", channel.name)
            }
            None => "officer;unspecified".to_owned(),
        };
        let holder = authorizer.holder(&id_number).await?;
        let key = authorizer.reason_key(&id_number).await?;
        let (reason, digest) = authorizer.seal_reason(&command.reason, &key);
        // The name is not part of the digest, because the log would keep it forever. The vault compares names instead.
        let request_digest = RequestDigest::of("rename").holder(Some(holder)).bytes(&digest);
        let context = authorizer.context(caller, command.command_id, request_digest, &actor, now);
        let correction = Correction {
            vault: &*authorizer.vault,
            holder,
            change: NameChangeId(authorizer.entropy.array()),
            name: &command.name,
            reason,
            staged: AtomicBool::new(false),
        };
        let executed = authorizer.log.execute(holder, &context, &correction).await;
        let executed = correction.finish(executed).await?;
        metrics::counter!("citycode_issuer_names_corrected_total").increment(u64::from(executed.is_new()));
        Ok(RenameResponse {})
    }

    fn check_reader_version(&self) -> Result<(), Problem> {
        if self.authorizer.log.store().minimum_reader() >= SINCE {
            return Ok(());
        }
        Err(Problem::new(
            Code::Unavailable,
            "a name cannot be corrected while services of the previous release may read the log",
        )
        .with_fix("upgrade every service, then run `citycode provision --raise-minimum-reader`")
        .with_outcome(Outcome::NotDone))
    }
}

/// One correction in progress.
struct Correction<'a> {
    vault: &'a dyn Vault,
    holder: HolderId,
    /// Drawn for this call; a repeat of the command finds the id of the first call in the log.
    change: NameChangeId,
    name: &'a PersonName,
    reason: Sealed,
    staged: AtomicBool,
}

#[async_trait]
impl Decide for Correction<'_> {
    type Refusal = Problem;
    type Output = ();

    fn decide(&self, state: &HolderState, _now: Timestamp) -> Result<Decided, Problem> {
        let events = rename_holder::decide(state, self.change, self.reason.clone()).map_err(problem_of_refusal)?;
        Ok(Decided { events, output: () })
    }

    /// Stages the name, after those of all changes that were appended first.
    async fn before_append(&self) -> Result<(), Problem> {
        let staged = self.vault.stage_name(self.holder, self.change, self.name).await;
        if !staged.map_err(|error| problem_of_vault(&error))? {
            return Err(problem_of_refusal(Refusal::NotRegistered));
        }
        self.staged.store(true, Ordering::Release);
        Ok(())
    }
}

impl Correction<'_> {
    /// Activates or discards the staged name, depending on the answer of the log.
    async fn finish(&self, executed: Result<Executed, ExecuteError<Problem>>) -> Result<Executed, Problem> {
        let executed = match executed {
            Ok(executed) => executed,
            Err(error) => {
                // If the outcome is unknown, the change may still reach the log, and then the name is needed.
                if !matches!(error, ExecuteError::Unknown) {
                    self.discard().await;
                }
                return Err(problem_of_execute(error));
            }
        };
        let in_log = executed.events.iter().find_map(|event| match event {
            Event::HolderRenamed(renamed) => Some(renamed.change),
            _ => None,
        });
        let in_log = in_log.ok_or_else(Problem::internal)?;
        if in_log != self.change {
            self.discard().await;
        }
        let failed = |error| problem_of_vault(&error);
        let mut applied = self.vault.apply_name(self.holder, in_log).await.map_err(failed)?;
        if applied == NameApplied::NotStaged && !executed.duplicate {
            // Many concurrent corrections removed the staged name between the append and here.
            self.vault
                .stage_name(self.holder, in_log, self.name)
                .await
                .map_err(failed)?;
            applied = self.vault.apply_name(self.holder, in_log).await.map_err(failed)?;
        }
        if executed.duplicate && applied == NameApplied::Applied {
            self.compare_with_earlier(in_log).await?;
        }
        Ok(executed)
    }

    /// Refuses a command id that was used for another name. If the name was corrected again since, the earlier name
    /// is no longer known and the check is skipped.
    async fn compare_with_earlier(&self, change: NameChangeId) -> Result<(), Problem> {
        let person = self.vault.open(self.holder).await;
        let person = person.map_err(|error| problem_of_vault(&error))?;
        match person {
            Some(person) if person.named_by() == Some(change) && *person.name != self.name.as_str() => {
                Err(problem_of_execute(ExecuteError::<Problem>::IdempotencyKeyReused))
            }
            _ => Ok(()),
        }
    }

    async fn discard(&self) {
        if self.staged.load(Ordering::Acquire)
            && let Err(error) = self.vault.discard_name(self.holder, self.change).await
        {
            tracing::warn!(%error, "a staged name stays in the vault until the next correction of the person's name");
        }
    }
}
