//! Fixtures: a city's records, and verifiers with their own clocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use citycode_domain::admission::Reason;
use citycode_domain::ids::{CodeId, Position};
use citycode_jetstream::{Connection, api};
use citycode_scan_records::jetstream::archive::ScanArchive;
use citycode_scan_records::jetstream::keeper::{NewScans, ScanKeeper, provision};
use citycode_scan_records::jetstream::{JetStreamScanRecords, KeeperSecrets, OpenError, ScansConfig};
use citycode_scan_records::{
    DAY_SECONDS, RecordsError, Registered, ScanNote, ScanRecord, ScanRecords as _, ShownBytes,
};
use citycode_service_kit::clock::{ManualClock, UnixSeconds};
use citycode_service_kit::health::{HealthRegistry, Probe};
use citycode_testkit::{NatsCluster, NatsServer, eventually_some};
use citycode_vault::FillRandom;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// The day on which every test starts, at noon.
pub(crate) const TODAY: u32 = 20_000;
pub(crate) const NOON: i64 = TODAY as i64 * DAY_SECONDS + DAY_SECONDS / 2;
const BUCKETS: u32 = 16;

/// Retries until it succeeds, or fails permanently: servers may be starting, busy or in an election.
async fn patiently<T>(what: &str, attempt: impl AsyncFn() -> Result<T, OpenError>) -> T {
    eventually_some(what, PATIENCE, || async {
        match attempt().await {
            Ok(done) => Some(done),
            Err(error) if error.may_pass() => None,
            Err(error) => panic!("{what}: {error}"),
        }
    })
    .await
}

pub(crate) fn random() -> FillRandom {
    Arc::new(|buffer| aws_lc_rs::rand::fill(buffer).expect("the system provides randomness"))
}

pub(crate) fn secret() -> Zeroizing<[u8; 32]> {
    Zeroizing::new([7; 32])
}

/// The secrets of the keeper and of the archive.
pub(crate) fn secrets() -> KeeperSecrets {
    KeeperSecrets {
        records: secret(),
        archive: Zeroizing::new([9; 32]),
    }
}

/// Records on servers.
pub(crate) struct City {
    pub(crate) config: ScansConfig,
}

/// The final result of a desk's registration.
pub(crate) struct Answer {
    pub(crate) registered: Registered,
    /// Whether an earlier attempt was not answered; it may have been recorded nevertheless.
    unanswered: bool,
}

/// Of the results of one scan, exactly one is "recorded now", or none if that response was lost.
pub(crate) fn assert_recorded_once<'a>(scan: &str, answers: impl Iterator<Item = &'a Answer> + Clone) {
    let now = answers
        .clone()
        .filter(|answer| answer.registered == Registered::Now)
        .count();
    let lost = answers.clone().any(|answer| answer.unanswered);
    assert!(now == 1 || now == 0 && lost, "{scan} was recorded {now} times");
}

/// One verifier's records, with a clock of its own.
pub(crate) struct Verifier {
    pub(crate) records: JetStreamScanRecords,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) health: HealthRegistry,
}

impl City {
    pub(crate) async fn on_one(server: &NatsServer) -> Self {
        Self::new(vec![server.url()], 1).await
    }

    pub(crate) async fn on_three(servers: &NatsCluster) -> Self {
        Self::new(servers.urls(), 3).await
    }

    async fn new(urls: Vec<String>, replicas: u8) -> Self {
        let config = ScansConfig {
            connection: Connection::new(urls, "test"),
            replicas,
            expected_log_id: Some([1; 16]),
        };
        let new = NewScans {
            log_id: [1; 16],
            buckets: BUCKETS,
        };
        patiently("the streams are created", async || {
            provision(&config, &new, &secrets(), random(), TODAY).await
        })
        .await;
        Self { config }
    }

    pub(crate) async fn keeper(&self) -> ScanKeeper {
        patiently("the keeper opens", async || {
            ScanKeeper::open(&self.config, &secrets(), random()).await
        })
        .await
    }

