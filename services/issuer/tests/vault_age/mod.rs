//! A vault that lacks people of the log: what the comparison finds, and the codes that are suspended.

use citycode_domain::time::Timestamp;
use citycode_event_store::{EventStore as _, LogPosition};
use citycode_issuer::unknown_holders::{AffectedPeople, End, codes_to_end, end_codes, living_codes, unknown_people};
use citycode_issuer::vault_age::compare;
use citycode_testkit::IdNumbers;
use citycode_wire::proto::issuer::v1::{EraseRequest, RenameRequest};

use crate::fixture::{City, TODAY};
use crate::issue;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r28_an_older_vault_lacks_people_and_name_corrections_and_gets_the_erasures() {
    let city = City::new().await;
    let mut numbers = IdNumbers::new(41);
    let lost = city.resident(numbers.aged(40, TODAY)).await;
    let erased = city.resident(numbers.aged(50, TODAY)).await;
    let erase = EraseRequest {
        id_number: erased,
        ..EraseRequest::default()
    };
    city.issuer.erase(&city.admin, &erase).await.expect("erased");
    let rename = RenameRequest {
        id_number: lost,
        name: "李四".into(),
        reason: "misspelt".into(),
        ..RenameRequest::default()
    };
    city.issuer.rename(&city.admin, &rename).await.expect("renamed");
    // The vault of this issuer is empty, as one that was restored from a backup before the registrations.
    let other = City::beside(city.store.clone()).await;
    let heads = city.store.heads().await.expect("the heads");
    let start = LogPosition::start(city.store.layout().partitions());

    let vault = &*other.issuer.authorizer.vault;
    let unknown = compare(&*city.store, vault, start.clone(), &heads)
        .await
        .expect("compared");
    assert_eq!(
        unknown.holders.len(),
        1,
        "the erased person is not missing: {unknown:?}"
    );
    let what = unknown.what().expect("a person is missing");
    assert!(
        what.starts_with("1 people registered between 2022-08-31T02:00:00Z"),
        "{what}"
    );
    assert_eq!(
        unknown.old_names.len(),
        0,
        "a name of nobody in the vault is not outdated"
    );

    let vault = &*city.issuer.authorizer.vault;
    let unknown = compare(&*city.store, vault, start, &heads).await.expect("compared");
    assert!(unknown.holders.is_empty() && unknown.what().is_none(), "{unknown:?}");
    let unknown = compare(&*city.store, vault, heads.clone(), &heads)
        .await
        .expect("compared");
    assert!(unknown.holders.is_empty(), "nothing is between the mark and the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r3_the_live_codes_of_people_who_are_not_in_the_vault_are_suspended_once() {
    let city = City::new().await;
    let mut numbers = IdNumbers::new(42);
    let lost = city.resident(numbers.aged(40, TODAY)).await;
    city.issuer
        .issue(&city.admin, &issue("sampling", "app", &lost))
        .await
        .expect("issued");
    let other = City::beside(city.store.clone()).await;
    let kept = other.resident(numbers.aged(30, TODAY)).await;
    other
        .issuer
        .issue(&other.admin, &issue("sampling", "app", &kept))
        .await
        .expect("issued");

    let authorizer = &other.issuer.authorizer;
    let (log, now) = (&authorizer.log, Timestamp(authorizer.clock.now().0));
    assert_eq!(living_codes(log, now), 2);
    let people = unknown_people(&*authorizer.vault, log, now)
        .await
        .expect("the vault answers");
    assert_eq!(people.len(), 1);
    let codes = codes_to_end(log, AffectedPeople::Of(&people), End::Suspended, now);
    assert_eq!(codes.iter().map(|holder| holder.codes.len()).sum::<usize>(), 1);
    let (clock, entropy) = (&*authorizer.clock, &*authorizer.entropy);
    let ended = end_codes(log, codes.clone(), End::Suspended, clock, entropy).await;
    assert_eq!(ended.expect("suspended"), 1);
    let ended = end_codes(log, codes, End::Suspended, clock, entropy).await;
    assert_eq!(
        ended.expect("nothing to do"),
        0,
        "a suspended code is not suspended again"
    );
    assert_eq!(codes_to_end(log, AffectedPeople::Of(&people), End::Suspended, now), []);
    assert_eq!(
        codes_to_end(log, AffectedPeople::All, End::Revoked, now).len(),
        2,
        "both can still be revoked"
    );
}
