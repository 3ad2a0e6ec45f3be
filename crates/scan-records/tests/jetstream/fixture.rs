//! What the tests of this crate share: a city's records, and verifiers with clocks of their own.

use std::sync::Arc;
use std::time::Duration;

use citycode_domain::admission::Reason;
use citycode_domain::ids::{CodeId, CommitPosition};
use citycode_jetstream::Connection;
use citycode_scan_records::jetstream::archive::ScanArchive;
use citycode_scan_records::jetstream::keeper::{NewScans, ScanKeeper, provision};
use citycode_scan_records::jetstream::{JetStreamScanRecords, KeeperSecrets, ScansConfig};
use citycode_scan_records::{DAY_SECONDS, Registered, ScanNote, ScanRecords as _, ShownBytes};
use citycode_service_kit::clock::{ManualClock, UnixSeconds};
use citycode_service_kit::health::{HealthRegistry, Probe};
use citycode_testkit::{NatsCluster, NatsServer};
use citycode_vault::FillRandom;
use zeroize::Zeroizing;

pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// The day on which every test begins, at noon.
pub(crate) const TODAY: u32 = 20_000;
pub(crate) const NOON: i64 = TODAY as i64 * DAY_SECONDS + DAY_SECONDS / 2;
const BUCKETS: u32 = 16;

pub(crate) fn random() -> FillRandom {
    Arc::new(|buffer| aws_lc_rs::rand::fill(buffer).expect("the system has randomness"))
}

pub(crate) fn secret() -> Zeroizing<[u8; 32]> {
    Zeroizing::new([7; 32])
}

/// What the keeper has, and the archive.
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

/// One verifier's records. It lives on the clock that it was given.
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
        provision(&config, &new, &secrets(), random(), TODAY).await.unwrap();
        Self { config }
    }

    pub(crate) async fn keeper(&self) -> ScanKeeper {
        ScanKeeper::open(&self.config, &secrets(), random()).await.unwrap()
    }

    pub(crate) async fn archive(&self) -> ScanArchive {
        ScanArchive::open(&self.config, &secrets()).await.unwrap()
    }

    /// A verifier that is ready.
    pub(crate) async fn verifier(&self, now: i64) -> Verifier {
        let clock = Arc::new(ManualClock::at(UnixSeconds(now)));
        let health = HealthRegistry::new();
        let component = health.component("records");
        let secret = secret();
        let records = JetStreamScanRecords::open(&self.config, &secret, random(), Arc::clone(&clock) as _, component);
        let records = records.await.unwrap();
        let ready = tokio::time::timeout(PATIENCE, health.wait_for(Probe::Ready)).await;
        ready.expect("the records are open");
        Verifier { records, clock, health }
    }

    /// Every scan id that stands registered in a day's stream, in order.
    pub(crate) async fn registered(&self, day: u32) -> Vec<String> {
        let records = self.archive().await.registrations(day).await.unwrap();
        records.into_iter().map(|record| record.scan.scan_id).collect()
    }
}

pub(crate) fn note(at: i64, device: &'static str, scan_id: &str) -> ScanNote<String> {
    ScanNote {
        at,
        place: "sampling_desk".into(),
        device: device.into(),
        scan_id: scan_id.into(),
        code_id: Some(CodeId([3; 8])),
        reason: Reason::Ok,
        position: CommitPosition {
            partition: 1,
            sequence: 42,
        },
        age_ms: 7,
    }
}

pub(crate) fn borrowed(note: &ScanNote<String>) -> ScanNote<&str> {
    ScanNote {
        at: note.at,
        place: &note.place,
        device: &note.device,
        scan_id: &note.scan_id,
        code_id: note.code_id,
        reason: note.reason,
        position: note.position,
        age_ms: note.age_ms,
    }
}

pub(crate) fn shown(what: &str) -> ShownBytes {
    ShownBytes::new(what.as_bytes().to_vec())
}

impl Verifier {
    /// Registers a scan of `shown` at the instant that the clock shows.
    pub(crate) async fn register(
        &self,
        scan_id: &str,
        what: &str,
    ) -> Result<Registered, citycode_scan_records::RecordsError> {
        use citycode_service_kit::clock::Clock as _;
        let note = note(self.clock.now().0, "desk-1", scan_id);
        self.records.register(&borrowed(&note), shown(what)).await
    }

    /// What the health of the records says.
    pub(crate) fn says(&self) -> String {
        let report = self.health.report(Probe::Ready);
        report.components[0].reason.clone().unwrap_or_default()
    }
}