    pub(crate) async fn archive(&self) -> ScanArchive {
        patiently("the archive opens", async || {
            ScanArchive::open(&self.config, &secrets()).await
        })
        .await
    }

    /// A verifier that is ready.
    pub(crate) async fn verifier(&self, now: i64) -> Verifier {
        let clock = Arc::new(ManualClock::at(UnixSeconds(now)));
        let health = HealthRegistry::new();
        let records = patiently("the records open", async || {
            let component = health.component("records");
            JetStreamScanRecords::open(&self.config, &secret(), random(), Arc::clone(&clock) as _, component).await
        })
        .await;
        let ready = tokio::time::timeout(PATIENCE, health.wait_for(Probe::Ready)).await;
        ready.expect("the records are open");
        Verifier { records, clock, health }
    }

    /// Every scan id in a day's stream of registrations, in order.
    pub(crate) async fn registered(&self, day: u32) -> Vec<String> {
        let archive = self.archive().await;
        let records = read("the registrations", async || archive.registrations(day).await).await;
        scan_ids(records)
    }
}

/// Reads until the servers answer.
pub(crate) async fn read(
    what: &str,
    reading: impl AsyncFn() -> Result<Vec<ScanRecord>, RecordsError>,
) -> Vec<ScanRecord> {
    eventually_some(what, PATIENCE, || async { reading().await.ok() }).await
}

pub(crate) fn scan_ids(records: Vec<ScanRecord>) -> Vec<String> {
    records
        .into_iter()
        .map(|record| record.scan.scan_id.to_string())
        .collect()
}

/// A stream's settings as reported by the server.
pub(crate) async fn settings(client: &async_nats::Client, stream: &str) -> Map<String, Value> {
    api::stream_info(client, stream).await.unwrap().config
}

pub(crate) fn note(at: i64, device: &'static str, scan_id: &str) -> ScanNote<Arc<str>> {
    ScanNote {
        at,
        place: "sampling_desk".into(),
        device: device.into(),
        scan_id: scan_id.into(),
        code_id: Some(CodeId([3; 8])),
        reason: Reason::Ok,
        position: Position::new(1, 42),
        age_ms: 7,
        basis: None,
    }
}

pub(crate) fn borrowed(note: &ScanNote<Arc<str>>) -> ScanNote<&str> {
    ScanNote {
        at: note.at,
        place: &note.place,
        device: &note.device,
        scan_id: &note.scan_id,
        code_id: note.code_id,
        reason: note.reason,
        position: note.position,
        age_ms: note.age_ms,
        basis: note.basis,
    }
}

pub(crate) fn shown(what: &str) -> ShownBytes {
    ShownBytes::new(what.as_bytes().to_vec())
}

impl Verifier {
    /// Registers a scan of `shown` at the clock's current time.
    pub(crate) async fn register(&self, scan_id: &str, what: &str) -> Result<Registered, RecordsError> {
        use citycode_service_kit::clock::Clock as _;
        let note = note(self.clock.now().0, "desk-1", scan_id);
        self.records.register(&borrowed(&note), shown(what)).await
    }

    /// Like [`Self::register`], but repeats unanswered calls, as a desk does.
    pub(crate) async fn register_patiently(&self, scan_id: &str, what: &str) -> Answer {
        let unanswered = AtomicBool::new(false);
        let registered = eventually_some("a registration is answered", PATIENCE, || async {
            let answer = self.register(scan_id, what).await;
            unanswered.fetch_or(answer.is_err(), Ordering::SeqCst);
            answer.ok()
        })
        .await;
        Answer {
            registered,
            unanswered: unanswered.into_inner(),
        }
    }

    /// The health text of the records.
    pub(crate) fn health_text(&self) -> String {
        let report = self.health.report(Probe::Ready);
        report.components[0].reason.clone().unwrap_or_default()
    }
}
