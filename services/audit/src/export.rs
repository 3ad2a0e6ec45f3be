//! The events, the verdicts and the daily counts of a period as rows for files.
//!
//! Rows contain no holder, no code id and nothing that names a code outside of the city's log. Codes are numbered in the
//! order in which they appear, so that the rows of one export can be joined and those of two exports cannot.

use std::collections::{BTreeMap, HashMap};

use citycode_auth::Caller;
use citycode_domain::event::{CodeRef, Event};
use citycode_domain::ids::{CodeId, CodeKind};
use citycode_event_store::{LogPosition, Partition, RecordedCommit, SubscriptionBatch};
use citycode_log_folds::folded_events;
use citycode_projection::status::{Effect, effects_of};
use citycode_scan_records::{ScanRecord, ShownEvidence, day_of};
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::audit::v1::export_response::Update;
use citycode_wire::proto::audit::v1::{self as proto, daily_count::Counted};
use citycode_wire::request::Period;
use citycode_wire::verdict::reason;

use crate::explain::verdict;
use crate::history::{Audit, sent_position, unavailable};
use crate::run::{Observer, ReplayedLog, caller_left, is_scan};
use crate::suppression::shown_of_tables;

/// Rows in a message.
const ROWS: usize = 1_000;
/// The kind of scans of ID cards.
const ID_CARD: &str = "id_card";

/// Receives the rows of an export.
#[tonic::async_trait]
pub trait RowSink: Observer {
    /// Waits until the rows are taken. Returns whether to continue.
    async fn rows(&mut self, rows: Update) -> bool;
}

/// A count of a day: its place, its kind, and the reason of the verdicts or the type of the events.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    place: String,
    kind: String,
    counted: What,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Event(&'static str),
    /// The reason in the form of the protocol.
    Verdict(i32),
}

/// What an export keeps in memory: a number for each code that appeared, and the counts of days.
#[derive(Default)]
struct Exported {
    codes: HashMap<CodeId, u64>,
    daily: BTreeMap<u32, BTreeMap<Group, u64>>,
    summary: proto::ExportSummary,
}

impl Exported {
    /// The number of a code: from 1, in the order of appearance.
    fn code(&mut self, code_id: CodeId) -> u64 {
        let next = self.codes.len() as u64 + 1;
        *self.codes.entry(code_id).or_insert(next)
    }

    fn count(&mut self, at: i64, group: Group) {
        // No clock of the city shows a time before 1970.
        let day = day_of(at).unwrap_or(0);
        *self.daily.entry(day).or_default().entry(group).or_default() += 1;
    }
}

impl Audit {
    /// # Errors
    /// `not_allowed` if the caller may not ask for small counts.
    pub(crate) fn may_export(&self, caller: &Caller, exact: bool) -> Result<(), Problem> {
        if exact && !caller.is_admin() {
            return Err(Problem::new(Code::NotAllowed, "only an admin may export small counts"));
        }
        self.auditors_only(caller)
    }

    /// Sends the rows of a period: events, verdicts, daily counts. The caller checks who asks. The same log and records
    /// lead to the same rows. Memory: the timeline of the whole log, and some 30 bytes for each code that appears.
    ///
    /// # Errors
    /// `unavailable` if the log or the records cannot be read, or the receiver left.
    pub async fn export(
        &self,
        period: Period,
        exact: bool,
        sink: &mut dyn RowSink,
    ) -> Result<proto::ExportSummary, Problem> {
        let whole = self.whole_timeline(sink).await?;
        let heads = whole.heads.clone();
        let mut exported = Exported::default();
        for (partition, head) in heads.iter() {
            exported
                .summary
                .read_to
                .push(sent_position(citycode_event_store::Position {
                    partition,
                    sequence: head,
                }));
            self.export_partition(partition, &heads, period, &mut exported, sink)
                .await?;
        }
        let log = ReplayedLog::new(whole, &self.store.layout());
        for day in self.days_of(period).await? {
            self.export_day(day, period, &log, &mut exported, sink).await?;
        }
        let daily = daily(std::mem::take(&mut exported.daily), exact);
        exported.summary.daily = daily.len() as u64;
        for rows in daily.chunks(ROWS) {
            send(sink, Update::Daily(proto::DailyCounts { rows: rows.to_vec() })).await?;
        }
        Ok(exported.summary)
    }

