//! `audit`: the memory of a timeline, recomputing recorded verdicts, checking a log, and the history of one code.
//!
//! | figure | reference in the same run |
//! |---|---|
//! | bytes of the timeline for each code, each with one change | |
//! | verdicts recomputed from records in memory, and from batches on disk, by one core | |
//! | checking the hashes and chains of a log | hashing the payloads of the same log with the same hash (BLAKE3) |
//! | one code's history among the events of a log | PostgreSQL with an indexed table of as many events |

mod peer;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use citycode_audit::{Audit, AuditIndex, Observer};
use citycode_auth::{Caller, CallerId, Role};
use citycode_domain::admission::{IdCheck, ProofState, Reason};
use citycode_domain::event::{CodeRevoked, Event, Sealed, SigningKeyAdded};
use citycode_domain::ids::{CodeId, Position};
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::{Fold, Progress, follow};
use citycode_event_store::{EventStore, Layout, LogId, LogPosition, SubscriptionBatch};
use citycode_event_store_embedded::{Config, EmbeddedEventStore, NewLog};
use citycode_log_folds::RegisterFold;
use citycode_log_tree::check::check as check_log;
use citycode_log_tree::{LogTrees, TreeFold};
use citycode_policy_file::{PolicyFile, SHANGHAI};
use citycode_projection::bench_support::{CityLog, NOW, code};
use citycode_projection::register::HolderRegister;
use citycode_projection::status::{self, FingerprintKey};
use citycode_replay::{Recomputed, Timeline, recompute};
use citycode_scan_records::embedded::EmbeddedScanRecords;
use citycode_scan_records::{Basis, RecordArchive as _, ScanNote, ScanRecord, ScanRecords as _, ShownEvidence, day_of};
use citycode_service_kit::clock::SystemClock;
use citycode_service_kit::entropy::OsEntropy;
use citycode_token::SigningKey;
use citycode_wire::proto::audit::v1::AuditProgress;
use citycode_wire::request::HistoryQuery;
use sha2::{Digest as _, Sha256};

use crate::replay::{CityCommits, StatusFold, write_city};
use crate::report::{Figure, Goal, Report};
use crate::{Scale, allocation, folder};

/// Codes of the timeline; the share of its tables that is filled is that of a city of 25 million.
const CODES: u64 = 25_000_000 / 8;
const SCANS: u64 = 2_000_000;
/// Scans between two waits for the writer of records, whose buffer is bounded.
const SCANS_IN_FLIGHT: u64 = 10_000;
/// Four events in three commits each.
const HOLDERS: u64 = 500_000;
const HISTORIES: u64 = 5_000;
/// An hour after the codes of the timeline begin.
const SCANNED_AT: i64 = NOW.0 + 3_600;
const PARTITIONS: u64 = 16;

pub(crate) fn run(report: &mut Report, scale: Scale) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let codes = scale.of(CODES);
        let timeline = timeline(report, codes)?;
        verdicts(report, &timeline, codes, scale.of(SCANS)).await?;
        drop(timeline);
        log(report, scale).await
    })
}

/// The code with this number among all partitions.
fn code_id(number: u64) -> CodeId {
    let partition = (number % PARTITIONS) as u16;
    code(partition, number / PARTITIONS).code_ref().code_id
}

/// A code near this number whose kind needs no ID card, so that its revocation is the reason of its verdict: the kinds
/// of the city follow each other within a partition, and the policy accepts the third and fourth with a card only.
fn code_without_card(number: u64) -> CodeId {
    let within = number / PARTITIONS;
    code_id((within - within % 4 + within % 2) * PARTITIONS + number % PARTITIONS)
}

