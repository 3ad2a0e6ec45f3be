//! `replay_rate`: the rate at which a log on the embedded store is folded into a register and into a status projection.
//!
//! The log resembles that of a city: three commits with four events for each holder (registered and issued, issued
//! another kind, reissued), with sealed tokens of the length of a paper code.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use citycode_domain::event::{CodeRef, Event, HolderRegistered, Sealed};
use citycode_domain::ids::HolderId;
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::{Fold, Progress, follow};
use citycode_event_store::{
    AppendOutcome, BucketId, BucketTail, CommandId, EventData, EventStore, Layout, LogId, LogPosition, NewCommit,
    RecordedCommit, RequestDigest, message_id,
};
use citycode_event_store_embedded::{Config, EmbeddedEventStore, NewLog};
use citycode_log_folds::{FoldedStatus, RegisterFold, folded_events, holder_stream, identity_of, projected};
use citycode_projection::bench_support::{code, holder, mix};
use citycode_projection::register::HolderRegister;
use citycode_projection::status::{self, FingerprintKey, StatusWriter};

use crate::report::{Figure, Goal, Report};
use crate::{Scale, folder};

/// Three commits and four events each.
const HOLDERS: u64 = 400_000;
/// The sealed token of a paper code: about 250 characters, a nonce and a tag.
const SEALED_BYTES: usize = 280;
/// Holders of one call to the log.
const GROUP: u64 = 1_000;

/// The commits of a city, holder by holder.
pub(crate) struct CityCommits {
    layout: Layout,
    codes: Vec<u64>,
    /// The tails of the buckets that were written.
    tails: HashMap<BucketId, BucketTail>,
}

impl CityCommits {
    pub(crate) fn new(layout: Layout) -> Self {
        let codes = vec![0; usize::from(layout.partitions())];
        Self {
            layout,
            codes,
            tails: HashMap::new(),
        }
    }

    /// A city whose codes have the indexes after those of `codes` other codes.
    pub(crate) fn after(layout: Layout, codes: u64) -> Self {
        let each = codes / u64::from(layout.partitions());
        let codes = vec![each; usize::from(layout.partitions())];
        Self {
            layout,
            codes,
            tails: HashMap::new(),
        }
    }

    /// The tail that the commit expects.
    fn tail(&self, commit: &NewCommit) -> BucketTail {
        let bucket = commit_bucket(self.layout, commit);
        self.tails.get(&bucket).copied().unwrap_or(BucketTail::EMPTY)
    }

    fn birth(&mut self, holder: HolderId, supersedes: Option<CodeRef>) -> (CodeRef, Event) {
        let partition = self.layout.bucket_of(&holder_stream(holder)).partition.0;
        let number = &mut self.codes[usize::from(partition)];
        let born = code(partition, *number);
        *number += 1;
        let mut event = born.issued(supersedes);
        if let Event::CodeIssued(issued) = &mut event {
            issued.sealed_token = Sealed(vec![mix(*number) as u8; SEALED_BYTES]);
        }
        (born.code_ref(), event)
    }

    /// The commits of one holder, in order.
    pub(crate) fn of(&mut self, number: u64) -> [NewCommit; 3] {
        let holder = holder(number);
        let (first, birth) = self.birth(holder, None);
        let registered = Event::HolderRegistered(HolderRegistered { holder });
        let (_, second) = self.birth(holder, None);
        let (_, mut third) = self.birth(holder, Some(first));
        if let Event::CodeIssued(issued) = &mut third {
            issued.code.slot = first.slot;
        }
        let commits = [vec![registered, birth], vec![second], vec![third]];
        let mut step = 0;
        commits.map(|events| {
            step += 1;
            commit(holder, number * 4 + step, &events)
        })
    }
}

fn commit(holder: HolderId, command: u64, events: &[Event]) -> NewCommit {
    let stream = holder_stream(holder);
    let command_id = CommandId((u128::from(mix(command)) << 64 | u128::from(command)).to_be_bytes());
    let encoded = events.iter().map(citycode_wire::event::encode);
    NewCommit {
        stream,
        events: encoded
            .map(|(event_type, version, payload)| EventData {
                event_type: event_type.into(),
                version,
                payload: Bytes::from(payload),
            })
            .collect(),
        message_id: message_id("bench", &stream, &command_id),
        request_digest: RequestDigest([1; 32]),
        command_id,
        actor: "channel:app;import;0123abcd".into(),
        causation_id: None,
        correlation_id: None,
        decided_at: citycode_projection::bench_support::NOW.0,
        trace_context: None,
    }
}

fn commit_bucket(layout: Layout, commit: &NewCommit) -> BucketId {
    layout.bucket_of(&commit.stream)
}

