//! Questions about a moment of the past: what the log had at an instant, or up to a position.

use citycode_auth::Caller;
use citycode_domain::ids::CodeId;
use citycode_domain::lifecycle::{HolderState, SlotState};
use citycode_domain::status::Life;
use citycode_domain::time::Timestamp;
use citycode_event_store::{Partition, Position, RecordedCommit, Sequence};
use citycode_log_folds::folded_events;
use citycode_query_stream::QueryKind;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::answer::code_life;
use citycode_wire::proto::audit::v1::CodesResponse;
use citycode_wire::proto::issuer::v1::CodeState;
use citycode_wire::request::{PastCodesQuery, Until};

use crate::history::{Audit, unavailable};
use crate::queries::Asked;

/// How far ahead of this machine's clock a caller's clock may be, in seconds.
const AHEAD_SECONDS: i64 = 5;

impl Audit {
    /// A holder's codes and their states at a moment, as the issuer would have listed them then: the last code of every
    /// kind and guardian. The question is recorded before it is answered.
    ///
    /// # Errors
    /// `not_allowed`, `invalid_request`, `not_found`, `unavailable`.
    pub async fn codes(&self, caller: &Caller, query: PastCodesQuery<'_>) -> Result<CodesResponse, Problem> {
        self.readers_of_histories_only(caller)?;
        let answer = self.codes_then(query.code_id, query.until).await;
        let asked = Asked {
            kind: QueryKind::Codes,
            purpose: query.purpose,
            holder: match query.code_id {
                Some(code_id) => self.living_holder(code_id).await?,
                None => None,
            },
        };
        let rows = |codes: &CodesResponse| codes.codes.len() as u64;
        self.record_answer(caller, asked, answer, rows).await
    }

    async fn codes_then(&self, code_id: Option<CodeId>, until: Until) -> Result<CodesResponse, Problem> {
        self.check_moment(until).await?;
        let Some(code_id) = code_id else {
            self.check_beginning(until).await?;
            return Ok(CodesResponse::default());
        };
        let commits = self.commits_about(code_id).await?.ok_or_else(unknown_code)?;
        self.check_partition(until, &commits)?;
        let (mut state, mut at) = (HolderState::default(), None);
        for commit in commits.iter().filter(|commit| is_known(until, commit)) {
            let decided_at = Timestamp(commit.commit.decided_at);
            for event in folded_events(commit).map_err(|error| unavailable(&error))? {
                state.apply(&event, commit.position, decided_at);
            }
            at = Some(decided_at);
        }
        if at.is_none() {
            self.check_beginning(until).await?;
        }
        // A position has no time of its own: what had expired is judged at the last commit that is included.
        let at = match until {
            Until::Instant(instant) => Timestamp(instant),
            Until::Position(position) => self.time_of(position).await?.or(at).unwrap_or(Timestamp(i64::MIN)),
        };
        let codes = state.slots.iter().map(|slot| self.code_state(slot, at)).collect();
        Ok(CodesResponse { codes })
    }

    fn code_state(&self, slot: &SlotState, at: Timestamp) -> CodeState {
        let life = match slot.code.death {
            Some(death) => Life::Dead(death),
            None if slot.held => Life::Suspended,
            None => Life::Valid,
        };
        let kind = self.policy.kind(slot.slot.kind);
        CodeState {
            code_id: slot.code.code_id.to_string(),
            kind: kind.map(|kind| kind.name.clone()).unwrap_or_default(),
            through_guardian: slot.slot.guardian.is_some(),
            issued_at: slot.code.issued_at.0,
            expires_at: slot.code.expires_at.0,
            state: code_life(life, at >= slot.code.expires_at).into(),
            suspended_since: None,
        }
    }

    async fn time_of(&self, position: Position) -> Result<Option<Timestamp>, Problem> {
        let commit = self
            .store
            .read_at(position)
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(commit.map(|commit| Timestamp(commit.commit.decided_at)))
    }