    /// The events of one partition, so that their order does not depend on the other partitions.
    async fn export_partition(
        &self,
        partition: Partition,
        heads: &LogPosition,
        period: Period,
        exported: &mut Exported,
        sink: &mut dyn RowSink,
    ) -> Result<(), Problem> {
        let mut start = heads.clone();
        start.set(partition, citycode_event_store::Sequence::START);
        let head = heads.sequence(partition);
        let subscribed = self.store.subscribe_to_all(start).await;
        let mut subscription = subscribed.map_err(|error| unavailable(&error))?;
        let mut rows = Vec::new();
        while subscription.position().sequence(partition) < head {
            let batch = subscription.next_batch().await.map_err(|error| unavailable(&error))?;
            let SubscriptionBatch::Commits(commits) = batch else {
                continue;
            };
            for commit in &commits {
                let position = commit.position;
                let is_read = position.partition == partition && position.sequence <= head;
                if is_read && period.includes(commit.commit.decided_at) && commit.foreign.is_none() {
                    self.export_commit(commit, exported, &mut rows)?;
                }
                if rows.len() >= ROWS {
                    send_events(sink, &mut rows, exported).await?;
                }
            }
        }
        send_events(sink, &mut rows, exported).await
    }

    fn export_commit(
        &self,
        commit: &RecordedCommit,
        exported: &mut Exported,
        rows: &mut Vec<proto::ExportedEvent>,
    ) -> Result<(), Problem> {
        let events = folded_events(commit).map_err(|error| unavailable(&error))?;
        let role = commit.commit.actor.split(';').next().unwrap_or_default();
        let mut ordinal = 0;
        let mut row = |event: &Event, code: Option<CodeRef>, exported: &mut Exported| {
            let kind = code.map_or_else(String::new, |code| self.kind_name(code.slot.kind));
            let group = Group {
                place: String::new(),
                kind: kind.clone(),
                counted: What::Event(event.type_name()),
            };
            exported.count(commit.commit.decided_at, group);
            let issued = match event {
                Event::CodeIssued(issued) => Some(issued),
                _ => None,
            };
            rows.push(proto::ExportedEvent {
                position: Some(sent_position(commit.position)),
                ordinal,
                decided_at: commit.commit.decided_at,
                event: event.type_name().to_owned(),
                actor_role: role.to_owned(),
                code: code.map(|code| exported.code(code.code_id)),
                kind,
                expires_at: issued.map(|issued| issued.expires_at.0),
                supersedes: issued
                    .and_then(|issued| issued.supersedes)
                    .map(|old| exported.code(old.code_id)),
            });
            ordinal += 1;
        };
        for event in &events {
            let mut codes = Vec::new();
            // The superseded code is named in the row of its successor.
            effects_of(event, |code, effect| {
                if matches!(effect, Effect::Issue { .. }) || !matches!(event, Event::CodeIssued(_)) {
                    codes.push(*code);
                }
            });
            if codes.is_empty() {
                row(event, None, exported);
            }
            for code in codes {
                row(event, Some(code), exported);
            }
        }
        Ok(())
    }

    async fn export_day(
        &self,
        day: u32,
        period: Period,
        log: &ReplayedLog,
        exported: &mut Exported,
        sink: &mut dyn RowSink,
    ) -> Result<(), Problem> {
        let mut from = 0;
        while let Some(batches) = self.next_batches(day, &mut from).await? {
            for batch in &batches {
                let Ok(records) = &batch.records else {
                    exported.summary.unreadable_batches += 1;
                    continue;
                };
                for records in records.chunks(ROWS) {
                    let scans = records
                        .iter()
                        .filter(|record| is_scan(record) && period.includes(record.scan.at));
                    let rows: Vec<_> = scans.map(|record| self.export_verdict(record, log, exported)).collect();
                    if !rows.is_empty() {
                        exported.summary.verdicts += rows.len() as u64;
                        send(sink, Update::Verdicts(proto::ExportedVerdicts { rows })).await?;
                    }
                }
            }
            sink.report(proto::AuditProgress {
                day,
                scans: exported.summary.verdicts,
                commits: 0,
            })?;
        }
        Ok(())
    }

    fn export_verdict(
        &self,
        record: &ScanRecord,
        log: &ReplayedLog,
        exported: &mut Exported,
    ) -> proto::ExportedVerdict {
        let scan = &record.scan;
        let (recomputed, why) = match log.recompute(record) {
            Ok(recomputed) => (Some(verdict(recomputed.verdict)), ""),
            Err(why) => (None, why),
        };
        let recorded = verdict(scan.reason.verdict());
        let kind = self.kind_of(record, log);
        let group = Group {
            place: scan.place.to_string(),
            kind: kind.clone(),
            counted: What::Verdict(recorded.reason),
        };
        exported.count(scan.at, group);
        proto::ExportedVerdict {
            at: scan.at,
            place: scan.place.to_string(),
            device: scan.device.to_string(),
            scan_id: scan.scan_id.to_string(),
            code: scan.code_id.map(|code_id| exported.code(code_id)),
            kind,
            recorded: Some(recorded),
            recomputed,
            not_recomputable: why.to_owned(),
            policy: scan.basis.map_or_else(String::new, |basis| basis.policy.to_string()),
            position: Some(sent_position(scan.position)),
            age_ms: scan.age_ms,
        }
    }

