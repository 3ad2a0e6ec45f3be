//! Audits of a period: every recorded verdict is recomputed, and every batch of records compared with its digest in the
//! log.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use citycode_domain::ids::ScanWriterId;
use citycode_domain::time::Timestamp;
use citycode_event_store::{Layout, LogPosition, Partition, Position, Sequence};
use citycode_log_folds::{keys_stream, scan_batches_stream};
use citycode_replay::{LogFault, NotRecomputable, Recomputed, SealedBatches, Timeline, judge_at, recompute};
use citycode_scan_records::{Batch, BatchesDigest, ScanRecord, day_of};
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::audit::v1 as proto;
use citycode_wire::request::Period;

use crate::explain::verdict;
use crate::history::{Audit, sent_position, unavailable};
use crate::replayed::{Unsound, WholeLog};

/// Differences that a result lists; all are counted.
const MAX_LISTED: usize = 100;
/// Digests must enter the log within this time; batches whose records are older should have one.
const SEALED_WITHIN_SECONDS: i64 = 60;

/// The reason for a batch whose digest was lost with changes of the log.
const LOST_DIGEST: &str = "lost_digest";

/// The reason for a verdict that rests on a damaged part of the log.
const DAMAGED_LOG: &str = "damaged_log";
/// The reason for a batch whose digest may be in a damaged part of the log.
const DAMAGED_DIGEST: &str = "damaged_digest";

/// Receives the progress of an audit.
pub trait Observer: Send {
    /// Returns whether to continue.
    fn progress(&mut self, progress: proto::AuditProgress) -> bool;

    /// Receives the result of the days so far, with which an interrupted audit can be continued.
    fn part(&mut self, _: proto::PartResult) {}

    /// Reports progress.
    ///
    /// # Errors
    /// `unavailable` if the observer ends the audit.
    fn report(&mut self, progress: proto::AuditProgress) -> Result<(), Problem> {
        if self.progress(progress) {
            Ok(())
        } else {
            Err(caller_left())
        }
    }
}

/// The caller ended an audit.
pub(crate) fn caller_left() -> Problem {
    Problem::new(Code::Unavailable, "the caller left before the audit ended")
}

/// Observes nothing and lets the reading continue.
pub(crate) struct Unobserved;

impl Observer for Unobserved {
    fn progress(&mut self, _: proto::AuditProgress) -> bool {
        true
    }
}

/// The batches of a day as they are, by writer and number.
#[derive(Default)]
struct DayBatches {
    digests: BTreeMap<(ScanWriterId, u64), BatchSeen>,
}

struct BatchSeen {
    digest: [u8; 32],
    /// The newest record; the earliest instant if it cannot be read, the latest if there is none.
    newest: i64,
    /// Whether its digest is in the log.
    sealed: bool,
}

/// A difference whose cause is known once the batches of its day are checked.
struct Differing {
    difference: proto::Difference,
    batch: (ScanWriterId, u64),
}

/// The counts of a run.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) scans: u64,
    pub(crate) recomputed: u64,
    pub(crate) not_recomputable: HashMap<String, u64>,
}

impl Counts {
    pub(crate) fn not(&mut self, why: &str) {
        *self.not_recomputable.entry(why.to_owned()).or_default() += 1;
    }
}

impl Audit {
    /// Recomputes every recorded verdict of a period. The caller checks who asks.
    ///
    /// # Errors
    /// `unavailable` if the log or the records cannot be read, or the observer ended the run.
    pub async fn run(&self, period: Period, observer: &mut dyn Observer) -> Result<proto::RunResult, Problem> {
        // Read before the end of the log: what was sealed before it may be missing from the log that is read, but not
        // more than a minute earlier.
        let now = self.clock.now().0;
        let whole = self.whole_timeline(observer).await?;
        let log = ReplayedLog::new(whole, &self.store.layout());
        let mut run = Run {
            log: &log,
            period,
            now,
            counts: Counts::default(),
            agree: 0,
            differ: Vec::new(),
            differ_total: 0,
            missing: 0,
            extra: 0,
            sealed_late: 0,
            altered: Vec::new(),
        };
        let retained = self.records()?.days().await.map_err(|error| unavailable(&error))?;
        for day in run.days(&retained) {
            let mut seen = DayBatches::default();
            let mut differing = Vec::new();
            self.each_batch(day, |batch| run.batch(batch, &mut seen, &mut differing), observer)
                .await?;
            run.end_day(day, seen, differing);
            observer.part(proto::PartResult {
                day,
                result: Some(run.result()),
            });
            observer.report(proto::AuditProgress {
                day,
                scans: run.counts.scans,
                commits: 0,
            })?;
        }
        Ok(run.result())
    }