/// Appends the commits of these holders durably.
pub(crate) async fn write_city(
    store: &dyn EventStore,
    city: &mut CityCommits,
    holders: std::ops::Range<u64>,
) -> Result<()> {
    let layout = store.layout();
    let mut next = holders.start;
    while next < holders.end {
        let last = holders.end.min(next + GROUP);
        // One commit of each holder at a time, because the second expects the tail that the first creates.
        let mut waves: [Vec<NewCommit>; 3] = Default::default();
        for number in next..last {
            for (wave, commit) in waves.iter_mut().zip(city.of(number)) {
                wave.push(commit);
            }
        }
        for mut wave in waves {
            while !wave.is_empty() {
                let group: Vec<_> = wave.iter().map(|commit| (commit.clone(), city.tail(commit))).collect();
                let answers = store.append_many(group).await;
                // Two holders may share a bucket, or another writer was there; then the append is repeated.
                let mut repeated = Vec::new();
                for (commit, answer) in wave.into_iter().zip(answers) {
                    match answer {
                        Ok(AppendOutcome::Appended { revision, hash, .. }) => {
                            city.tails
                                .insert(commit_bucket(layout, &commit), BucketTail { revision, hash });
                        }
                        Ok(AppendOutcome::WrongExpectedVersion { .. }) => {
                            let bucket = commit_bucket(layout, &commit);
                            city.tails.insert(bucket, store.bucket_tail(bucket).await?);
                            repeated.push(commit);
                        }
                        other => bail!("an append failed: {other:?}"),
                    }
                }
                wave = repeated;
            }
        }
        next = last;
    }
    Ok(())
}

/// A status projection that follows the log like a verifier's.
pub(crate) struct StatusFold(pub(crate) StatusWriter);

impl Fold for StatusFold {
    fn fold(&mut self, commit: &RecordedCommit) -> Result<(), String> {
        let events = folded_events(commit).map_err(|error| error.to_string())?;
        let alarms = self.0.apply(&projected(commit, &events));
        match alarms {
            Ok(alarms) if alarms.is_empty() => Ok(()),
            Ok(alarms) => Err(format!("alarms: {alarms:?}")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The status as a verifier that demands witnesses folds it: with the leaves of every message.
struct WitnessedFold(Arc<FoldedStatus>);

impl Fold for WitnessedFold {
    fn received(&mut self, message: &RecordedCommit) -> Result<(), String> {
        self.0.received(message)
    }

    fn fold(&mut self, commit: &RecordedCommit) -> Result<(), String> {
        let events = folded_events(commit).map_err(|error| error.to_string())?;
        self.0.fold(commit, &projected(commit, &events)).map(drop)
    }
}

/// Follows the whole log; returns the seconds until it is live.
async fn replay(store: Arc<EmbeddedEventStore>, mut fold: impl Fold + 'static) -> Result<f64> {
    let progress = Progress::new(&LogPosition::start(store.layout().partitions()));
    let followed = progress.clone();
    let start = Instant::now();
    let following = tokio::spawn(async move { follow(&*store, &mut fold, &followed).await });
    progress.wait_until_live().await?;
    let seconds = start.elapsed().as_secs_f64();
    following.abort();
    // The only error is that the task was aborted.
    let _ = following.await;
    Ok(seconds)
}

async fn measure(report: &mut Report, holders: u64) -> Result<()> {
    let folder = folder::temporary()?;
    let layout = Layout::default();
    let new_log = NewLog::new(LogId([1; 16]), layout);
    let config = Config {
        create: Some(new_log),
        ..Config::default()
    };
    let store = EmbeddedEventStore::open(folder.path(), &config)?;
    let start = Instant::now();
    write_city(&store, &mut CityCommits::new(layout), 0..holders).await?;
    let wrote = start.elapsed().as_secs_f64();
    store.close();
    let start = Instant::now();
    let store = Arc::new(EmbeddedEventStore::open(folder.path(), &Config::default())?);
    let opened = start.elapsed().as_secs_f64();
    let (commits, events) = (holders * 3, holders * 4);

    let register = Arc::new(HolderRegister::new(layout.partitions()));
    let fold = RegisterFold::new(Arc::clone(&register), Vec::new());
    let register_seconds = replay(Arc::clone(&store), fold).await?;
    ensure!(register.holder_count() == holders, "the replay lost holders");
    let (writer, reader) = status::new(layout.partitions(), FingerprintKey([9; 16]));
    let status_seconds = replay(Arc::clone(&store), StatusFold(writer)).await?;
    let folded: u64 = reader.points().iter().map(|point| point.sequence).sum();
    ensure!(folded == commits, "the replay lost commits");
    let open = |open: fn(_, _, _, _, _) -> FoldedStatus| {
        let key = FingerprintKey([9; 16]);
        Arc::new(open(None::<&Path>, identity_of(&*store), key, Timestamp(0), layout))
    };
    let mut seconds_with_trees = [0.0; 2];
    for (opened, seconds) in [open(FoldedStatus::open), open(FoldedStatus::open_with_trees)]
        .into_iter()
        .zip(&mut seconds_with_trees)
    {
        *seconds = replay(Arc::clone(&store), WitnessedFold(Arc::clone(&opened))).await?;
        ensure!(opened.reaches().commits() == commits, "the replay lost commits");
    }
    let rate = |seconds: f64| events as f64 / seconds;
    report.push(
        Figure::new("replay_rate", rate(register_seconds.max(status_seconds)), "events/s")
            .goal(Goal::AtLeast(500_000.0)),
    );
    report.push(Figure::new("replay_rate_register", rate(register_seconds), "events/s"));
    report.push(Figure::new("replay_rate_status", rate(status_seconds), "events/s"));
    let [without, with] = seconds_with_trees.map(rate);
    report.push(Figure::new("replay_rate_verifier", without, "events/s"));
    report.push(Figure::new("replay_rate_verifier_with_trees", with, "events/s"));
    report.note(format!(
        "replay: {commits} commits of {events} events, written durably at {:.0} commits/s, opened in {opened:.2} s; the slower of the two folds is replay_rate",
        commits as f64 / wrote
    ));
    Ok(())
}

pub(crate) fn run(report: &mut Report, scale: Scale) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(measure(report, scale.of(HOLDERS)))
}
