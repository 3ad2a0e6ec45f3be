//! `Erase`: a person is forgotten (R28). First the codes die in the log, then the vault destroys what leads to the
//! person. A crash between leaves an erased holder in the log; [`ErasureQueue`] hears of it from the log at the next
//! start and finishes through the same call. The same queue destroys the names that were corrected (`rename.rs`).

use std::sync::Arc;
use std::time::Duration;

use citycode_auth::Caller;
use citycode_command_auth::{
    RequestDigest, problem_of_catch_up, problem_of_execute, problem_of_refusal, problem_of_vault,
};
use citycode_domain::event::Event;
use citycode_domain::ids::{HolderId, NameChangeId};
use citycode_domain::lifecycle::erase_holder;
use citycode_event_store::Position;
use citycode_holder_log::PureDecision;
use citycode_log_folds::SystemFold;
use citycode_service_kit::problem::{Code, Problem};
use citycode_vault::{NameApplied, Vault, VaultError};
use citycode_wire::proto::issuer::v1::{EraseRequest, EraseResponse};
use tokio::sync::{mpsc, watch};

use crate::Issuer;

impl Issuer {
    /// Forgets a person. An officer's act.
    ///
    /// # Errors
    /// `not_allowed`, `invalid_id_number`, `not_registered`, `unavailable` (then repeat it: it goes on where it was).
    pub async fn erase(&self, caller: &Caller, request: &EraseRequest) -> Result<EraseResponse, Problem> {
        if !caller.is_officer() {
            return Err(Problem::new(Code::NotAllowed, "erasing a person is an officer's act"));
        }
        let now = self.authorizer.now()?;
        let id_number = self.authorizer.id_number(caller, &request.id_number, now)?;
        let holder = self.authorizer.holder(&id_number).await?;
        // What others' codes rest on this person as a family member ends first, while the person is still there: also
        // what another issuer has just recorded. What one records from now on ends by `orphans`.
        let caught_up = self.authorizer.log.catch_up_with_all().await;
        caught_up.map_err(|error| problem_of_catch_up(&error))?;
        let mut begun = false;
        for dependent in self.authorizer.log.register().dependents_of(holder) {
            match self
                .end_relationship(caller, &request.command_id, holder, dependent, now)
                .await
            {
                Ok(()) => begun = true,
                // Ended in the meantime, or the dependent is gone.
                Err(problem) if matches!(problem.code(), Code::RelationshipUnknown | Code::NotRegistered) => {}
                Err(problem) => return Err(half_done(problem, begun)),
            }
        }
        let request_digest = RequestDigest::of("erase").holder(Some(holder));
        let context =
            self.authorizer
                .context(caller, &request.command_id, request_digest, "officer;unspecified", now)?;
        let mut decide = PureDecision(|state: &citycode_domain::lifecycle::HolderState, now| {
            // Known to the vault and erased in the log: an erasure that was interrupted goes on below.
            if state.erased {
                Ok(Vec::new())
            } else {
                erase_holder::decide(state, true, now).map_err(problem_of_refusal)
            }
        });
        self.authorizer
            .log
            .execute(holder, &context, &mut decide)
            .await
            .map_err(|error| half_done(problem_of_execute(error), begun))?;
        self.authorizer
            .vault
            .erase(holder)
            .await
            // The log has the erasure, by this call or by one before.
            .map_err(|error| half_done(problem_of_vault(&error), true))?;
        Ok(EraseResponse {})
    }
}

/// The problem of an erasure of which a part may be done: relationships have ended, and stay so.
fn half_done(problem: Problem, begun: bool) -> Problem {
    if !begun || problem.code() != Code::Unavailable {
        return problem;
    }
    Problem::outcome_unknown("a part of the erasure was done, and the rest was not")
        .with_fix("repeat the erasure with the same command id: it goes on where it was")
}

/// First pause before a vault that could not be reached is tried again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What the log says that the vault has to destroy.
#[derive(Clone, Copy)]
enum Due {
    /// Everything of a person.
    Person(HolderId),
    /// The name before this change.
    Name(HolderId, NameChangeId, Position),
}