fn timeline(report: &mut Report, codes: u64) -> Result<Timeline> {
    let (mut log, mut timeline) = (CityLog::default(), Timeline::new());
    let before = allocation::held_bytes();
    let policy = PolicyFile::parse(SHANGHAI)?;
    let adopted = log.commit(0, vec![Event::PolicyAdopted(policy.adopted())]);
    timeline.fold(&adopted.as_commit())?;
    let key = SigningKey::from_seed([3; 32]);
    let added = SigningKeyAdded {
        key_id: key.key_id(),
        public_key: key.public_key(),
        signs_from: Timestamp(0),
    };
    let added = log.commit(0, vec![Event::SigningKeyAdded(added)]);
    timeline.fold(&added.as_commit())?;
    let start = Instant::now();
    for number in 0..codes {
        let born = log.next_code(number);
        let mut issued = born.issued(None);
        if let Event::CodeIssued(issued) = &mut issued {
            issued.key_id = key.key_id();
        }
        let issue = log.commit(number, vec![issued]);
        let revoked = CodeRevoked {
            code: born.code_ref(),
            reason: Sealed::default(),
        };
        let death = log.commit(number, vec![Event::CodeRevoked(revoked)]);
        allocation::count();
        timeline.fold(&issue.as_commit())?;
        timeline.fold(&death.as_commit())?;
        allocation::pause();
    }
    let folded = (codes * 2) as f64 / start.elapsed().as_secs_f64();
    let bytes = (allocation::held_bytes() - before) / codes as f64;
    report.push(Figure::new("timeline_bytes_per_code", bytes, "bytes").goal(Goal::AtMost(100.0)));
    report.push(Figure::new("timeline_fold", folded, "events/s"));
    Ok(timeline)
}

fn note<'a>(timeline: &Timeline, number: u64, scan_id: &'a str) -> Result<ScanNote<&'a str>> {
    let life = timeline
        .life(code_without_card(number))
        .context("a code of the timeline")?;
    let (policy, _) = timeline.policies().next().context("the policy")?;
    Ok(ScanNote {
        at: SCANNED_AT,
        place: "sentinel",
        device: "gate-7",
        scan_id,
        code_id: Some(life.code_id),
        reason: Reason::Revoked,
        position: Position::new(life.issued.partition.0, u64::MAX >> 16),
        age_ms: 40,
        basis: Some(Basis {
            policy,
            shown: ShownEvidence::Code {
                claims: life.claims,
                proof: ProofState::Absent,
                id_check: IdCheck::None,
            },
            keys_sequence: u64::MAX >> 16,
            keys_age_ms: 40,
            code_age_ms: 40,
            confined: false,
            unwitnessed: false,
            clock_trusted: true,
            not_in_log: None,
        }),
    })
}

async fn verdicts(report: &mut Report, timeline: &Timeline, codes: u64, scans: u64) -> Result<()> {
    let folder = folder::temporary()?;
    let records = EmbeddedScanRecords::open(folder.path(), Arc::new(OsEntropy))?;
    for number in 0..scans {
        let scan_id = format!("{number:06}");
        records.note(&note(timeline, number.wrapping_mul(7_919_317) % codes, &scan_id)?);
        if number % SCANS_IN_FLIGHT == SCANS_IN_FLIGHT - 1 {
            records.flush().await;
        }
    }
    records.flush().await;
    let (archive, day) = (records.archive(), day_of(SCANNED_AT)?);
    let is_revoked = |recomputed: Recomputed| recomputed.verdict.reason == Reason::Revoked;
    let judged = |record: &ScanRecord| u64::from(recompute(record, timeline).is_ok_and(is_revoked));
    let (mut from, mut read, mut recomputed) = (0, 0, 0);
    let mut kept = Vec::new();
    let start = Instant::now();
    loop {
        let batches = archive.batches(day, from).await?;
        if batches.batches.is_empty() {
            break;
        }
        from = batches.next;
        for batch in batches.batches {
            let records = batch.records?;
            read += records.len() as u64;
            recomputed += records.iter().map(judged).sum::<u64>();
            if kept.len() < 500_000 {
                kept.extend(records);
            }
        }
    }
    let from_disk = read as f64 / start.elapsed().as_secs_f64();
    ensure!(
        (read, recomputed) == (scans, scans),
        "{recomputed} of {read} of {scans} scans"
    );
    let start = Instant::now();
    black_box(kept.iter().map(judged).sum::<u64>());
    let in_memory = kept.len() as f64 / start.elapsed().as_secs_f64();
    report.push(Figure::new("recompute", in_memory, "verdicts/s").goal(Goal::AtLeast(300_000.0)));
    report.push(Figure::new("recompute_from_disk", from_disk, "verdicts/s").goal(Goal::AtLeast(300_000.0)));
    Ok(())
}

