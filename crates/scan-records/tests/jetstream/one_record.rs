//! Tests of R20 across verifiers: the same scan is one record and has one result.

use citycode_scan_records::{Registered, ScanRecords as _};
use citycode_testkit::{NatsCluster, NatsServer, eventually};
use futures::future::join_all;

use crate::fixture::{City, NOON, PATIENCE, TODAY, assert_recorded_once, borrowed, note, shown};

async fn the_same_scan_at_once(city: &City) {
    let verifiers = join_all([NOON, NOON].map(|now| city.verifier(now))).await;
    // Forty scans, each sent four times concurrently, twice to each verifier.
    let calls = (0..40).flat_map(|scan| (0..4).map(move |caller| (scan, caller)));
    let answers = join_all(calls.map(|(scan, caller)| {
        let verifier = &verifiers[caller % 2];
        async move {
            let answer = verifier.register_patiently(&format!("scan-{scan}"), "one code").await;
            (scan, answer)
        }
    }))
    .await;
    for scan in 0..40 {
        let of_one = answers.iter().filter(|(of, _)| *of == scan).map(|(_, answer)| answer);
        assert_recorded_once(&format!("scan-{scan}"), of_one.clone());
        for answer in of_one {
            let Registered::Before(record) = &answer.registered else {
                continue;
            };
            assert_eq!(record.scan, note(NOON, "desk-1", &format!("scan-{scan}")));
        }
    }
    let mut expected: Vec<_> = (0..40).map(|scan| format!("scan-{scan}")).collect();
    let mut found = city.registered(TODAY).await;
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "each is in the stream once");
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_concurrent_scans_at_two_verifiers_are_one_record_on_one_server() {
    let server = NatsServer::start().await;
    the_same_scan_at_once(&City::on_one(&server).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_concurrent_scans_at_two_verifiers_are_one_record_on_three_servers() {
    let servers = NatsCluster::start().await;
    the_same_scan_at_once(&City::on_three(&servers).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_a_repeat_at_another_verifier_returns_the_record_and_another_code_is_refused() {
    let server = NatsServer::start().await;
    let city = City::on_one(&server).await;
    let (first, second) = (city.verifier(NOON).await, city.verifier(NOON + 90).await);
    for scan in 0..20 {
        let (id, what) = (format!("scan-{scan}"), format!("code {scan}"));
        assert_eq!(first.register(&id, &what).await, Ok(Registered::Now));
        // The verdict of a refused scan looks the scan up without recording it; the other verifier recorded it
        // just now.
        let asked = note(NOON + 90, "desk-1", &id);
        let before = second
            .records
            .registered(&borrowed(&asked), &shown(&what))
            .await
            .unwrap();
        let Some(Registered::Before(record)) = before else {
            panic!("{before:?}");
        };
        assert_eq!(record.scan, note(NOON, "desk-1", &id), "the first record");
        assert_eq!(second.register(&id, &what).await, Ok(Registered::Before(record)));
        assert_eq!(second.register(&id, "another code").await, Ok(Registered::ForAnother));
        let other = second
            .records
            .registered(&borrowed(&asked), &shown("another code"))
            .await;
        assert_eq!(other, Ok(Some(Registered::ForAnother)));
    }
    let elsewhere = note(NOON, "desk-2", "scan-1");
    assert_eq!(
        second.records.registered(&borrowed(&elsewhere), &shown("code 1")).await,
        Ok(None),
        "another device's scan with the same id"
    );
    // Without a scan id no scan is a repeat.
    for verifier in [&first, &first, &second] {
        assert_eq!(verifier.register("", "code 1").await, Ok(Registered::Now));
    }
    assert_eq!(city.registered(TODAY).await.len(), 23);
    // A verifier that restarts reads what all verifiers wrote.
    drop(first);
    let third = city.verifier(NOON + 200).await;
    for scan in 0..20 {
        let again = third.register(&format!("scan-{scan}"), &format!("code {scan}")).await;
        assert!(matches!(again, Ok(Registered::Before(_))), "{again:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ordinary_scans_are_in_the_days_stream_once_and_in_the_order_of_their_verifier() {
    let server = NatsServer::start().await;
    let city = City::on_one(&server).await;
    let verifiers = [city.verifier(NOON).await, city.verifier(NOON).await];
    // More than one chunk of each.
    let devices = ["gate-1", "gate-2"];
    for (verifier, device) in verifiers.iter().zip(devices) {
        for scan in 0..30_000 {
            verifier.records.note(&borrowed(&note(NOON, device, &scan.to_string())));
        }
    }
    for verifier in &verifiers {
        verifier.records.flush().await;
    }
    let archive = city.archive().await;
    let records = archive.scans(TODAY).await.unwrap();
    for device in devices {
        let here: Vec<_> = records.iter().filter(|record| *record.scan.device == *device).collect();
        let ids: Vec<u32> = here.iter().map(|record| record.scan.scan_id.parse().unwrap()).collect();
        assert_eq!(ids, (0..30_000).collect::<Vec<_>>(), "{device}");
        assert!(
            here.iter()
                .all(|record| record.scan.at == NOON && record.shown.is_none())
        );
    }
    // Scans without a flush are written too.
    verifiers[0]
        .records
        .note(&borrowed(&note(NOON + 5, "gate-3", "the last")));
    eventually("the last scan is there", PATIENCE, || async {
        let records = archive.scans(TODAY).await.unwrap();
        records.last().is_some_and(|record| &*record.scan.scan_id == "the last")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scans_beyond_the_buffer_are_dropped_and_buffered_ones_are_written() {
    let server = NatsServer::start().await;
    let city = City::on_one(&server).await;
    let verifier = city.verifier(NOON).await;
    server.sigstop().await;
    // Some thirty bytes each: more than the buffer of 32 MB.
    let noted = 2_000_000;
    let scan = note(NOON, "gate-1", "of thousands");
    for _ in 0..noted {
        verifier.records.note(&borrowed(&scan));
    }
    server.sigcont().await;
    verifier.records.flush().await;
    let archive = city.archive().await;
    let last = note(NOON + 1, "gate-1", "the last");
    verifier.records.note(&borrowed(&last));
    eventually("the buffered scans are written, in order", PATIENCE, || async {
        let records = archive.scans(TODAY).await.unwrap();
        records.last().is_some_and(|record| record.scan == last)
    })
    .await;
    let there = archive.scans(TODAY).await.unwrap().len();
    assert!((500_000..noted).contains(&there), "{there}");
}
