//! A relationship that is recorded while its guardian is erased, as two issuers may do concurrently.

use std::time::Duration;

use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::{CommandId, HolderId};
use citycode_domain::lifecycle::{HolderState, erase_holder, relationship};
use citycode_domain::time::Timestamp;
use citycode_event_store::EventStore as _;
use citycode_event_store::memory::AppendFault;
use citycode_holder_log::{Begun, CommandContext};
use citycode_log_folds::holder_stream;
use citycode_service_kit::entropy::Draw as _;
use citycode_service_kit::problem::{Code, Outcome};
use citycode_testkit::{IdNumbers, eventually};
use citycode_wire::proto::issuer::v1::{CodeLife, EraseRequest, IssueRequest, ListCodesRequest, RelateRequest};

use crate::fixture::{City, TODAY};
use crate::{issue, lives};

const PATIENCE: Duration = Duration::from_secs(20);

async fn holder(city: &City, id_number: &str) -> HolderId {
    let id_number = IdNumber::parse(id_number, TODAY).expect("a number");
    let found = city
        .issuer
        .authorizer
        .vault
        .find(&id_number)
        .await
        .expect("the vault answers");
    found.expect("registered")
}

fn context(city: &City) -> CommandContext {
    CommandContext {
        caller: "another issuer".into(),
        command_id: CommandId(city.issuer.authorizer.entropy.array()),
        request_digest: [0; 32],
        actor: "officer".into(),
        trace_context: None,
        now: Timestamp(city.issuer.authorizer.clock.now().0),
        begun: Begun::default(),
    }
}

/// Appends the erasure of a holder by an issuer that has not read the relationship.
async fn erased_elsewhere(city: &City, holder: HolderId) {
    let decide = |state: &HolderState, now| erase_holder::decide(state, true, now);
    let erased = city
        .issuer
        .authorizer
        .log
        .execute(holder, &context(city), &decide)
        .await;
    assert!(erased.expect("erased").is_new());
}

async fn family_code(city: &City, child: &str) -> CodeLife {
    let request = ListCodesRequest {
        id_number: child.into(),
        ..ListCodesRequest::default()
    };
    let codes = city.issuer.list_codes(&city.admin, &request).await.expect("the codes");
    let codes = lives(&codes);
    codes
        .into_iter()
        .find(|(kind, _)| kind == "family")
        .expect("a family code")
        .1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r17_a_family_code_is_ended_although_the_guardians_erasure_had_not_read_it() {
    let city = City::new().await;
    let mut numbers = IdNumbers::new(31);
    let guardian = city.resident(numbers.aged(40, TODAY)).await;
    let (child, other) = (
        city.resident(numbers.aged(8, TODAY)).await,
        city.resident(numbers.aged(9, TODAY)).await,
    );
    let relate = RelateRequest {
        guardian_id_number: guardian.clone(),
        dependent_id_number: child.clone(),
        ..RelateRequest::default()
    };
    city.issuer.relate(&city.admin, &relate).await.expect("related");
    let family = IssueRequest {
        guardian_id_number: guardian.clone(),
        device_key: city.phone_key(1),
        ..issue("family", "app", &child)
    };
    city.issuer.issue(&city.admin, &family).await.expect("issued");
    let (guardian, other) = (holder(&city, &guardian).await, holder(&city, &other).await);
    erased_elsewhere(&city, guardian).await;
    assert_eq!(family_code(&city, &child).await, CodeLife::Valid);
    // The same applies to one that is recorded after the erasure.
    let late = |state: &HolderState, _| relationship::decide_record(state, other, guardian);
    let recorded = city.issuer.authorizer.log.execute(other, &context(&city), &late).await;
    assert!(recorded.expect("recorded").is_new());
    let issuer = city.issuer.clone();
    let ending = tokio::spawn(async move { issuer.keep_ending_orphaned().await });
    eventually("the family code is dead", PATIENCE, async || {
        family_code(&city, &child).await == CodeLife::Revoked
    })
    .await;
    eventually("no relationship is left", PATIENCE, async || {
        city.issuer.authorizer.log.register().dependents_of(guardian).is_empty()
    })
    .await;
    ending.abort();
    city.issuer.end_orphaned().await.expect("nothing is left to end");
}

/// A foreign message stops the repairs of holders in its bucket, and of no others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r17_a_dependent_in_a_confined_bucket_does_not_delay_the_end_of_other_relationships() {
    let city = City::new().await;
    let mut numbers = IdNumbers::new(33);
    let guardian = city.resident(numbers.aged(40, TODAY)).await;
    for age in 5..9 {
        let child = city.resident(numbers.aged(age, TODAY)).await;
        let relate = RelateRequest {
            guardian_id_number: guardian.clone(),
            dependent_id_number: child,
            ..RelateRequest::default()
        };
        city.issuer.relate(&city.admin, &relate).await.expect("related");
    }
    let guardian = holder(&city, &guardian).await;
    erased_elsewhere(&city, guardian).await;
    let log = &city.issuer.authorizer.log;
    let orphaned = log.register().orphaned_relationships();
    assert_eq!(orphaned.len(), 4);
    let confined = orphaned.first().expect("there are four").0;
    let stream = holder_stream(confined);
    city.store
        .put_foreign(city.store.layout().bucket_of(&stream), b"no commit");
    log.catch_up_with(&stream).await.expect("folded");

    let refused = city.issuer.end_orphaned().await.expect_err("one is refused");
    assert_eq!(
        (refused.code(), refused.outcome()),
        (Code::Unavailable, Some(Outcome::NotDone))
    );
    let left = log.register().orphaned_relationships();
    assert_eq!(left, [(confined, guardian)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r28_a_partially_done_erasure_has_an_unknown_outcome() {
    let city = City::new().await;
    let mut numbers = IdNumbers::new(32);
    let guardian = city.resident(numbers.aged(40, TODAY)).await;
    let child = city.resident(numbers.aged(8, TODAY)).await;
    let relate = RelateRequest {
        guardian_id_number: guardian.clone(),
        dependent_id_number: child,
        ..RelateRequest::default()
    };
    let erase = EraseRequest {
        id_number: guardian,
        command_id: vec![7; 16],
        ..EraseRequest::default()
    };
    city.store.fail_next_append(AppendFault::Unavailable);
    let refused = city
        .issuer
        .relate(&city.admin, &relate)
        .await
        .expect_err("the log takes nothing");
    assert_eq!(refused.outcome(), Some(Outcome::NotDone));
    city.issuer.relate(&city.admin, &relate).await.expect("related");
    city.store.fail_next_append(AppendFault::Unavailable);
    let untouched = city
        .issuer
        .erase(&city.admin, &erase)
        .await
        .expect_err("the log takes nothing");
    assert_eq!(
        (untouched.code(), untouched.outcome()),
        (Code::Unavailable, Some(Outcome::NotDone))
    );
    // The log accepts the end of the relationship and no further commits.
    city.store.fail_next_append(AppendFault::CommittedButUnknown);
    city.store.fail_next_append(AppendFault::Unavailable);
    let halfway = city
        .issuer
        .erase(&city.admin, &erase)
        .await
        .expect_err("the log takes no more");
    assert_eq!(
        (halfway.code(), halfway.outcome()),
        (Code::Unavailable, Some(Outcome::Unknown))
    );
    city.issuer
        .erase(&city.admin, &erase)
        .await
        .expect("it continues where it stopped");
}
