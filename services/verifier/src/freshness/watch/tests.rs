//! What health says while partitions cannot be proved.

use citycode_event_store::Layout;
use citycode_service_kit::clock::{Clock as _, ManualClock, UnixSeconds};
use citycode_service_kit::health::{HealthRegistry, Probe};

use super::*;

const LIMIT_MS: u64 = 10_000;

struct Watched {
    freshness: Freshness,
    clock: ManualClock,
    health: HealthRegistry,
    watch: FreshnessWatch,
}

impl Watched {
    fn new() -> Self {
        let health = HealthRegistry::new();
        let watch = FreshnessWatch::new(LIMIT_MS, health.component("freshness"));
        let layout = Layout::new(4, 64).expect("a layout");
        Self {
            freshness: Freshness::new(layout),
            clock: ManualClock::at(UnixSeconds(1_661_904_000)),
            health,
            watch,
        }
    }

    /// A second passes, in which these partitions are proved.
    fn second(&mut self, proved: &[u16]) {
        self.clock.advance(Duration::from_secs(1));
        let reading = self.clock.reading();
        for partition in proved {
            self.freshness.partitions[usize::from(*partition)].prove(&reading);
        }
        self.watch.check(&self.freshness, &reading);
    }

    fn says(&self) -> (bool, String) {
        let report = self.health.report(Probe::Ready);
        let reason = report.components[0].reason.clone();
        (report.passes(), reason.unwrap_or_default())
    }

    fn of_keys(&self) -> u16 {
        self.freshness.keys.0
    }
}

#[test]
fn r24_a_verifier_with_one_silent_partition_stays_ready_and_names_it() {
    let mut city = Watched::new();
    let silent = (city.of_keys() + 1) % 4;
    let others: Vec<u16> = (0..4).filter(|partition| *partition != silent).collect();
    city.second(&others);
    assert!(!city.says().0, "the first proofs do not come at once");
    city.second(&[0, 1, 2, 3]);
    assert_eq!(city.says(), (true, String::new()));
    for _ in 0..10 {
        city.second(&others);
    }
    assert_eq!(city.says(), (true, String::new()), "it is at the limit");
    for _ in 0..6 {
        city.second(&others);
    }
    let (ready, reason) = city.says();
    let named = format!("partitions {} cannot be proved fresh", Partition(silent));
    assert!(ready && reason.contains(&named), "{reason}");
    city.second(&[0, 1, 2, 3]);
    assert_eq!(city.says(), (true, String::new()));
}

#[test]
fn r24_without_the_signing_keys_partition_or_without_any_it_is_not_ready() {
    let mut city = Watched::new();
    let others: Vec<u16> = (0..4).filter(|partition| *partition != city.of_keys()).collect();
    for proved in [&others[..], &[]] {
        city.second(&[0, 1, 2, 3]);
        assert!(city.says().0);
        for _ in 0..11 {
            city.second(proved);
        }
        let (ready, reason) = city.says();
        assert!(
            !ready && reason.starts_with("knowledge cannot be proved fresh"),
            "{reason}"
        );
    }
}

#[test]
fn a_verifier_that_starts_while_a_partition_is_silent_comes_up_all_the_same() {
    let mut city = Watched::new();
    let silent = (city.of_keys() + 1) % 4;
    let others: Vec<u16> = (0..4).filter(|partition| *partition != silent).collect();
    for _ in 0..7 {
        city.second(&others);
    }
    let (ready, reason) = city.says();
    assert!(ready && reason.contains("cannot be proved fresh"), "{reason}");
}