/// The log's check and histories, on one log.
async fn log(report: &mut Report, scale: Scale) -> Result<()> {
    let folder = folder::temporary()?;
    let (layout, holders) = (Layout::default(), scale.of(HOLDERS));
    let config = Config {
        create: Some(NewLog::new(LogId([1; 16]), layout)),
        ..Config::default()
    };
    let store = Arc::new(EmbeddedEventStore::open(&folder.path().join("log"), &config)?);
    write_city(&*store, &mut CityCommits::new(layout), 0..holders).await?;
    check(report, &store).await?;
    let trees = trees(report, folder.path(), &store).await?;
    check_everything(report, &store, &trees).await?;
    let histories = histories(report, folder.path(), &store, holders).await?;
    let peer = peer::histories(holders * 4, HISTORIES, report);
    for (place, name) in [(0, "history_p50"), (1, "history_p99")] {
        let mut figure = Figure::new(name, histories[place], "ms");
        if let Some(peer) = peer {
            figure = figure.reference(peer[place]);
        }
        report.push(if place == 1 {
            figure.goal(Goal::AtMost(10.0))
        } else {
            figure
        });
    }
    report.note(format!("audit: histories among {} events", holders * 4));
    Ok(())
}

/// The payloads of each commit of a log.
async fn payloads(store: &EmbeddedEventStore) -> Result<Vec<Vec<u8>>> {
    let heads = store.heads().await?;
    let mut payloads = Vec::new();
    let mut subscription = store
        .subscribe_to_all(LogPosition::start(heads.partitions() as u16))
        .await?;
    while !subscription.position().reaches(&heads) {
        if let SubscriptionBatch::Commits(commits) = subscription.next_batch().await? {
            for message in &commits {
                let facts = message.commit.facts().iter();
                payloads.push(facts.flat_map(|fact| fact.payload.to_vec()).collect());
            }
        }
    }
    Ok(payloads)
}

/// The hashes and chains of a log; the reference hashes the payloads on one core.
async fn check(report: &mut Report, store: &Arc<EmbeddedEventStore>) -> Result<()> {
    let start = Instant::now();
    let checked = check_log(Arc::clone(store) as Arc<dyn EventStore>, None, None, |_| true).await?;
    let rate = checked.commits as f64 / start.elapsed().as_secs_f64();
    ensure!(checked.faults.is_empty(), "{:?}", checked.faults);
    let payloads = payloads(store).await?;
    let start = Instant::now();
    for bytes in &payloads {
        black_box(blake3::hash(bytes));
    }
    let hashed = payloads.len() as f64 / start.elapsed().as_secs_f64();
    report.push(Figure::new("log_check", rate, "commits/s").reference(hashed));
    Ok(())
}

/// Writes the trees of a log durably, as the audit service does.
async fn trees(
    report: &mut Report,
    folder: &std::path::Path,
    store: &Arc<EmbeddedEventStore>,
) -> Result<Arc<LogTrees>> {
    let (trees, from) = LogTrees::open(&folder.join("trees"), &**store, "bench.example", &[9; 32]).await?;
    let trees = Arc::new(trees);
    let commits = store.heads().await?.commits() as f64;
    let start = Instant::now();
    follow_to_end(store, TreeFold(Arc::clone(&trees)), &from).await?;
    trees.publish(true)?;
    report.push(Figure::new(
        "trees_written",
        commits / start.elapsed().as_secs_f64(),
        "commits/s",
    ));
    Ok(trees)
}

/// Folds a log up to its present end.
async fn follow_to_end(
    store: &Arc<EmbeddedEventStore>,
    mut fold: impl Fold + 'static,
    from: &LogPosition,
) -> Result<()> {
    let (progress, log) = (Progress::new(from), Arc::clone(store));
    let followed = progress.clone();
    let following = tokio::spawn(async move { follow(&*log, &mut fold, &followed).await });
    progress.wait_for_all(&store.heads().await?).await?;
    following.abort();
    // The only error is that the task was aborted.
    let _ = following.await;
    Ok(())
}

