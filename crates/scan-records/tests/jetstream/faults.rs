//! Injects faults while desks register at two verifiers and repeat unanswered calls. A checker then reads the
//! streams: every acknowledged registration is there once, nothing is there twice, and nothing else is there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use citycode_scan_records::{RecordsError, Registered, ScanRecords as _};
use citycode_testkit::{NatsCluster, NatsServer, eventually, eventually_some};
use futures::future::join_all;

use crate::fixture::{City, NOON, PATIENCE, TODAY, Verifier, borrowed, note, scan_ids};

const DESKS: u64 = 6;

/// The results of one desk, by scan id.
#[derive(Default)]
struct Results {
    now: u64,
    before: u64,
    acknowledged: Vec<String>,
}

/// Registers until `stop` is set; each scan until it is answered, at alternating verifiers. Sometimes it
/// repeats an older scan, which must be known.
async fn desk(verifiers: Arc<[Verifier; 2]>, desk: u64, done: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Results {
    let mut told = Results::default();
    for number in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let id = format!("{desk}-{number}");
        let attempts = AtomicU64::new(desk);
        let answer = eventually_some("a registration is answered", PATIENCE, || async {
            let verifier = attempts.fetch_add(1, Ordering::SeqCst) % 2;
            let answer = verifiers[verifier as usize].register(&id, "a code").await;
            answer.ok()
        })
        .await;
        match answer {
            Registered::Now => told.now += 1,
            Registered::Before(record) => {
                assert_eq!(*record.scan.scan_id, *id);
                told.before += 1;
            }
            Registered::ForAnother => panic!("{id} was not used for anything else"),
        }
        verifiers[(number % 2) as usize]
            .records
            .note(&borrowed(&note(NOON, "gate", &id)));
        told.acknowledged.push(id);
        done.fetch_add(1, Ordering::SeqCst);
        if number % 5 == 4 {
            let older = &told.acknowledged[(number / 2) as usize];
            let again = verifiers[(number % 2) as usize].register(older, "a code").await;
            assert!(!matches!(again, Ok(Registered::Now)), "{older} was recorded twice");
        }
    }
    told
}

/// Runs desks during `faults`, which gets a function that returns the number of answered registrations.
async fn run_desks_during<F: AsyncFnOnce(&dyn Fn() -> u64)>(city: &City, faults: F) {
    let verifiers = Arc::new([city.verifier(NOON).await, city.verifier(NOON).await]);
    let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let desks: Vec<_> = (0..DESKS)
        .map(|number| {
            tokio::spawn(desk(
                Arc::clone(&verifiers),
                number,
                Arc::clone(&done),
                Arc::clone(&stop),
            ))
        })
        .collect();
    faults(&|| done.load(Ordering::SeqCst)).await;
    stop.store(true, Ordering::SeqCst);
    let mut acknowledged = Vec::new();
    for desk in desks {
        let told = desk.await.unwrap();
        assert!(
            told.now + told.before > 10,
            "a desk was answered only {} times",
            told.now + told.before
        );
        acknowledged.extend(told.acknowledged);
    }
    check(city, acknowledged).await;
}

async fn check(city: &City, acknowledged: Vec<String>) {
    let archive = city.archive().await;
    let mut counted = BTreeMap::<String, u64>::new();
    for id in city.registered(TODAY).await {
        *counted.entry(id).or_default() += 1;
    }
    let twice: Vec<_> = counted.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "registered twice: {twice:?}");
    for id in &acknowledged {
        assert!(counted.contains_key(id), "{id} was acknowledged and is missing");
    }
    assert_eq!(
        counted.len(),
        acknowledged.len(),
        "every stored registration was acknowledged in the end"
    );
    // Of ordinary scans none is missing or duplicated either. They are written once the servers accept them.
    let mut scans = eventually_some("every ordinary scan is written", PATIENCE, || async {
        let scans = archive.scans(TODAY).await.ok()?;
        (scans.len() >= counted.len()).then_some(scan_ids(scans))
    })
    .await;
    scans.sort();
    assert_eq!(scans, counted.into_keys().collect::<Vec<_>>());
}

/// Waits until this many more registrations were answered.
async fn progress(done: &dyn Fn() -> u64, more: u64) {
    let wanted = done() + more;
    eventually("registrations continue", PATIENCE, || async { done() >= wanted }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r20_a_server_killed_under_load_loses_nothing_and_registers_nobody_twice() {
    let mut server = NatsServer::start().await;
    let city = City::on_one(&server).await;
    run_desks_during(&city, async |done| {
        for _ in 0..3 {
            progress(done, 100).await;
            server.kill9().await;
            server.restart().await;
        }
        progress(done, 100).await;
    })
    .await;
}

/// The server processes the requests after it continues, and the responses come too late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r20_a_lost_response_is_unknown_and_the_same_scan_elsewhere_resolves_it() {
    let server = NatsServer::start().await;
    let city = City::on_one(&server).await;
    let verifiers = [city.verifier(NOON).await, city.verifier(NOON).await];
    assert_eq!(verifiers[0].register("before", "a code").await, Ok(Registered::Now));
    server.sigstop().await;
    let scans: Vec<String> = (0..40).map(|scan| format!("scan-{scan:02}")).collect();
    let unanswered = join_all(scans.iter().map(|id| verifiers[0].register(id, "a code"))).await;
    // Those that waited for their bucket's lock were not sent yet.
    let unknown = unanswered
        .iter()
        .filter(|answer| matches!(answer, Err(RecordsError::Unknown(_))));
    assert!(unknown.count() >= 5, "{unanswered:?}");
    assert!(unanswered.iter().all(Result::is_err), "no call succeeded");
    server.sigcont().await;
    for id in &scans {
        eventually("it is resolved", PATIENCE, || async {
            verifiers[1].register(id, "a code").await.is_ok()
        })
        .await;
        let again = verifiers[0].register(id, "a code").await;
        assert!(matches!(again, Ok(Registered::Before(_))), "{again:?}");
        assert_eq!(verifiers[1].register(id, "another").await, Ok(Registered::ForAnother));
    }
    let mut there = city.registered(TODAY).await;
    there.sort();
    assert_eq!(there[1..], scans, "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r20_three_servers_survive_a_crash_of_each_and_a_pause_and_register_nobody_twice() {
    let mut servers = NatsCluster::start().await;
    let city = City::on_three(&servers).await;
    run_desks_during(&city, async |done| {
        for number in 0..3 {
            progress(done, 60).await;
            servers.servers_mut()[number].kill9().await;
            progress(done, 60).await;
            servers.servers_mut()[number].restart().await;
        }
        servers.servers()[0].sigstop().await;
        progress(done, 60).await;
        servers.servers()[0].sigcont().await;
        progress(done, 60).await;
    })
    .await;
}
