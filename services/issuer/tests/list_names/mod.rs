//! Names of status lists (R29): they reveal nothing, are unique, and replace names of version 1.

use std::collections::{HashMap, HashSet};

use citycode_domain::ids::{ListFacts, ListId};
use citycode_event_store::{EventStore as _, Partition, ReaderVersion};
use citycode_service_kit::entropy::OsEntropy;
use citycode_testkit::IdNumbers;
use citycode_wire::proto::issuer::v1::{IssueRequest, ReprintRequest, StatusPlace};

use crate::fixture::{City, TODAY};

async fn issue(city: &City, kind: &str, channel: &str, id_number: &str) -> StatusPlace {
    let request = IssueRequest {
        kind: kind.into(),
        channel: channel.into(),
        id_number: id_number.into(),
        ..IssueRequest::default()
    };
    let issued = city.issuer.issue(&city.admin, &request).await.expect("issued");
    issued.code.expect("a code").status.expect("a place")
}

fn list(place: &StatusPlace) -> ListId {
    let (_, name) = place.list.rsplit_once('/').expect("a URI");
    assert_eq!(name.len(), 8, "{name}");
    ListId(u32::from_str_radix(name, 16).expect("hex digits"))
}

/// In names of version 1, the first two digits of both lists were the same for every holder.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r29_two_codes_of_one_holder_have_nothing_in_common_in_the_names_of_their_lists() {
    let city = City::new().await;
    let mut numbers = IdNumbers::new(50);
    let (mut pairs, mut leading_digits_agree) = (HashSet::new(), 0);
    for _ in 0..200 {
        let person = city.resident(numbers.aged(70, TODAY)).await;
        let sampling = list(&issue(&city, "sampling", "app", &person).await);
        let offline = list(&issue(&city, "offline", "kiosk", &person).await);
        assert!(sampling.is_version_2() && offline.is_version_2());
        leading_digits_agree += usize::from(sampling.0 >> 24 == offline.0 >> 24);
        pairs.insert((sampling, offline));
    }
    // The remaining leak (docs/rules.md): both codes of one holder show which lists are of one partition.
    assert_eq!(pairs.len(), 4, "one pair of lists per partition");
    assert_eq!(
        leading_digits_agree, 0,
        "under the key of this test no pair's digits agree"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_issuers_with_one_key_lease_concurrently_without_conflict_and_a_restarted_one_continues() {
    let first = City::new().await;
    let second = City::beside(first.store.clone()).await;
    let mut drawn = tokio::task::JoinSet::new();
    for (city, seed) in [(first, 60), (second, 61)] {
        drawn.spawn(async move {
            let mut places = Vec::new();
            let mut numbers = IdNumbers::new(seed);
            for _ in 0..40 {
                let person = city.resident(numbers.aged(70, TODAY)).await;
                places.push(issue(&city, "sampling", "app", &person).await);
                places.push(issue(&city, "offline", "kiosk", &person).await);
            }
            (city, places)
        });
    }
    let (mut places, mut cities) = (Vec::new(), Vec::new());
    while let Some(ended) = drawn.join_next().await {
        let (city, drawn) = ended.expect("no panic");
        places.extend(drawn);
        cities.push(city);
    }
    let restarted = City::beside(cities[0].store.clone()).await;
    let person = restarted.resident(IdNumbers::new(62).aged(70, TODAY)).await;
    places.push(issue(&restarted, "sampling", "app", &person).await);
    let unique: HashSet<(ListId, u32)> = places.iter().map(|place| (list(place), place.index)).collect();
    assert_eq!(unique.len(), places.len(), "an index is used by one code only");
    let lists: HashSet<ListId> = unique.iter().map(|(list, _)| *list).collect();
    assert!(lists.len() <= 8, "issuers share lists: {}", lists.len());
    let counters = restarted.issuer.leases.next_counters();
    assert!(counters.iter().all(|(_, next)| *next <= 2), "{counters:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_the_first_release_has_old_names_until_it_is_raised_and_its_codes_stay_valid() {
    let city = City::on_log_of(ReaderVersion::FIRST).await;
    let person = city.resident(IdNumbers::new(70).aged(70, TODAY)).await;
    let old = issue(&city, "offline", "kiosk", &person).await;
    let facts = ListFacts::of_version_1(list(&old)).expect("an old name says what its list holds");

    city.store
        .raise_minimum_reader(ReaderVersion::CURRENT)
        .await
        .expect("raised");
    let new = issue(&city, "sampling", "app", &person).await;
    assert!(list(&new).is_version_2());
    let request = ReprintRequest {
        kind: "offline".into(),
        channel: "pc".into(),
        id_number: person.clone(),
        ..ReprintRequest::default()
    };
    let again = city.issuer.reprint(&city.admin, &request).await.expect("reprinted");
    assert_eq!(again.code.expect("a code").status.expect("a place"), old);
    // The rest of the old block is discarded: the next code of the same kind has a new name, too.
    let next = issue(&city, "offline", "kiosk", &person).await;
    assert!(list(&next).is_version_2());

    let restarted = City::beside(city.store.clone()).await;
    let other = restarted.resident(IdNumbers::new(71).aged(70, TODAY)).await;
    assert!(list(&issue(&restarted, "offline", "kiosk", &other).await).is_version_2());
    let counters: HashMap<Partition, u32> = restarted.issuer.leases.next_counters().into_iter().collect();
    assert!(counters.get(&Partition(facts.partition)) >= Some(&2), "{counters:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_may_have_been_used_in_a_lost_part_of_the_log_are_skipped() {
    let city = City::new().await;
    let person = city.resident(IdNumbers::new(80).aged(70, TODAY)).await;
    let before = issue(&city, "offline", "kiosk", &person).await;
    let (log, now) = (
        &city.issuer.authorizer.log,
        city.issuer.authorizer.now().expect("a clock"),
    );
    let entropy: std::sync::Arc<dyn citycode_service_kit::entropy::Entropy> = std::sync::Arc::new(OsEntropy);
    for partition in city.store.layout().all_partitions() {
        let advanced = city
            .issuer
            .leases
            .advance_names(log, &entropy, partition, 100, now)
            .await;
        advanced.expect("advanced");
    }
    let after = issue(&city, "offline", "kiosk", &person).await;
    assert_ne!(list(&after), list(&before), "not even a list that is not full");
    let restarted = City::beside(city.store.clone()).await;
    let counters = restarted.issuer.leases.next_counters();
    assert!(counters.iter().all(|(_, next)| *next >= 100), "{counters:?}");
    assert!(counters.iter().any(|(_, next)| *next == 101), "{counters:?}");

    let old = City::on_log_of(ReaderVersion::FIRST).await;
    let refused = old
        .issuer
        .leases
        .advance_names(&old.issuer.authorizer.log, &entropy, Partition(0), 1, now);
    let refused = refused.await.expect_err("an older release could not read it");
    assert!(refused.to_string().contains("reader version 2"), "{refused}");
}