    /// The retained days of a period.
    pub(crate) async fn days_of(&self, period: Period) -> Result<Vec<u32>, Problem> {
        let (first, last) = days_between(period);
        let mut days = self.records()?.days().await.map_err(|error| unavailable(&error))?;
        days.retain(|day| (first..=last).contains(day));
        Ok(days)
    }

    /// The next batches of a day; none at its end. `from` is 0 at first, and is advanced past them.
    pub(crate) async fn next_batches(&self, day: u32, from: &mut u64) -> Result<Option<Vec<Batch>>, Problem> {
        let read = self.records()?.batches(day, *from).await;
        let read = read.map_err(|error| unavailable(&error))?;
        *from = read.next;
        Ok((!read.batches.is_empty()).then_some(read.batches))
    }

    pub(crate) async fn each_batch(
        &self,
        day: u32,
        mut each: impl FnMut(&Batch),
        observer: &mut dyn Observer,
    ) -> Result<(), Problem> {
        let (mut from, mut scans) = (0, 0);
        while let Some(batches) = self.next_batches(day, &mut from).await? {
            for batch in &batches {
                scans += batch.records.as_ref().map_or(0, |records| records.len() as u64);
                each(batch);
            }
            let progress = proto::AuditProgress { day, scans, commits: 0 };
            observer.report(progress)?;
        }
        Ok(())
    }
}

/// The days of a period (since 1970, UTC), both inclusive.
fn days_between(period: Period) -> (u32, u32) {
    let day = |at: i64, beyond: u32| if at < 0 { 0 } else { day_of(at).unwrap_or(beyond) };
    (day(period.from, u32::MAX), day(period.to - 1, u32::MAX))
}

/// The log as it was read for an audit.
pub(crate) struct ReplayedLog {
    pub(crate) timeline: Timeline,
    heads: LogPosition,
    unsound: Unsound,
    keys: Partition,
    digests: Partition,
}

impl ReplayedLog {
    pub(crate) fn new(whole: WholeLog, layout: &Layout) -> Self {
        let partition_of = |stream| layout.bucket_of(&stream).partition;
        Self {
            timeline: whole.timeline,
            heads: whole.heads,
            unsound: whole.unsound,
            keys: partition_of(keys_stream()),
            digests: partition_of(scan_batches_stream()),
        }
    }

    /// Whether digests of batches may be missing because the log is damaged.
    fn lacks_digests(&self) -> bool {
        self.unsound.is_in(self.digests)
    }

    /// Recomputes a verdict.
    ///
    /// # Errors
    /// The word for why it cannot be recomputed; `newer_than_replay` if the verdict is based on a commit that was
    /// appended after the log was read, `damaged_log` if it rests on a part of the log that is damaged.
    pub(crate) fn recompute(&self, record: &ScanRecord) -> Result<Recomputed, &'static str> {
        let scan = &record.scan;
        let is_past = |position: Position| position.sequence > self.heads.sequence(position.partition);
        let keys = Position {
            partition: self.keys,
            sequence: Sequence(scan.basis.map_or(0, |basis| basis.keys_sequence)),
        };
        let losses = self.timeline.losses();
        let is_lost = |position| losses.is_lost(position, Timestamp(scan.at));
        // A verdict on nothing or on a card depends on no signing key, and on no code in the log.
        let needs_keys = scan.code_id.is_some();
        if is_lost(scan.position) || (needs_keys && is_lost(keys)) {
            return Err(NotRecomputable::LostChanges.name());
        }
        if is_past(scan.position) || is_past(keys) {
            return Err("newer_than_replay");
        }
        if needs_keys && (self.unsound.affects(scan.position) || self.unsound.affects(keys)) {
            return Err(DAMAGED_LOG);
        }
        recompute(record, &self.timeline).map_err(NotRecomputable::name)
    }
}

