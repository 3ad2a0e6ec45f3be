//! `snapshot`: the startup time and memory of the real `citycode-verifier` with a hundred million codes, from a shared
//! snapshot on a real server and from its own file. The memory is read from `/proc`.
//!
//! The snapshot is folded from generated commits of 1,000 codes each, with the same number in each partition as the log
//! on the server has. It is signed, sealed and published as by revocation, and the log continues with a tail. The
//! server runs on the same cores.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use citycode_domain::ids::Position;
use citycode_event_store::{BucketTail, CommitHash, EventStore, LogPosition, Revision};
use citycode_event_store_jetstream::{self as jetstream, Durability, JetStreamEventStore, ProbeAnswers};
use citycode_jetstream::Connection;
use citycode_projection::bench_support::{NOW, code, holder};
use citycode_projection::snapshot::ProjectionKind;
use citycode_projection::status::{self, FingerprintKey};
use citycode_projection::{Commit, LogIdentity};
use citycode_service_kit::files;
use citycode_shared_snapshot::seal::SealKey;
use citycode_shared_snapshot::{NewSnapshot, SharedSnapshots, SnapshotKeys};
use citycode_testkit::{NatsServer, NatsSync, Process, Running};
use citycode_token::SigningKey;
use tokio::process::Command;

use crate::replay::{CityCommits, write_city};
use crate::report::{Figure, Goal, Report};
use crate::{Scale, folder};

const CODES: u64 = 100_000_000;
const CODES_PER_COMMIT: u64 = 1_000;
/// Holders with three commits each over all partitions; and the holders of the tail.
const HOLDERS: u64 = 36_000;
const TAIL_HOLDERS: u64 = 3_000;
const ROUNDS: usize = 3;
const DEADLINE: Duration = Duration::from_secs(120);
const KIND: ProjectionKind = ProjectionKind::Status;

pub(crate) fn run(report: &mut Report, scale: Scale) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(measure(report, scale))
}

/// The city's folder and its programs.
struct City {
    folder: tempfile::TempDir,
    programs: PathBuf,
    server: NatsServer,
}

