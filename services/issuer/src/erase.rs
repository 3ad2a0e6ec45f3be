//! `Erase`: erases a person (R28). First the codes are ended in the log, then the vault destroys the personal data.
//! After a crash in between, the holder is erased in the log only; [`ErasureQueue`] reads that from the log at the
//! next start and completes the erasure. The same queue destroys corrected names (`rename.rs`).

use std::sync::Arc;
use std::time::Duration;

use citycode_auth::Caller;
use citycode_command_auth::{
    RequestDigest, problem_of_catch_up, problem_of_execute, problem_of_refusal, problem_of_vault,
};
use citycode_domain::event::Event;
use citycode_domain::ids::{HolderId, NameChangeId};
use citycode_domain::lifecycle::{HolderState, erase_holder};
use citycode_event_store::Position;
use citycode_log_folds::SystemFold;
use citycode_projection::register::HolderRegister;
use citycode_service_kit::health::Component;
use citycode_service_kit::problem::{Code, Problem};
use citycode_service_kit::repeated::RepeatedInCalls;
use citycode_vault::{NameApplied, Vault, VaultError};
use citycode_wire::proto::issuer::v1::EraseResponse;
use citycode_wire::request::EraseCommand;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::Issuer;
use crate::relate::OFFICER;

impl Issuer {
    /// Erases a person; an officer or a privacy officer may.
    ///
    /// # Errors
    /// `not_allowed`, `invalid_id_number`, `not_registered`, `unavailable` (a repeat continues the erasure).
    pub async fn erase(&self, caller: &Caller, command: EraseCommand) -> Result<EraseResponse, Problem> {
        if !caller.may_erase() {
            return Err(Problem::new(
                Code::NotAllowed,
                "only an officer or a privacy officer may erase a person",
            ));
        }
        let command_id = command.command_id;
        let now = self.authorizer.now()?;
        let id_number = self.authorizer.id_number(caller, &command.id_number, now)?;
        let holder = self.authorizer.holder(&id_number).await?;
        // Relationships with this person as guardian end first, while the person still exists, including those that
        // another issuer has just recorded. Those that are recorded from now on are ended by `orphans`.
        let caught_up = self.authorizer.log.catch_up_with_all().await;
        caught_up.map_err(|error| problem_of_catch_up(&error))?;
        let mut begun = false;
        for dependent in self.authorizer.log.register().dependents_of(holder) {
            match self
                .end_relationship(caller, OFFICER, command_id, holder, dependent, now)
                .await
            {
                Ok(()) => begun = true,
                // The relationship has ended meanwhile, or the dependent was erased.
                Err(problem) if matches!(problem.code(), Code::RelationshipUnknown | Code::NotRegistered) => {}
                Err(problem) => return Err(partially_done(problem, begun)),
            }
        }
        let actor = if caller.is_officer() {
            OFFICER
        } else {
            "privacy;unspecified"
        };
        let request_digest = RequestDigest::of("erase").holder(Some(holder));
        let context = self.authorizer.context(caller, command_id, request_digest, actor, now);
        let decide = |state: &HolderState, now| {
            // Erased in the log but still in the vault: an interrupted erasure, which is completed below.
            if state.erased {
                Ok(Vec::new())
            } else {
                erase_holder::decide(state, true, now).map_err(problem_of_refusal)
            }
        };
        self.authorizer
            .log
            .execute(holder, &context, &decide)
            .await
            .map_err(|error| partially_done(problem_of_execute(error), begun))?;
        self.authorizer
            .vault
            .erase(holder)
            .await
            // The erasure is in the log, by this call or an earlier one.
            .map_err(|error| partially_done(problem_of_vault(&error), true))?;
        Ok(EraseResponse {})
    }
}

/// The problem of an erasure that may be partially done: relationships that have ended stay ended.
fn partially_done(problem: Problem, begun: bool) -> Problem {
    if !begun || problem.code() != Code::Unavailable {
        return problem;
    }
    Problem::outcome_unknown("a part of the erasure was done, and the rest was not")
        .with_fix("repeat the erasure with the same command id: it continues where it stopped")
}

/// First pause before a retry at a vault that could not be reached; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Data that the vault has to destroy because of an event in the log.
#[derive(Clone, Copy)]
enum PendingErasure {
    /// All data of a person.
    Person(HolderId),
    /// The name before this change.
    Name(HolderId, NameChangeId, Position),
}

impl PendingErasure {
    async fn destroy(self, vault: &dyn Vault) -> Result<(), VaultError> {
        match self {
            Self::Person(holder) => vault.erase(holder).await,
            Self::Name(holder, change, position) => apply_name(vault, holder, change, position).await.map(drop),
        }
    }
}