/// Whether a record is a scan: the count of wrong ID cards is kept among the records, under names with a space.
pub(crate) fn is_scan(record: &ScanRecord) -> bool {
    !record.scan.device.contains(' ')
}

struct Run<'a> {
    log: &'a ReplayedLog,
    period: Period,
    /// When the audit began.
    now: i64,
    counts: Counts,
    agree: u64,
    differ: Vec<proto::Difference>,
    differ_total: u64,
    missing: u64,
    extra: u64,
    sealed_late: u64,
    altered: Vec<proto::AlteredBatches>,
}

impl Run<'_> {
    /// The days of the period with records, and those whose records are gone although their digests are in the log. The
    /// records of days before the first retained one were destroyed when their retention ended.
    fn days(&mut self, retained: &[u32]) -> BTreeSet<u32> {
        let (first, last) = days_between(self.period);
        let is_asked = |day: &u32| (first..=last).contains(day);
        let mut days: BTreeSet<u32> = retained.iter().copied().filter(is_asked).collect();
        for sealed in self.log.timeline.sealed_batches() {
            let day = sealed.batches.day;
            if !is_asked(&day) {
                continue;
            }
            if retained.first().is_some_and(|oldest| day >= *oldest) {
                days.insert(day);
            } else {
                let destroyed = self.counts.not_recomputable.entry("destroyed_batches".to_owned());
                *destroyed.or_default() += u64::from(sealed.batches.count);
            }
        }
        days
    }

    fn batch(&mut self, batch: &Batch, seen: &mut DayBatches, differing: &mut Vec<Differing>) {
        let name = (batch.writer, batch.number);
        let (records, without) = match &batch.records {
            Ok(records) => (&records[..], i64::MAX),
            Err(_) => {
                self.counts.not("unreadable_batch");
                (&[][..], i64::MIN)
            }
        };
        let newest = records.iter().map(|record| record.scan.at).max().unwrap_or(without);
        let digest = batch.digest;
        let sealed = false;
        seen.digests.insert(name, BatchSeen { digest, newest, sealed });
        for record in records
            .iter()
            .filter(|record| is_scan(record) && self.period.includes(record.scan.at))
        {
            self.counts.scans += 1;
            match self.log.recompute(record) {
                Ok(recomputed) => {
                    self.counts.recomputed += 1;
                    if recomputed.verdict.reason == record.scan.reason {
                        self.agree += 1;
                        continue;
                    }
                    self.differ_total += 1;
                    if self.differ.len() + differing.len() < MAX_LISTED {
                        let cause = if self.agrees_under_another_policy(record) {
                            "other_policy"
                        } else {
                            "software"
                        };
                        let scan = &record.scan;
                        let difference = proto::Difference {
                            device: scan.device.to_string(),
                            scan_id: scan.scan_id.to_string(),
                            at: scan.at,
                            recorded: Some(verdict(scan.reason.verdict())),
                            recomputed: Some(verdict(recomputed.verdict)),
                            cause: cause.to_owned(),
                        };
                        differing.push(Differing {
                            difference,
                            batch: name,
                        });
                    }
                }
                Err(why) => self.counts.not(why),
            }
        }
    }

    fn agrees_under_another_policy(&self, record: &ScanRecord) -> bool {
        let used = record.scan.basis.map(|basis| basis.policy);
        let mut others = self.log.timeline.policies().filter(|(digest, _)| Some(*digest) != used);
        others.any(|(_, policy)| {
            judge_at(record, &policy.policy, &self.log.timeline)
                .is_ok_and(|recomputed| recomputed.verdict.reason == record.scan.reason)
        })
    }

    /// Compares the batches of a day with their digests in the log.
    fn end_day(&mut self, day: u32, mut seen: DayBatches, differing: Vec<Differing>) {
        let sealed = self
            .log
            .timeline
            .sealed_batches()
            .iter()
            .filter(|sealed| sealed.batches.day == day);
        let mut last_sealed = BTreeMap::<ScanWriterId, u64>::new();
        let mut altered: Vec<&SealedBatches> = Vec::new();
        let mut missing = BTreeSet::new();
        for sealed in sealed {
            let writer = sealed.batches.writer;
            let (mut digest, mut is_whole) = (BatchesDigest::default(), true);
            for number in numbers(sealed) {
                match seen.digests.get_mut(&(writer, number)) {
                    Some(batch) => {
                        digest.add_digest(&batch.digest);
                        if !batch.sealed && sealed.decided_at.0.saturating_sub(batch.newest) > SEALED_WITHIN_SECONDS {
                            // After a loss of the log, digests that were lost with it are appended again.
                            let losses = self.log.timeline.losses();
                            if losses.is_between(Timestamp(batch.newest), sealed.decided_at) {
                                self.counts.not(LOST_DIGEST);
                            } else {
                                self.sealed_late += 1;
                            }
                        }
                        batch.sealed = true;
                    }
                    None => {
                        missing.insert((writer, number));
                        is_whole = false;
                    }
                }
            }
            if is_whole && digest.finish() != sealed.batches.digest {
                altered.push(sealed);
            }
            let last = last_sealed.entry(writer).or_default();
            *last = numbers(sealed).end.max(*last);
        }
        self.missing += missing.len() as u64;
        // A batch that was just written, or while the log took no appends, need not have a digest yet; one below the
        // writer's last digest must have one. On a day without any digest the log did not have them yet.
        let has_later = |writer: &ScanWriterId, number: u64| last_sealed.get(writer).is_some_and(|last| number < *last);
        let is_due = |batch: &BatchSeen| batch.newest < self.now - SEALED_WITHIN_SECONDS && !last_sealed.is_empty();
        let unsealed = seen
            .digests
            .iter()
            .filter(|((writer, number), batch)| !batch.sealed && (has_later(writer, *number) || is_due(batch)));
        let unsealed = unsealed.count() as u64;
        if self.log.lacks_digests() {
            if unsealed > 0 {
                *self
                    .counts
                    .not_recomputable
                    .entry(DAMAGED_DIGEST.to_owned())
                    .or_default() += unsealed;
            }
        } else {
            self.extra += unsealed;
        }
        for Differing { mut difference, batch } in differing {
            if altered
                .iter()
                .any(|sealed| sealed.batches.writer == batch.0 && numbers(sealed).contains(&batch.1))
            {
                "altered_record".clone_into(&mut difference.cause);
            }
            self.differ.push(difference);
        }
        self.altered.extend(altered.into_iter().map(altered_batches));
    }

    /// The result of the days so far.
    fn result(&self) -> proto::RunResult {
        proto::RunResult {
            from: self.period.from,
            to: self.period.to,
            scans: self.counts.scans,
            recomputed: self.counts.recomputed,
            agree: self.agree,
            differ: self.differ.clone(),
            differ_total: self.differ_total,
            missing: self.missing,
            extra: self.extra,
            sealed_late: self.sealed_late,
            not_recomputable: self.counts.not_recomputable.clone(),
            altered: self.altered.clone(),
            log_faults: self.log.timeline.faults().iter().map(log_fault).collect(),
            log_faults_total: self.log.timeline.faults_total(),
            unaudited: self.log.unsound.iter().map(unaudited).collect(),
        }
    }
}

fn numbers(sealed: &SealedBatches) -> std::ops::Range<u64> {
    let first = sealed.batches.first;
    first..first.saturating_add(u64::from(sealed.batches.count))
}

fn log_fault(fault: &LogFault) -> proto::UnfoldedCommit {
    proto::UnfoldedCommit {
        position: Some(sent_position(fault.position)),
        what: fault.what.clone(),
    }
}

fn unaudited((from, what): (Position, &str)) -> proto::UnauditedPart {
    proto::UnauditedPart {
        from: Some(sent_position(from)),
        why: what.to_owned(),
    }
}

fn altered_batches(sealed: &SealedBatches) -> proto::AlteredBatches {
    let batches = &sealed.batches;
    proto::AlteredBatches {
        day: batches.day,
        writer: batches.writer.to_string(),
        first: batches.first,
        count: batches.count,
        position: Some(sent_position(sealed.position)),
    }
}