impl City {
    async fn make() -> Result<Self> {
        let programs = std::env::current_exe()?.parent().context("a folder")?.to_owned();
        let city = Self {
            folder: folder::temporary()?,
            programs,
            // Writing is not measured, so the server need not flush.
            server: NatsServer::start_with(NatsSync::EveryTwoMinutes).await,
        };
        let secrets = city.path("secrets");
        city.citycode(&["secrets", "--dir", &secrets.display().to_string()])
            .await?;
        let config = city.config("provision", true)?;
        city.citycode(&["provision", "--config", &config.display().to_string()])
            .await?;
        Ok(city)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn citycode(&self, words: &[&str]) -> Result<()> {
        let program = self.programs.join("citycode");
        let ended = Process::output(Command::new(&program).args(words)).await;
        let ended =
            ended.with_context(|| format!("{}: build it with `cargo build --release --bins`", program.display()))?;
        ensure!(
            ended.status.success(),
            "{words:?}: {}",
            String::from_utf8_lossy(&ended.stderr)
        );
        Ok(())
    }

    /// The configuration of a service whose state has that name.
    fn config(&self, name: &str, start_from: bool) -> Result<PathBuf> {
        let secret = |name: &str| self.path("secrets").join(name);
        let issuer = std::fs::read_to_string(secret("access/issuer"))?;
        let text = format!(
            "state = {:?}\nkeys = {:?}\n[shared_snapshots]\nstart_from = {start_from}\n[identity_provider]\n\
             issuer = {issuer:?}\njwks_file = {:?}\n[log]\nservers = [{:?}]\nunproven_durability = true\nreplicas = 1\n",
            self.path(name),
            secret("keys"),
            secret("access/jwks.json"),
            self.server.url(),
        );
        let path = self.path(&format!("{name}.toml"));
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Starts a verifier and measures it until it is ready.
    async fn verifier(&self, name: &str, start_from: bool) -> Result<Started> {
        let config = self.config(name, start_from)?;
        let words = [
            "--config".into(),
            config.display().to_string(),
            "--listen".into(),
            "127.0.0.1:0".to_owned(),
        ];
        let begun = Instant::now();
        let started = Running::start(&self.programs.join("citycode-verifier"), &words, DEADLINE).await?;
        let ready_seconds = begun.elapsed().as_secs_f64();
        let said = started.said();
        let how = said
            .lines()
            .filter_map(|line| Some(line.split_once("started from ")?.1))
            .next_back();
        let how = how
            .with_context(|| format!("its output does not contain how it started: {said}"))?
            .to_owned();
        let status = std::fs::read_to_string(format!("/proc/{}/status", started.id()))?;
        let kib = |field: &str| -> Result<f64> {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(field))
                .context("no such field")?;
            Ok(line
                .trim_start_matches(':')
                .trim()
                .trim_end_matches(" kB")
                .trim()
                .parse()?)
        };
        let (resident_mb, peak_mb) = (kib("VmRSS")? * 1.024e-3, kib("VmHWM")? * 1.024e-3);
        ensure!(started.terminate(DEADLINE).await.success(), "the verifier failed");
        Ok(Started {
            ready_seconds,
            resident_mb,
            peak_mb,
            how,
        })
    }
}

struct Started {
    ready_seconds: f64,
    resident_mb: f64,
    peak_mb: f64,
    how: String,
}

/// The file of a status projection with this number of codes at exactly this position of the log.
fn write_snapshot(file: &Path, identity: &LogIdentity, heads: &LogPosition, codes: u64) -> Result<()> {
    let (mut writer, _) = status::new(identity.partitions, FingerprintKey([9; 16]));
    let of_partition = codes / u64::from(identity.partitions);
    for (partition, head) in heads.iter() {
        ensure!(
            head.0 * CODES_PER_COMMIT >= of_partition,
            "partition {partition} of the log is too short"
        );
        let each = of_partition.div_ceil(head.0);
        for sequence in 1..=head.0 {
            let (first, last) = ((sequence - 1) * each, (sequence * each).min(of_partition));
            let events: Vec<_> = (first..last)
                .map(|number| code(partition.0, number).issued(None))
                .collect();
            let alarms = writer.apply(&Commit {
                position: Position::new(partition.0, sequence),
                decided_at: NOW,
                holder: Some(holder(sequence)),
                bucket: 0,
                tail: BucketTail {
                    revision: Revision::from_raw(sequence),
                    hash: CommitHash([7; 32]),
                },
                message_id_prefix: 0,
                events: &events,
            });
            ensure!(alarms == Ok(Vec::new()), "the generated log has alarms");
        }
    }
    files::stream_private(file, |out| writer.save(identity, out).map_err(std::io::Error::other))?;
    Ok(())
}

async fn publish(city: &City, identity: LogIdentity, file: &Path) -> Result<f64> {
    let key = |name: &str| files::read_secret(&city.path("secrets/keys").join(name));
    let signing = SigningKey::from_seed(*key("snapshot-signing.key")?);
    let keys = SnapshotKeys {
        seal: SealKey::new(*key("status-snapshot.key")?),
        signers: vec![signing.public_key()],
    };
    let connection = Connection::new(vec![city.server.url()], "bench");
    let shared = SharedSnapshots::connect(&connection, KIND, keys).await?;
    let begun = Instant::now();
    let new = NewSnapshot {
        file: std::fs::File::open(file)?,
        identity,
        signing: &signing,
        salt: [1; 16],
        made_at: NOW.0,
        replaces: 0,
    };
    shared.publish(new).await?;
    Ok(begun.elapsed().as_secs_f64())
}

async fn measure(report: &mut Report, scale: Scale) -> Result<()> {
    let city = City::make().await?;
    let config = jetstream::Config {
        replicas: 1,
        ..jetstream::Config::new(vec![city.server.url()], "bench", Durability::Unproven)
    };
    let store = Arc::new(JetStreamEventStore::open(&config).await?);
    let layout = store.layout();
    write_city(&*store, &mut CityCommits::new(layout), 0..scale.of(HOLDERS)).await?;
    let identity = LogIdentity {
        log_id: store.log_id().0,
        partitions: layout.partitions(),
        buckets_per_partition: layout.buckets_per_partition(),
        hash_version: layout.hash_version(),
    };
    let heads = store.heads().await?;
    let codes = scale.of(CODES);
    let file = city.path("snapshot");
    write_snapshot(&file, &identity, &heads, codes)?;
    let bytes = std::fs::metadata(&file)?.len();
    let publish_seconds = publish(&city, identity, &file).await?;
    std::fs::remove_file(&file)?;
    // The tail: codes with indexes after those of the snapshot.
    let mut tail = CityCommits::after(layout, codes);
    write_city(&*store, &mut tail, scale.of(HOLDERS)..scale.of(HOLDERS + TAIL_HOLDERS)).await?;
    // A writer, because without one no verifier could prove its freshness.
    let answering = Arc::clone(&store);
    let writer = tokio::spawn(async move {
        let answers = ProbeAnswers {
            heartbeat_every: Duration::from_secs(3),
            patience: Duration::from_millis(50),
            now: Box::new(|| NOW.0),
        };
        answering.answer_probes(answers).await
    });
    let (mut shared, mut own) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let fresh = city.verifier("verifier", true).await?;
        ensure!(
            fresh.how.starts_with("the snapshot shared"),
            "it started from {}",
            fresh.how
        );
        shared.push(fresh);
        let again = city.verifier("verifier", false).await?;
        ensure!(
            again.how.starts_with("its own snapshot"),
            "it started from {}",
            again.how
        );
        own.push(again);
        std::fs::remove_dir_all(city.path("verifier"))?;
    }
    writer.abort();
    let resident = tell(report, shared, own);
    report.push(Figure::new("snapshot_bytes_per_code", bytes as f64 / codes as f64, "bytes").goal(Goal::AtMost(4.0)));
    let resident = resident * 1e6 / codes as f64;
    report.push(Figure::new("resident_bytes_per_code", resident, "bytes"));
    report.push(Figure::new("publish_100m", publish_seconds, "s"));
    Ok(())
}