impl Due {
    async fn destroy(self, vault: &dyn Vault) -> Result<(), VaultError> {
        match self {
            Self::Person(holder) => vault.erase(holder).await,
            Self::Name(holder, change, position) => apply_name(vault, holder, change, position).await.map(drop),
        }
    }
}

/// Makes a corrected name, which the log has at `position`, the person's in the vault. A vault that has never heard of
/// the correction is older than it, and keeps the name that it has: that is said in the log of the service.
///
/// # Errors
/// [`VaultError`].
pub async fn apply_name(
    vault: &dyn Vault,
    holder: HolderId,
    change: NameChangeId,
    position: Position,
) -> Result<NameApplied, VaultError> {
    let applied = vault.apply_name(holder, change).await?;
    if applied == NameApplied::NotStaged {
        tracing::warn!(
            %position,
            "the vault is older than a correction of a name that the log has, and has the name from before: an officer must \
             correct the name again"
        );
    }
    Ok(applied)
}

/// Erased holders and corrected names as the log has them, for the vault to forget.
pub struct ErasureQueue {
    sender: mpsc::UnboundedSender<Due>,
    /// How many are in the queue or under way.
    left: watch::Sender<usize>,
}

/// The other end of an [`ErasureQueue`].
pub struct Erased {
    receiver: mpsc::UnboundedReceiver<Due>,
    left: watch::Sender<usize>,
}

impl ErasureQueue {
    /// The queue and its other end, for [`ErasureQueue::finish`].
    #[must_use]
    pub fn new() -> (Arc<Self>, Erased) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let left = watch::Sender::new(0);
        let queue = Self {
            sender,
            left: left.clone(),
        };
        (Arc::new(queue), Erased { receiver, left })
    }

    /// Puts a holder in whom the log calls erased.
    pub fn forget(&self, holder: HolderId) {
        self.put(Due::Person(holder));
    }

    fn put(&self, due: Due) {
        self.left.send_modify(|left| *left += 1);
        // Nobody listens any more only at shutdown; the next start hears of it again.
        let _ = self.sender.send(due);
    }

    /// Whether everybody is forgotten whom the log called erased so far, and every name that was corrected.
    #[must_use]
    pub fn is_done(&self) -> bool {
        *self.left.borrow() == 0
    }

    /// Waits for that.
    pub async fn wait_until_done(&self) {
        let mut left = self.left.subscribe();
        // The sender is this queue's own.
        let _ = left.wait_for(|left| *left == 0).await;
    }

    /// Makes the vault forget everything that comes out of the queue, until the queue ends. A vault that cannot be
    /// reached is tried again; `tell` hears of that, and of none when it is over.
    ///
    /// # Errors
    /// [`VaultError::Damaged`]; what is left is found again at the next start.
    pub async fn finish(
        vault: Arc<dyn Vault>,
        mut erased: Erased,
        tell: impl Fn(Option<&VaultError>) + Send,
    ) -> Result<(), VaultError> {
        while let Some(due) = erased.receiver.recv().await {
            let mut pause = FIRST_PAUSE;
            loop {
                match due.destroy(&*vault).await {
                    Ok(()) => break,
                    Err(error @ VaultError::Damaged(_)) => return Err(error),
                    Err(error) => tell(Some(&error)),
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            tell(None);
            erased.left.send_modify(|left| *left = left.saturating_sub(1));
        }
        Ok(())
    }
}

impl SystemFold for ErasureQueue {
    fn fold_system(&self, _event: &Event, _position: Position) -> Result<(), String> {
        Ok(())
    }

    fn fold_holder(&self, holder: HolderId, event: &Event, position: Position) {
        match event {
            Event::HolderErased(_) => self.forget(holder),
            Event::HolderRenamed(renamed) => self.put(Due::Name(holder, renamed.change, position)),
            _ => {}
        }
    }
}
