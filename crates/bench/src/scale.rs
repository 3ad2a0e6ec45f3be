//! `scale`: the same scans by one, two and four verifier processes with one log on JetStream, requested by one client.
//!
//! Verifiers share nothing but the log, so only the machine's cores, which the client uses too, limit them together.
//! With the scans per second it measures the verifiers' processor time of a scan, which must not grow with their
//! number.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use citycode_auth::LocalAuthority;
use citycode_event_store::follow::{Fold, Progress, follow};
use citycode_event_store::{EventStore, Layout, LogId, LogPosition, RecordedCommit};
use citycode_event_store_jetstream::{self as jetstream, Durability, JetStreamEventStore, ProbeAnswers};
use citycode_service_kit::clock::{Clock as _, SystemClock};
use citycode_service_kit::entropy::OsEntropy;
use citycode_service_kit::files;
use citycode_testkit::{NatsServer, NatsSync, Process};
use futures::future::try_join_all;
use tokio::process::Command;
use tonic::metadata::{Ascii, MetadataValue};

use crate::report::{Figure, Report};
use crate::scan::endpoints::{Client, admin_token, client, pipelined, product};
use crate::scan::gate::{Codes, Gate};
use crate::{Scale, folder};

const CODES: u64 = 2_000;
/// Scans of a round, over all streams.
const SCANS: u64 = 1_000_000;
/// Streams of the client, over all verifiers.
const STREAMS: usize = 4;
const ROUNDS: usize = 3;
const VERIFIERS: [(usize, &str, &str); 3] = [
    (1, "scale_1", "scale_1_verifier_time"),
    (2, "scale_2", "scale_2_verifier_time"),
    (4, "scale_4", "scale_4_verifier_time"),
];
/// The environment variable with the folder of a verifier process.
const VERIFY: &str = "CITYCODE_BENCH_VERIFY";
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Ticks per second in `/proc/PID/stat`, the same on every current Linux.
const TICKS_PER_SECOND: f64 = 100.0;

pub(crate) fn run(report: &mut Report, scale: Scale) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(measure(report, scale))
}

/// The folder of this process's task, if it is a verifier.
pub(crate) fn verifier_folder() -> Option<PathBuf> {
    std::env::var_os(VERIFY).map(Into::into)
}

/// A verifier process, which serves until its standard input ends.
pub(crate) fn verify_until_input_ends(folder: &Path) -> Result<ExitCode> {
    let server = std::fs::read_to_string(folder.join("server"))?;
    let runtime = tokio::runtime::Runtime::new()?;
    let _serving = runtime.block_on(async {
        let store = JetStreamEventStore::open(&config(server)).await?;
        let gate = Gate::open(Arc::new(store), Codes::default()).await?;
        let authority = LocalAuthority::ephemeral(&OsEntropy);
        let (address, stop) = product(&gate, &authority)?;
        let ready = format!("{address} {}", *admin_token(&gate, &authority)?);
        files::write_atomic(&folder.join("ready"), ready.as_bytes(), files::PRIVATE_FILE_MODE)?;
        anyhow::Ok((gate, stop))
    })?;
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(ExitCode::SUCCESS)
}

fn config(server: String) -> jetstream::Config {
    jetstream::Config {
        replicas: 1,
        ..jetstream::Config::new(vec![server], "bench", Durability::Unproven)
    }
}

/// A verifier process and a client of it.
struct Running {
    process: Process,
    client: Client,
    bearer: MetadataValue<Ascii>,
    _folder: tempfile::TempDir,
}