/// A full replay: hashes, chains and leaves of the trees, then the same beside both folds. The reference hashes the
/// payloads on both cores with the hashes that the replay needs: BLAKE3 (chain) and SHA-256 (leaves).
async fn check_everything(report: &mut Report, store: &Arc<EmbeddedEventStore>, trees: &Arc<LogTrees>) -> Result<()> {
    let payloads = payloads(store).await?;
    let start = Instant::now();
    std::thread::scope(|scope| {
        for half in payloads.chunks(payloads.len().div_ceil(2)) {
            scope.spawn(move || {
                for bytes in half {
                    black_box((blake3::hash(bytes), Sha256::digest(bytes)));
                }
            });
        }
    });
    let hashed = payloads.len() as f64 / start.elapsed().as_secs_f64();
    drop(payloads);
    let verify = || async {
        let checked = check_log(
            Arc::clone(store) as Arc<dyn EventStore>,
            Some(Arc::clone(trees)),
            None,
            |_| true,
        )
        .await?;
        ensure!(checked.faults.is_empty(), "{:?}", checked.faults);
        ensure!(checked.compared > 0, "no leaf was compared");
        Ok(checked.commits as f64)
    };
    let start = Instant::now();
    let rate = verify().await? / start.elapsed().as_secs_f64();
    report.push(
        Figure::new("full_replay", rate, "commits/s")
            .reference(hashed)
            .goal(Goal::RatioAtLeast(0.5)),
    );
    let layout = store.layout();
    let from = LogPosition::start(layout.partitions());
    let register = RegisterFold::new(Arc::new(HolderRegister::new(layout.partitions())), Vec::new());
    let (writer, _reader) = status::new(layout.partitions(), FingerprintKey([9; 16]));
    let start = Instant::now();
    let folds = async {
        tokio::try_join!(
            follow_to_end(store, register, &from),
            follow_to_end(store, StatusFold(writer), &from)
        )
    };
    let (commits, _) = tokio::try_join!(verify(), folds)?;
    let rate = commits / start.elapsed().as_secs_f64();
    report.push(
        Figure::new("full_replay_with_folds", rate, "commits/s")
            .reference(hashed)
            .goal(Goal::RatioAtLeast(0.25)),
    );
    Ok(())
}

/// Lets a count run to its end.
struct Unattended;

impl Observer for Unattended {
    fn progress(&mut self, _: AuditProgress) -> bool {
        true
    }
}

/// The median and the 99th percentile of the milliseconds of histories of single codes.
async fn histories(
    report: &mut Report,
    folder: &std::path::Path,
    store: &Arc<EmbeddedEventStore>,
    holders: u64,
) -> Result<[f64; 2]> {
    let path = folder.join("index");
    std::fs::create_dir(&path)?;
    let (mut index, from) = AuditIndex::open(&path, &**store).await?;
    let (reader, progress) = (index.reader(), Progress::new(&from));
    let (followed, log) = (progress.clone(), Arc::clone(store));
    let following = tokio::spawn(async move { follow(&*log, &mut index, &followed).await });
    let start = Instant::now();
    progress.wait_for_all(&store.heads().await?).await?;
    let indexed = store.heads().await?.commits() as f64 / start.elapsed().as_secs_f64();
    report.push(Figure::new("index_written", indexed, "commits/s"));
    let audit = Audit {
        store: Arc::clone(store) as Arc<dyn EventStore>,
        index: reader,
        progress,
        policy: PolicyFile::parse(SHANGHAI)?.policy,
        records: None,
        queries: None,
        trees: None,
        clock: Arc::new(SystemClock::new()),
    };
    let auditor = Caller::new(CallerId::new("bench", "auditor").context("an id")?, vec![Role::Auditor]);
    let mut milliseconds = Vec::new();
    for number in 0..HISTORIES {
        // Each partition has more codes than this.
        let code_id = code_id(number.wrapping_mul(7_919_317) % (holders * 2));
        let start = Instant::now();
        let history = audit.history(&auditor, HistoryQuery::of_code(code_id)).await;
        milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
        let history = history.map_err(|problem| anyhow::anyhow!("{problem:?}"))?;
        ensure!(!history.entries.is_empty(), "a code without a history");
    }
    let start = Instant::now();
    let state = audit.state(NOW.0, true, &mut Unattended).await;
    let seconds = start.elapsed().as_secs_f64();
    let state = state.map_err(|problem| anyhow::anyhow!("{problem:?}"))?;
    ensure!(state.codes == Some(holders * 3), "{:?} codes", state.codes);
    report.push(Figure::new("city_at_an_instant", seconds, "s").goal(Goal::AtMost(30.0)));
    following.abort();
    Ok(quantiles(&mut milliseconds))
}

/// The median and the 99th percentile.
fn quantiles(values: &mut [f64]) -> [f64; 2] {
    values.sort_by(f64::total_cmp);
    [0.5, 0.99].map(|share| values[((values.len() - 1) as f64 * share) as usize])
}
