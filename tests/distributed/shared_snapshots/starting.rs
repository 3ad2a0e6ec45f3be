//! Starting from a shared snapshot.

use citycode_projection::snapshot::ProjectionKind;
use citycode_testkit::{IdNumbers, eventually};
use jiff::civil::date;

use super::town::Town;
use super::{NOT_FROM_SHARED, OFTEN, ONCE, PATIENCE, place, standing_of_now, started};
use crate::city::{City, behind, issuer, metric, portal, revocation, verifier};

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_started_from_the_shared_snapshot_judges_like_one_that_replayed_the_whole_log() {
    let mut town = Town::on(City::secured().await, OFTEN).await;
    let second = town.city.start(&revocation(), "revocation-2", OFTEN).await;
    let whole = town.city.start(&verifier(), "verifier-whole", NOT_FROM_SHARED).await;
    let of_whole = town.portal("portal-whole", &whole).await;
    town.live(&of_whole).await;
    let place = place(&town.city, ProjectionKind::Status).await;
    standing_of_now(&town.city, &place).await;

    let new = town.city.start(&verifier(), "verifier-new", "").await;
    let said = started(&new, "status").await;
    assert!(said.starts_with("started from the snapshot shared at "), "{said}");
    assert!(
        started(&whole, "status")
            .await
            .starts_with("started from an empty state")
    );
    // The snapshot contains all events: the tail has only heartbeats, so no event was folded.
    assert_eq!(
        metric(&new, "citycode_verifier_folded_events_total").await,
        0.0,
        "{said}"
    );
    assert!(metric(&whole, "citycode_verifier_folded_events_total").await >= 10.0);
    let taken = metric(&new, "citycode_start_snapshot_commits").await;
    let tail = metric(&new, "citycode_start_tail_commits").await;
    assert!(taken > 10.0 && tail < taken, "{taken} commits taken, {tail} read");
    let of_new = town.portal("portal-new", &new).await;
    town.agree(&of_whole, &of_new).await;
    // It folds later commits.
    let id_number = IdNumbers::new(77).born(date(1950, 5, 5));
    town.city.register(of_new.url(), &id_number).await;
    for _ in 0..2 {
        let code = town.city.issue(of_new.url(), &id_number, "offline").await;
        town.codes.push(code["token"].as_str().expect("a code").to_owned());
    }
    town.agree(&of_whole, &of_new).await;

    // A new issuer starts from the shared register, which contains the holders.
    let place = super::place(&town.city, ProjectionKind::Register).await;
    standing_of_now(&town.city, &place).await;
    let new_issuer = town.city.start(&issuer(), "issuer-new", "").await;
    let said = started(&new_issuer, "register").await;
    assert!(said.starts_with("started from the snapshot shared at "), "{said}");
    let services = behind(&[new_issuer.url()], &[second.url()], &[new.url()], &[town.audit.url()]);
    let of_issuer = town.city.start(&portal(), "portal-issuer", &services).await;
    let code = town.city.issue(of_issuer.url(), &id_number, "offline").await;
    town.codes.push(code["token"].as_str().expect("a code").to_owned());
    town.agree(&of_whole, &of_new).await;
    for service in [&town.issuer, &town.revocation, &second, &whole, &new, &new_issuer] {
        let said = service.said();
        assert!(!said.contains("Permissions Violation"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_revocation_services_one_publishes() {
    let town = Town::on(City::on_one().await, ONCE).await;
    let others = [
        town.city.start(&revocation(), "revocation-2", ONCE).await,
        town.city.start(&revocation(), "revocation-3", ONCE).await,
    ];
    let all = [&town.revocation, &others[0], &others[1]];
    // Each has checked: it published a snapshot, was too late, or found an existing one.
    eventually("each has checked both", PATIENCE, || async {
        all.iter().all(|service| {
            let said = service.said();
            let looked = [
                "published a shared snapshot",
                "another instance published",
                "there is a shared snapshot",
            ];
            looked.iter().map(|words| said.matches(words).count()).sum::<usize>() >= 2
        })
    })
    .await;
    for projection in ["status", "register"] {
        let name = format!("citycode_shared_snapshots_published_total{{projection=\"{projection}\"}}");
        let mut published = 0.0;
        for service in all {
            published += metric(service, &name).await;
        }
        assert_eq!(published, 1.0, "{projection}");
    }
}