    /// The kind of what was shown, as far as the record or the log knows it.
    fn kind_of(&self, record: &ScanRecord, log: &ReplayedLog) -> String {
        let basis = record.scan.basis;
        if basis.is_some_and(|basis| matches!(basis.shown, ShownEvidence::Card { .. })) {
            return ID_CARD.to_owned();
        }
        let life = record.scan.code_id.and_then(|code_id| log.timeline.life(code_id));
        let not_in_log = basis.and_then(|basis| basis.not_in_log);
        let kind = life.map(|life| life.kind).or(not_in_log.map(|unknown| unknown.kind));
        kind.map_or_else(String::new, |kind| self.kind_name(kind))
    }

    /// The name of a kind in the policy of this service; its number if the policy does not have it.
    fn kind_name(&self, kind: CodeKind) -> String {
        let named = self.policy.kind(kind);
        named.map_or_else(|| kind.number().to_string(), |kind| kind.name.clone())
    }
}

async fn send(sink: &mut dyn RowSink, rows: Update) -> Result<(), Problem> {
    if sink.rows(rows).await {
        Ok(())
    } else {
        Err(caller_left())
    }
}

async fn send_events(
    sink: &mut dyn RowSink,
    rows: &mut Vec<proto::ExportedEvent>,
    exported: &mut Exported,
) -> Result<(), Problem> {
    if rows.is_empty() {
        return Ok(());
    }
    exported.summary.events += rows.len() as u64;
    let rows = std::mem::take(rows);
    send(sink, Update::Events(proto::ExportedEvents { rows })).await
}

/// The counts of all days. Small ones are absent unless `exact`: the rows of events and of verdicts are separate tables
/// of each day, because the reader may know the total of either.
fn daily(days: BTreeMap<u32, BTreeMap<Group, u64>>, exact: bool) -> Vec<proto::DailyCount> {
    let (mut rows, mut tables) = (Vec::new(), [Vec::new(), Vec::new()]);
    for (day, groups) in days {
        let (events, verdicts): (Vec<_>, Vec<_>) = groups
            .into_iter()
            .partition(|(group, _)| matches!(group.counted, What::Event(_)));
        for (sort, groups) in [events, verdicts].into_iter().enumerate() {
            tables[sort].push(groups.iter().map(|(_, count)| *count).collect::<Vec<_>>());
            rows.extend(groups.into_iter().map(|(group, count)| (sort, day, group, count)));
        }
    }
    let mut shown = tables.map(|tables| shown_of_tables(&tables).into_iter().flatten());
    let rows = rows.into_iter().map(|(sort, day, group, count)| {
        let shown = shown[sort].next().expect("a count for each row");
        proto::DailyCount {
            day,
            place: group.place,
            kind: group.kind,
            counted: match group.counted {
                What::Event(event) => Some(Counted::Event(event.to_owned())),
                What::Verdict(value) => reason(value).map(|reason| Counted::Verdict(verdict(reason.verdict()))),
            },
            count: if exact { Some(count) } else { shown },
        }
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(counted: What, place: &str) -> Group {
        Group {
            place: place.to_owned(),
            kind: "live".to_owned(),
            counted,
        }
    }

    #[test]
    fn small_counts_of_a_day_are_absent_and_those_that_would_reveal_them() {
        let events = [(group(What::Event("CodeIssued"), ""), 3)];
        let verdicts = [("a", 4), ("b", 30), ("c", 20)];
        let verdicts = verdicts.map(|(place, count)| (group(What::Verdict(1), place), count));
        let days = BTreeMap::from([(7, events.into_iter().chain(verdicts).collect::<BTreeMap<_, _>>())]);
        let counts = |exact: bool| -> Vec<_> { daily(days.clone(), exact).iter().map(|row| row.count).collect() };
        assert_eq!(counts(false), [None, None, Some(30), None]);
        assert_eq!(counts(true), [Some(3), Some(4), Some(30), Some(20)]);
    }

    #[test]
    fn codes_are_numbered_in_the_order_of_appearance() {
        let mut exported = Exported::default();
        let numbers = [7, 5, 7, 6].map(|byte| exported.code(CodeId([byte; 8])));
        assert_eq!(numbers, [1, 2, 1, 3]);
    }
}
