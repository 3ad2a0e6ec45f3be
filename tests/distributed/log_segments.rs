//! Segments of the log's history: revocation writes them, and a verifier without a snapshot starts from them and judges
//! like one that read the log.

use std::time::Duration;

use citycode_domain::event::{Event, HolderRegistered};
use citycode_event_store::NewCommit;
use citycode_event_store_jetstream::JetStreamEventStore;
use citycode_jetstream::Credentials;
use citycode_log_folds::holder_stream;
use citycode_projection::bench_support;
use citycode_testkit::{IdNumbers, Running, append_all, commit_of, eventually};
use jiff::civil::date;

use crate::city::{City, audit, behind, issuer, metric, portal, revocation, verifier};

const PATIENCE: Duration = Duration::from_secs(120);
const NOT_FROM_SHARED: &str = "[shared_snapshots]\nstart_from = false\n";
/// Four partitions with a complete segment of 4,096 commits each, whatever the distribution of the streams.
const HOLDERS: u32 = 4 * 4_096 + 2_000;

fn registered(number: u32) -> NewCommit {
    // Holder ids are random, and the registers rely on that.
    let holder = bench_support::holder(number.into());
    let event = Event::HolderRegistered(HolderRegistered { holder });
    commit_of(holder_stream(holder), &event, number.into(), 1_780_000_000)
}

/// Registers many holders in the log, as the user that restores logs.
async fn fill(city: &City) {
    let mut config = city.log();
    let seed = std::fs::read_to_string(city.secret("nats/restore.nk")).expect("a seed");
    config.connection.credentials = Credentials::NkeySeed(seed.trim().to_owned().into());
    config.connection.root_certificates = Some(city.secret("tls/ca.pem"));
    let log = JetStreamEventStore::open(&config).await.expect("the log opens");
    append_all(&log, (0..HOLDERS).map(registered).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_without_a_snapshot_starts_from_segments_and_judges_like_one_that_read_the_log() {
    let city = City::secured().await;
    city.provision().await;
    // No verifier starts without the vault's keys, the day's streams of scan records, and a writer that answers probes.
    let issuer = city.start(&issuer(), "issuer", "").await;
    let audit = city.start(&audit(), "audit", "").await;
    // It reads the log itself: there are no segments yet.
    let from_log = city.start(&verifier(), "verifier-log", NOT_FROM_SHARED).await;
    fill(&city).await;
    assert_eq!(metric(&from_log, "citycode_log_segments_read_total").await, 0.0);
    let revocation = city.start(&revocation(), "revocation", "").await;
    eventually("a segment of each partition is written", PATIENCE, || async {
        metric(&revocation, "citycode_log_segments_written_total").await >= 4.0
    })
    .await;
    let from_segments = city.start(&verifier(), "verifier-segments", NOT_FROM_SHARED).await;
    assert!(metric(&from_segments, "citycode_log_segments_read_total").await >= 4.0);
    assert_eq!(metric(&from_segments, "citycode_log_segments_refused_total").await, 0.0);
    let portal_of = async |name: &str, verifier: &Running| {
        let services = behind(&[issuer.url()], &[revocation.url()], &[verifier.url()], &[audit.url()]);
        city.start(&portal(), name, &services).await
    };
    let log_portal = portal_of("portal-log", &from_log).await;
    let segments_portal = portal_of("portal-segments", &from_segments).await;
    let id_number = IdNumbers::new(7).born(date(1950, 5, 5));
    city.register(log_portal.url(), &id_number).await;
    let mut codes = Vec::new();
    for _ in 0..2 {
        let code = city.issue(log_portal.url(), &id_number, "offline").await;
        codes.push(code["token"].as_str().expect("a code").to_owned());
    }
    for (code, expected) in codes
        .iter()
        .zip(["refuse/superseded", "admit_after_id_check/id_check_required"])
    {
        for portal in [&log_portal, &segments_portal] {
            eventually("the verifiers agree", PATIENCE, || async {
                city.decision(portal.url(), "staffed", code).await == expected
            })
            .await;
        }
    }
    for service in [&issuer, &revocation, &from_log, &from_segments, &audit] {
        let said = service.said();
        assert!(!said.contains("Permissions Violation"), "{said}");
    }
}