/// Activates a corrected name in the vault; the correction is at `position` in the log. A vault without the staged
/// name is older than the correction and keeps its name, which is logged as a warning.
///
/// # Errors
/// [`VaultError`].
pub(crate) async fn apply_name(
    vault: &dyn Vault,
    holder: HolderId,
    change: NameChangeId,
    position: Position,
) -> Result<NameApplied, VaultError> {
    let applied = vault.apply_name(holder, change).await?;
    if applied == NameApplied::NotStaged {
        tracing::warn!(
            %position,
            "the vault is older than a name correction in the log and has the previous name: an officer must correct the \
             name again"
        );
    }
    Ok(applied)
}

/// Queue of erased holders and corrected names from the log, whose data the vault has to destroy.
pub struct ErasureQueue {
    sender: mpsc::UnboundedSender<PendingErasure>,
    /// Number of entries in the queue or in progress.
    remaining: watch::Sender<usize>,
}

/// The receiving end of an [`ErasureQueue`].
pub struct ErasureReceiver {
    receiver: mpsc::UnboundedReceiver<PendingErasure>,
    remaining: watch::Sender<usize>,
}

impl ErasureQueue {
    /// The queue and its receiving end, for [`ErasureQueue::finish`].
    #[must_use]
    pub fn new() -> (Arc<Self>, ErasureReceiver) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let remaining = watch::Sender::new(0);
        let queue = Self {
            sender,
            remaining: remaining.clone(),
        };
        (Arc::new(queue), ErasureReceiver { receiver, remaining })
    }

    /// A queue that starts with every holder whom the register has as erased, for a vault that has no mark of the
    /// erasures that were applied to it. A snapshot of the register is saved even if the vault did not carry out all
    /// erasures by then, and the log after it does not repeat them; nor does it if an older vault was put in place.
    /// Erasing a holder whom the vault does not have costs one lookup.
    #[must_use]
    pub fn of_erased(register: &HolderRegister) -> (Arc<Self>, ErasureReceiver) {
        let (queue, other_end) = Self::new();
        for holder in register.erased() {
            queue.enqueue_person(holder);
        }
        (queue, other_end)
    }

    /// Adds a holder who is erased in the log.
    pub fn enqueue_person(&self, holder: HolderId) {
        self.enqueue(PendingErasure::Person(holder));
    }

    fn enqueue(&self, pending: PendingErasure) {
        self.remaining.send_modify(|left| *left += 1);
        // The receiver is dropped only at shutdown; the next start reads the event again.
        let _ = self.sender.send(pending);
    }

    /// Whether the queue is empty: everything due so far is destroyed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        *self.remaining.borrow() == 0
    }

    /// Waits until the queue is empty.
    pub async fn wait_until_done(&self) {
        let mut remaining = self.remaining.subscribe();
        // `self` owns the sender, so this cannot fail.
        let _ = remaining.wait_for(|left| *left == 0).await;
    }

    /// Destroys the data of all entries of the queue in the vault, until the queue is dropped. If the vault cannot be
    /// reached, it retries, and calls `report` with the error, and with `None` after a success.
    ///
    /// # Errors
    /// [`VaultError::Damaged`]; the remaining entries are read again at the next start.
    pub async fn finish(
        vault: Arc<dyn Vault>,
        mut receiver: ErasureReceiver,
        report: impl Fn(Option<&VaultError>) + Send,
    ) -> Result<(), VaultError> {
        while let Some(pending) = receiver.receiver.recv().await {
            let mut pause = FIRST_PAUSE;
            loop {
                match pending.destroy(&*vault).await {
                    Ok(()) => break,
                    Err(error @ VaultError::Damaged(_)) => return Err(error),
                    Err(error) => report(Some(&error)),
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            report(None);
            receiver.remaining.send_modify(|left| *left = left.saturating_sub(1));
        }
        Ok(())
    }

    /// As [`ErasureQueue::finish`], in a task that reports trouble in log lines and health.
    pub fn spawn_finishing(vault: Arc<dyn Vault>, receiver: ErasureReceiver, health: Component) -> JoinHandle<()> {
        health.ready();
        tokio::spawn(async move {
            let repeated = RepeatedInCalls::new();
            let report = |trouble: Option<&VaultError>| match trouble {
                Some(error) => {
                    if let Some(unreported) = repeated.failed(&error.to_string()) {
                        tracing::error!(%error, unreported, "the data of an erased person or an old name could not be deleted yet; it is tried again");
                    }
                    health.not_ready(format!(
                        "the data of an erased person or an old name could not be deleted yet: {error}"
                    ));
                }
                None => health.ready(),
            };
            if let Err(error) = Self::finish(vault, receiver, report).await {
                tracing::error!(%error, "the data of erased persons could not be deleted; the next start continues");
                health.failed(error.to_string());
            }
        })
    }
}

impl SystemFold for ErasureQueue {
    fn fold_system(&self, _event: &Event, _position: Position) -> Result<(), String> {
        Ok(())
    }

    fn fold_holder(&self, holder: HolderId, event: &Event, position: Position) {
        match event {
            Event::HolderErased(_) => self.enqueue_person(holder),
            Event::HolderRenamed(renamed) => self.enqueue(PendingErasure::Name(holder, renamed.change, position)),
            _ => {}
        }
    }
}