impl Running {
    async fn start(server: &str) -> Result<Self> {
        let folder = folder::temporary()?;
        std::fs::write(folder.path().join("server"), server)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.env(VERIFY, folder.path()).stdin(Stdio::piped());
        let process = Process::start(&mut command)?;
        let ready = folder.path().join("ready");
        let since = Instant::now();
        while !ready.exists() {
            if since.elapsed() > READY_WITHIN {
                bail!("a verifier process did not start");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let ready = std::fs::read_to_string(ready)?;
        let (address, token) = ready.split_once(' ').context("an address and a token")?;
        Ok(Self {
            process,
            client: client(address.parse::<SocketAddr>()?).await?,
            bearer: format!("Bearer {token}").parse()?,
            _folder: folder,
        })
    }

    /// The processor time that it has used.
    fn seconds(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // The name in parentheses may contain any character; user and system time are the 12th and 13th word after it.
        let (_, words) = stat.rsplit_once(')').context("a stat line")?;
        let ticks = words.split_whitespace().skip(11).take(2);
        let ticks = ticks.map(str::parse::<f64>).sum::<Result<f64, _>>()?;
        Ok(ticks / TICKS_PER_SECOND)
    }
}

async fn measure(report: &mut Report, scale: Scale) -> Result<()> {
    let server = NatsServer::start_with(NatsSync::EveryTwoMinutes).await;
    let config = config(server.url());
    let new = jetstream::NewLog::new(LogId([1; 16]), Layout::new(1, 4_096)?);
    jetstream::provision(&config, &new).await?;
    let store = Arc::new(JetStreamEventStore::open(&config).await?);
    let codes = Codes::issue(&*store, CODES, 0).await?;
    let writing = answer_probes(&store);
    let mut alone = None;
    for (verifiers, name, time) in VERIFIERS {
        let starting = (0..verifiers).map(|_| Running::start(config.connection.servers[0].as_str()));
        let running = try_join_all(starting).await?;
        // Each verifier has seen every code.
        scan(&running, &codes, CODES * STREAMS as u64).await?;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(scan(&running, &codes, scale.of(SCANS)).await?);
        }
        rounds.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let (rate, micros) = rounds[ROUNDS / 2];
        let alone = *alone.get_or_insert(rate);
        report.push(Figure::new(name, rate, "1/s").reference(alone));
        report.push(Figure::new(time, micros, "us"));
    }
    report.note(format!(
        "reference: one process in the same run. verifier_time: processor time of all verifiers a scan. {STREAMS} streams of one client, who shares the machine's cores with the verifiers"
    ));
    writing.abort();
    Ok(())
}

/// Returns scans per second over all streams, and the verifiers' processor time of a scan in microseconds.
async fn scan(running: &[Running], codes: &Codes, scans: u64) -> Result<(f64, f64)> {
    let used = || running.iter().map(Running::seconds).sum::<Result<f64>>();
    let texts: Vec<_> = codes
        .tokens
        .iter()
        .cycle()
        .take(usize::try_from(scans)? / STREAMS)
        .collect();
    let (before, started) = (used()?, Instant::now());
    let streams = (0..STREAMS).map(|stream| {
        let verifier = &running[stream % running.len()];
        pipelined(&verifier.client, &verifier.bearer, &texts)
    });
    try_join_all(streams).await?;
    let (scans, seconds) = ((texts.len() * STREAMS) as f64, started.elapsed().as_secs_f64());
    Ok((scans / seconds, (used()? - before) * 1e6 / scans))
}

/// Ignores the commits.
struct Idle;

impl Fold for Idle {
    fn fold(&mut self, _: &RecordedCommit) -> Result<(), String> {
        Ok(())
    }
}

/// Runs a writer that answers the verifiers' freshness probes.
fn answer_probes(store: &Arc<JetStreamEventStore>) -> tokio::task::JoinHandle<()> {
    let progress = Progress::new(&LogPosition::start(store.layout().partitions()));
    let (followed, answering) = (Arc::clone(store), Arc::clone(store));
    let clock = SystemClock::new();
    let answers = ProbeAnswers {
        heartbeat_every: Duration::from_secs(1),
        patience: Duration::from_millis(50),
        now: Box::new(move || clock.now().0),
    };
    tokio::spawn(async move {
        tokio::select! {
            _ = async { follow(&*followed, &mut Idle, &progress).await } => {}
            _ = answering.answer_probes(answers) => {}
        }
    })
}
