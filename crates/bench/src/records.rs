//! `records`: registrations by two verifiers on NATS servers that flush before they acknowledge, the memory of each
//! registration in a verifier, and ordinary scans.
//!
//! Registrations alternate between the two verifiers, so that nearly every bucket was last written by the other one,
//! whose write a verifier must read before it may write there. Everything shares the machine's cores.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use citycode_domain::admission::Reason;
use citycode_domain::ids::{CodeId, Position};
use citycode_jetstream::Connection;
use citycode_scan_records::jetstream::archive::ScanArchive;
use citycode_scan_records::jetstream::keeper::{NewScans, provision};
use citycode_scan_records::jetstream::{JetStreamScanRecords, KeeperSecrets, ScansConfig};
use citycode_scan_records::{Registered, ScanNote, ScanRecords as _, ShownBytes, day_of};
use citycode_service_kit::clock::{Clock, SystemClock};
use citycode_service_kit::entropy::{Draw as _, OsEntropy};
use citycode_service_kit::health::{HealthRegistry, Probe};
use citycode_testkit::{NatsCluster, NatsServer};
use futures::StreamExt as _;
use zeroize::Zeroizing;

use crate::issue::city::random;
use crate::report::{Figure, Report};
use crate::{Scale, allocation};

const REGISTRATIONS: u64 = 20_000;
const IN_FLIGHT: usize = 64;
const SCANS: u64 = 400_000;
/// The default of `citycode provision`.
const BUCKETS: u32 = 4_096;

pub(crate) fn run(report: &mut Report, scale: Scale) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let one = NatsServer::start().await;
        let names = ["registrations_1", "registration_1_p99", "scans_written_1"];
        let city = City::new(vec![one.url()], 1).await?;
        let empty = city.held().await?;
        city.measure(report, scale, names).await?;
        let bytes = (city.held().await? - empty) / scale.of(REGISTRATIONS) as f64;
        report.push(Figure::new("bytes_per_registration", bytes, "bytes"));
        drop(one);
        let three = NatsCluster::start().await;
        let names = ["registrations_3", "registration_3_p99", "scans_written_3"];
        let city = City::new(three.urls(), 3).await?;
        city.measure(report, scale, names).await
    })
}

struct City {
    config: ScansConfig,
    secrets: KeeperSecrets,
    clock: Arc<dyn Clock>,
}

impl City {
    async fn new(urls: Vec<String>, replicas: u8) -> Result<Self> {
        let city = Self {
            config: ScansConfig {
                connection: Connection::new(urls, "bench"),
                replicas,
                expected_log_id: None,
            },
            secrets: KeeperSecrets {
                records: Zeroizing::new(OsEntropy.array()),
                archive: Zeroizing::new(OsEntropy.array()),
            },
            clock: Arc::new(SystemClock::new()),
        };
        let new = NewScans {
            log_id: [1; 16],
            buckets: BUCKETS,
        };
        provision(&city.config, &new, &city.secrets, random(), city.today()?).await?;
        Ok(city)
    }

    fn today(&self) -> Result<u32> {
        Ok(day_of(self.clock.now().0)?)
    }

    /// A verifier's scan records, after reading the existing ones.
    async fn verifier(&self) -> Result<JetStreamScanRecords> {
        let health = HealthRegistry::new();
        let (clock, component) = (Arc::clone(&self.clock), health.component("records"));
        let records =
            JetStreamScanRecords::open(&self.config, &self.secrets.records, random(), clock, component).await?;
        health.wait_for(Probe::Ready).await;
        Ok(records)
    }

    fn note<'a>(&self, device: &'a str, scan_id: &'a str) -> ScanNote<&'a str> {
        ScanNote {
            at: self.clock.now().0,
            place: "sampling_desk",
            device,
            scan_id,
            code_id: Some(CodeId([7; 8])),
            reason: Reason::Ok,
            position: Position::new(3, 1_000_000),
            age_ms: 40,
            basis: None,
        }
    }

    async fn measure(&self, report: &mut Report, scale: Scale, names: [&'static str; 3]) -> Result<()> {
        let verifiers = [self.verifier().await?, self.verifier().await?];
        let count = scale.of(REGISTRATIONS);
        let start = Instant::now();
        let waits: Vec<Result<Duration>> = futures::stream::iter(0..count)
            .map(|number| {
                let verifier = &verifiers[(number % 2) as usize];
                async move {
                    let (device, scan_id) = (format!("desk-{}", number % 500), format!("2026-11-25/{number:06}"));
                    let from = Instant::now();
                    let shown = ShownBytes::new(vec![5; 32]);
                    let registered = verifier.register(&self.note(&device, &scan_id), shown).await?;
                    ensure!(registered == Registered::Now, "{scan_id}: {registered:?}");
                    Ok(from.elapsed())
                }
            })
            .buffer_unordered(IN_FLIGHT)
            .collect()
            .await;
        let took = start.elapsed();
        let mut waits: Vec<Duration> = waits.into_iter().collect::<Result<_>>()?;
        waits.sort();
        let p99 = waits.get(waits.len() * 99 / 100).context("no registration")?;
        report.push(Figure::new(
            names[0],
            count as f64 / took.as_secs_f64(),
            "registrations/s",
        ));
        report.push(Figure::new(names[1], p99.as_secs_f64() * 1e3, "ms"));
        let scans = scale.of(SCANS);
        let start = Instant::now();
        for number in 0..scans {
            let scan_id = format!("{number:06}");
            verifiers[0].note(&self.note("gate-1", &scan_id));
        }
        verifiers[0].flush().await;
        let rate = scans as f64 / start.elapsed().as_secs_f64();
        let archive = ScanArchive::open(&self.config, &self.secrets).await?;
        let there = archive.scans(self.today()?).await?.len() as u64;
        ensure!(there == scans, "only {there} of {scans} scans were recorded");
        report.push(Figure::new(names[2], rate, "scans/s"));
        Ok(())
    }

    /// The memory in bytes of one more verifier that has read the day.
    async fn held(&self) -> Result<f64> {
        let before = allocation::held_bytes();
        allocation::count();
        let verifier = self.verifier().await?;
        allocation::pause();
        let held = allocation::held_bytes() - before;
        drop(verifier);
        Ok(held)
    }
}