/// Reports the figures of all rounds; returns the greatest resident memory in MB.
fn tell(report: &mut Report, mut shared: Vec<Started>, mut own: Vec<Started>) -> f64 {
    for (name, rounds) in [("from_shared", &mut shared), ("from_own_file", &mut own)] {
        rounds.sort_by(|one, other| one.ready_seconds.total_cmp(&other.ready_seconds));
        report.note(format!("{name}: {}", rounds[rounds.len() / 2].how));
        let all: Vec<String> = rounds.iter().map(|one| format!("{:.2} s", one.ready_seconds)).collect();
        report.note(format!("{name}, from its start until it is ready: {}", all.join(", ")));
    }
    let (shared_median, own_median) = (shared[ROUNDS / 2].ready_seconds, own[ROUNDS / 2].ready_seconds);
    report.push(Figure::new("ready_from_shared_100m", shared_median, "s").goal(Goal::AtMost(5.0)));
    report.push(Figure::new("ready_from_own_file_100m", own_median, "s").goal(Goal::AtMost(5.0)));
    let most = |of: fn(&Started) -> f64| shared.iter().chain(&own).map(of).fold(0.0, f64::max);
    let resident = most(|one| one.resident_mb);
    report.push(Figure::new("verifier_resident_100m", resident, "MB").goal(Goal::AtMost(600.0)));
    report.push(Figure::new("verifier_peak_resident_100m", most(|one| one.peak_mb), "MB").goal(Goal::AtMost(600.0)));
    resident
}