    /// Refuses moments that the log cannot answer for.
    ///
    /// # Errors
    /// `invalid_request` for a moment that the log has not reached, `unavailable`.
    pub(crate) async fn check_moment(&self, until: Until) -> Result<(), Problem> {
        match until {
            Until::Instant(instant) if instant > self.clock.now().0.saturating_add(AHEAD_SECONDS) => {
                Err(invalid("as_of is in the future, of which the log knows nothing"))
            }
            Until::Instant(_) => Ok(()),
            Until::Position(position) => {
                let heads = self.store.heads().await.map_err(|error| unavailable(&error))?;
                let head = heads.sequence(position.partition);
                if usize::from(position.partition.0) >= heads.partitions() || position.sequence > head {
                    return Err(invalid("the log does not have the position of as_of"));
                }
                Ok(())
            }
        }
    }

    /// Refuses an instant before the first commit. Only answers that would be empty need this check.
    ///
    /// # Errors
    /// `not_found`, `unavailable`.
    pub(crate) async fn check_beginning(&self, until: Until) -> Result<(), Problem> {
        let Until::Instant(instant) = until else {
            return Ok(());
        };
        match self.log_begins().await? {
            Some(begins) if begins.0 <= instant => Ok(()),
            Some(begins) => Err(before_log(begins)),
            None => Err(Problem::new(Code::NotFound, "the log is empty")),
        }
    }

    /// Refuses a position of another partition than that of a holder's commits.
    ///
    /// # Errors
    /// `invalid_request`.
    pub(crate) fn check_partition(&self, until: Until, commits: &[RecordedCommit]) -> Result<(), Problem> {
        let has_another = |position: Position| {
            let of_holder = |commit: &RecordedCommit| commit.position.partition == position.partition;
            !commits.iter().all(of_holder)
        };
        match until {
            Until::Position(position) if has_another(position) => Err(invalid(
                "as_of names a position of another partition than that of the code's events: positions of two \
                 partitions have no order",
            )),
            Until::Position(_) | Until::Instant(_) => Ok(()),
        }
    }

    /// The time of the first commit of the log; `None` if there is none.
    ///
    /// # Errors
    /// `unavailable`.
    pub(crate) async fn log_begins(&self) -> Result<Option<Timestamp>, Problem> {
        let mut begins: Option<Timestamp> = None;
        for partition in 0..self.store.layout().partitions() {
            let first = Position {
                partition: Partition(partition),
                sequence: Sequence(1),
            };
            begins = begins.into_iter().chain(self.time_of(first).await?).min();
        }
        Ok(begins)
    }

    /// # Errors
    /// `not_allowed` unless the caller may read histories.
    pub(crate) fn readers_of_histories_only(&self, caller: &Caller) -> Result<(), Problem> {
        if caller.may_read_history() {
            return Ok(());
        }
        Err(Problem::new(
            Code::NotAllowed,
            "only an auditor, an officer or an admin may read histories",
        ))
    }
}

/// Whether a commit is included.
pub(crate) fn is_known(until: Until, commit: &RecordedCommit) -> bool {
    match until {
        Until::Instant(instant) => commit.commit.decided_at <= instant,
        Until::Position(position) => commit.position.sequence <= position.sequence,
    }
}

pub(crate) fn unknown_code() -> Problem {
    Problem::new(Code::NotFound, "the log has no code with this id")
}

/// The log had nothing about a code at a moment.
pub(crate) fn not_yet_known(code_id: CodeId) -> Problem {
    let detail = format!("the log did not have code {code_id} then: it was issued later");
    Problem::new(Code::NotFound, detail)
}

fn before_log(begins: Timestamp) -> Problem {
    let begins = jiff::Timestamp::from_second(begins.0).unwrap_or(jiff::Timestamp::MIN);
    Problem::new(
        Code::NotFound,
        format!("the log begins at {begins} and has nothing of earlier times"),
    )
}

fn invalid(detail: &str) -> Problem {
    Problem::new(Code::InvalidRequest, detail)
}
