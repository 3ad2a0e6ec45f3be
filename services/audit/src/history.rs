//! The history of a code: every event of its slot, from the holder's stream.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use citycode_auth::Caller;
use citycode_domain::event::{CodeRef, Event, Slot};
use citycode_domain::ids::{CodeId, HolderId};
use citycode_domain::policy::Policy;
use citycode_event_store::follow::Progress;
use citycode_event_store::{EventStore, Partition, Position, RecordedCommit};
use citycode_log_folds::{events_of, holder_stream};
use citycode_log_tree::LogTrees;
use citycode_query_stream::{Queries, QueryKind};
use citycode_scan_records::RecordArchive;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::audit::v1::{HistoryEntry, HistoryResponse};
use citycode_wire::proto::model::v1 as model;
use citycode_wire::request::{HistoryQuery, HistorySubject, Past};

use crate::as_of::{is_known, not_yet_known, unknown_code};
use crate::index::IndexReader;
use crate::queries::Asked;

/// How long a request waits for the index. The initial replay of a city's log takes longer.
const CATCH_UP: Duration = Duration::from_secs(5);

/// Details by name; none is personal.
type Details = Vec<(&'static str, String)>;

/// The audit service of one process.
pub struct Audit {
    /// The log.
    pub store: Arc<dyn EventStore>,
    /// The index of the log.
    pub index: IndexReader,
    /// The progress of the index.
    pub progress: Progress,
    /// The policy, for the names of kinds.
    pub policy: Arc<Policy>,
    /// The scan records; `None` where this process cannot read them.
    pub records: Option<Arc<dyn RecordArchive>>,
    /// The stream of queries; `None` where this process has none, and then no question
    /// that must be recorded is answered.
    pub queries: Option<Arc<Queries>>,
    /// The log's trees; `None` where they are not published.
    pub trees: Option<Arc<LogTrees>>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl Audit {
    /// The history of a code, and of the earlier and later codes of the same slot; all of it, or as the log had it at a
    /// moment, and then the question is recorded before it is answered.
    ///
    /// # Errors
    /// `not_allowed`, `invalid_request`, `not_found`, `no_valid_code`, `unavailable`.
    pub async fn history(&self, caller: &Caller, query: HistoryQuery<'_>) -> Result<HistoryResponse, Problem> {
        self.readers_of_histories_only(caller)?;
        let HistorySubject::Code(code_id) = query.subject else {
            return Err(Problem::new(Code::InvalidRequest, "a history requires a code id"));
        };
        let answer = self.history_of(code_id, query.past.as_ref()).await;
        let Some(past) = &query.past else {
            return answer;
        };
        let asked = Asked {
            kind: QueryKind::History,
            purpose: past.purpose,
            holder: self.living_holder(code_id).await?,
        };
        let rows = |history: &HistoryResponse| history.entries.len() as u64;
        self.record_answer(caller, asked, answer, rows).await
    }

    async fn history_of(&self, code_id: CodeId, past: Option<&Past<'_>>) -> Result<HistoryResponse, Problem> {
        if let Some(past) = past {
            self.check_moment(past.until).await?;
        }
        let commits = self.commits_about(code_id).await?.ok_or_else(unknown_code)?;
        let mut history = Vec::new();
        for commit in &commits {
            for event in events_of(commit).map_err(|error| unavailable(&error))? {
                history.push((commit, event));
            }
        }
        let issue = history.iter().find_map(|(commit, event)| match event {
            Event::CodeIssued(issued) if issued.code.code_id == code_id => Some((issued.code.slot, *commit)),
            _ => None,
        });
        let (slot, issue) = issue.ok_or_else(unknown_code)?;
        if let Some(past) = past {
            self.check_partition(past.until, &commits)?;
            history.retain(|(commit, _)| is_known(past.until, commit));
            if !past.whole_slot && !is_known(past.until, issue) {
                self.check_beginning(past.until).await?;
                return Err(not_yet_known(code_id));
            }
        }
        let entries: Vec<_> = history
            .iter()
            .filter_map(|(commit, event)| self.entry(commit, event, slot))
            .collect();
        if let (Some(past), []) = (past, &entries[..]) {
            self.check_beginning(past.until).await?;
            return Err(Problem::new(Code::NoValidCode, "there was no code of this kind then"));
        }
        Ok(HistoryResponse { entries })
    }

    /// The commits of the stream of a code's holder, in the order of the log; `None` if the log does not have the code.
    pub(crate) async fn commits_about(&self, code_id: CodeId) -> Result<Option<Vec<RecordedCommit>>, Problem> {
        let find = || self.index.holder_of(code_id).map_err(|error| unavailable(&error));
        // For an indexed code only its holder's partition matters, so the others may be unavailable.
        let known = find()?;
        self.catch_up(known.map(|holder| self.partition_of(holder))).await?;
        let Some(holder) = known.map_or_else(find, |holder| Ok(Some(holder)))? else {
            return Ok(None);
        };
        let partition = self.partition_of(holder);
        let mut commits = Vec::new();
        for sequence in self.index.commits_of(holder).map_err(|error| unavailable(&error))? {
            let position = citycode_event_store::Position { partition, sequence };
            let commit = self.store.read_at(position).await;
            let commit = commit.map_err(|error| unavailable(&error))?;
            commits.push(commit.ok_or_else(|| unavailable(&"the index refers to a commit that is not in the log"))?);
        }
        // Otherwise an index that was changed would make a code unknown.
        if !commits.iter().any(|commit| issues(commit, code_id)) {
            return Err(unavailable(
                &"the index leads from a code to another holder: run `citycode log check`",
            ));
        }
        Ok(Some(commits))
    }

    /// The partition of a holder's stream.
    fn partition_of(&self, holder: HolderId) -> Partition {
        self.store.layout().bucket_of(&holder_stream(holder)).partition
    }

    /// Waits until the index includes every commit of the log, or of one partition, that was acknowledged before this
    /// call, so that a history never lacks its end.
    pub(crate) async fn catch_up(&self, partition: Option<Partition>) -> Result<(), Problem> {
        let catching_up = async {
            match partition {
                Some(partition) => self.progress.catch_up_in(&*self.store, partition).await,
                None => self.progress.catch_up(&*self.store).await,
            }
        };
        match tokio::time::timeout(CATCH_UP, catching_up).await {
            Ok(reached) => reached.map_err(|error| unavailable(&error)),
            Err(_) => Err(Problem::new(
                Code::Unavailable,
                "the audit index is still reading the log; retry later",
            )
            .with_retry_after(CATCH_UP.as_secs())),
        }
    }

    /// The entry of one event; `None` if the event does not concern the slot.
    fn entry(&self, commit: &RecordedCommit, event: &Event, slot: Slot) -> Option<HistoryEntry> {
        let (code, details) = self.concerning(event, slot)?;
        let mut actor = commit.commit.actor.split(';');
        let role = actor.next().unwrap_or_default();
        let mut details: HashMap<String, String> = details
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        details.insert(
            "authentication".into(),
            actor.next().unwrap_or("unspecified").to_owned(),
        );
        Some(HistoryEntry {
            position: Some(sent_position(commit.position)),
            decided_at: commit.commit.decided_at,
            event_type: event.type_name().to_owned(),
            actor_role: role.to_owned(),
            channel: role.strip_prefix("channel:").unwrap_or_default().to_owned(),
            code_id: code.map(|code| code.to_string()),
            details,
        })
    }

    fn concerning(&self, event: &Event, slot: Slot) -> Option<(Option<CodeId>, Details)> {
        let of_slot = |code: &CodeRef| (code.slot == slot).then_some(code.code_id);
        let among = |codes: &[CodeRef]| codes.iter().find_map(of_slot);
        let sealed = || vec![("reason", "sealed".to_owned())];
        match event {
            Event::CodeIssued(issued) => {
                let code = of_slot(&issued.code)?;
                let kind = self
                    .policy
                    .kind(slot.kind)
                    .map(|kind| kind.name.clone())
                    .unwrap_or_default();
                let mut details = vec![
                    ("kind", kind),
                    ("expires_at", issued.expires_at.0.to_string()),
                    ("standing", issued.standing.name().to_owned()),
                    ("ground", format!("{:?}", issued.ground).to_lowercase()),
                    ("key_id", issued.key_id.to_string()),
                    (
                        "status",
                        format!("{}/{}", issued.code.status.list, issued.code.status.index),
                    ),
                    ("claims_digest", issued.claims_digest.to_string()),
                    ("through_guardian", issued.acting_guardian.is_some().to_string()),
                ];
                details.extend(issued.supersedes.map(|code| ("supersedes", code.code_id.to_string())));
                Some((Some(code), details))
            }
            Event::CodeReportedLost(lost) => {
                let details = vec![("through_guardian", lost.acting_guardian.is_some().to_string())];
                Some((Some(of_slot(&lost.code)?), details))
            }
            Event::CodeRevoked(revoked) => Some((Some(of_slot(&revoked.code)?), sealed())),
            Event::CodeSuspended(suspended) => Some((Some(of_slot(&suspended.code)?), sealed())),
            Event::CodeReinstated(reinstated) => {
                (reinstated.slot == slot).then(|| (reinstated.code.map(|code| code.code_id), sealed()))
            }
            Event::StandingChanged(changed) => {
                let code = among(&changed.codes)?;
                let mut details = sealed();
                details.push(("standing", changed.standing.name().to_owned()));
                Some((Some(code), details))
            }
            Event::RelationshipEnded(ended) => Some((Some(among(&ended.codes)?), Vec::new())),
            // A renaming concerns the holder and changes no code.
            Event::HolderRenamed(_) => Some((None, sealed())),
            Event::HolderErased(erased) => Some((Some(among(&erased.codes)?), Vec::new())),
            Event::HolderRegistered(_)
            | Event::RelationshipRecorded(_)
            | Event::IndexBlockLeased(_)
            | Event::IndexRangeRevoked(_)
            | Event::ListNamesAdvanced(_)
            | Event::ForeignMessageDeclared(_)
            | Event::PolicyAdopted(_)
            | Event::ScanBatchesSealed(_)
            | Event::QueriesSealed(_)
            | Event::SigningKeyAdded(_)
            | Event::SigningKeyRetired(_)
            | Event::SigningKeyCompromised(_) => None,
        }
    }
}

/// Whether a commit issues a code.
fn issues(commit: &RecordedCommit, code_id: CodeId) -> bool {
    let events = events_of(commit).unwrap_or_default();
    let mut events = events.iter();
    events.any(|event| matches!(event, Event::CodeIssued(issued) if issued.code.code_id == code_id))
}

/// A position in the form that is sent.
pub(crate) fn sent_position(position: Position) -> model::Position {
    model::Position {
        partition: u32::from(position.partition.0),
        sequence: position.sequence.0,
    }
}

pub(crate) fn unavailable(error: &dyn std::fmt::Display) -> Problem {
    tracing::error!(%error, "the log, its index or the scan records could not be read");
    Problem::new(
        Code::Unavailable,
        "the log, its index or the scan records cannot be read",
    )
}
