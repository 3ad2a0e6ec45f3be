//! The public status lists (R30): their content, and when they must not be updated or served.

use std::time::Duration;

use citycode_auth::Role;
use citycode_domain::time::Timestamp;
use citycode_event_store::Partition;
use citycode_log_folds::holder_stream;
use citycode_revocation::UpdateError;
use citycode_service_kit::clock::{Clock as _, UnixSeconds};
use citycode_service_kit::problem::Code;
use citycode_testkit::commit_of;
use citycode_token::status_list::{INVALID, SUSPENDED, VALID, read_cwt};
use citycode_wire::proto::model::v1 as proto;
use citycode_wire::proto::revocation::v1::{GetStatusListRequest, SuspendRequest};

use crate::city::{BASE_URI, City, LI, START, WANG, caller};

fn request(list: &str, media_type: &str, if_none_match: &str) -> GetStatusListRequest {
    GetStatusListRequest {
        list: list.into(),
        media_type: media_type.into(),
        if_none_match: if_none_match.into(),
        time: None,
    }
}

#[tokio::test]
async fn r30_a_list_contains_valid_suspended_and_invalid_and_no_standing() {
    let city = City::new().await;
    let wang = city.resident(WANG).await;
    let code = city.issue(wang, "sampling", None).await.code;
    let lists = &city.revocation.lists;
    let list = code.status.list.to_string();
    let uri = format!("{BASE_URI}{list}");
    let read = |now: Timestamp| {
        let cwt = lists.get(&request(&list, "", "")).expect("served").content;
        let (values, updated_at) = read_cwt(&cwt, &lists.public_key(), &uri, now).expect("signed");
        assert_eq!(updated_at, now);
        (values.get(code.status.index), values.get(code.status.index + 1))
    };
    lists.update().await.expect("updated");
    assert_eq!(
        read(Timestamp(START)),
        (Some(VALID), Some(INVALID)),
        "an index that was never issued has the value 1"
    );
    let standing = citycode_wire::proto::revocation::v1::SetStandingRequest {
        id_number: WANG.into(),
        standing: proto::Standing::Red.into(),
        reason: "核酸结果".into(),
        ..Default::default()
    };
    city.revocation
        .set_standing(&caller(vec![Role::HealthAuthority]), &standing)
        .await
        .expect("set");
    lists.update().await.expect("updated");
    assert_eq!(read(Timestamp(START)).0, Some(VALID), "the standing is not public");
    let request = SuspendRequest {
        kind: "sampling".into(),
        id_number: WANG.into(),
        reason: "核实身份".into(),
        ..SuspendRequest::default()
    };
    city.revocation
        .suspend(&caller(vec![Role::Officer]), &request)
        .await
        .expect("held");
    assert_eq!(
        read(Timestamp(START)).0,
        Some(VALID),
        "the last list is served between two ticks"
    );
    city.clock.advance(Duration::from_secs(10));
    lists.update().await.expect("updated");
    assert_eq!(read(Timestamp(START + 10)).0, Some(SUSPENDED));
}

#[tokio::test]
async fn before_the_first_update_lists_are_unavailable_and_afterwards_unknown_ones_are_not_found() {
    let city = City::new().await;
    let wang = city.resident(WANG).await;
    let list = city.issue(wang, "sampling", None).await.code.status.list.to_string();
    let lists = &city.revocation.lists;
    assert_eq!(
        lists.get(&request(&list, "", "")).expect_err("none yet").code(),
        Code::Unavailable
    );
    assert_eq!(lists.list().expect_err("none yet").code(), Code::Unavailable);
    lists.update().await.expect("updated");
    assert_eq!(lists.list().expect("updated").lists.len(), 1);
    for name in ["ffffffff", "1", "", "zzzzzzzz", "../../etc", "000000000"] {
        assert_eq!(
            lists.get(&request(name, "", "")).expect_err("unknown").code(),
            Code::NotFound,
            "{name:?}"
        );
    }
    let refused = lists.get(&request(&list, "text/html", "")).expect_err("no such format");
    assert_eq!(refused.code(), Code::InvalidRequest);
}

#[tokio::test]
async fn each_format_and_each_update_has_a_different_entity_tag() {
    let city = City::new().await;
    let wang = city.resident(WANG).await;
    let list = city.issue(wang, "sampling", None).await.code.status.list.to_string();
    let lists = &city.revocation.lists;
    lists.update().await.expect("updated");
    let cwt = lists
        .get(&request(&list, "application/statuslist+cwt", ""))
        .expect("served");
    let jwt = lists
        .get(&request(&list, "application/statuslist+jwt", ""))
        .expect("served");
    assert_ne!(cwt.etag, jwt.etag);
    assert_eq!(jwt.content.iter().filter(|byte| **byte == b'.').count(), 2);
    for tag in [cwt.etag.clone(), format!("\"x\", W/{}", cwt.etag), "*".into()] {
        let again = lists.get(&request(&list, "", &tag)).expect("served");
        assert!(again.not_modified && again.content.is_empty(), "{tag}");
    }
    let other = lists.get(&request(&list, "", &jwt.etag)).expect("served");
    assert!(!other.not_modified, "a JWT's tag does not match the CWT");
    city.clock.advance(Duration::from_secs(10));
    lists.update().await.expect("updated");
    let newer = lists.get(&request(&list, "", &cwt.etag)).expect("served");
    assert!(!newer.not_modified, "the tag contains the time of the update");
}

#[tokio::test]
async fn lists_are_not_updated_without_proof_that_the_projection_is_current() {
    let city = City::new().await;
    let wang = city.resident(WANG).await;
    let list = city.issue(wang, "sampling", None).await.code.status.list.to_string();
    let lists = &city.revocation.lists;
    lists.update().await.expect("updated");
    let tag = lists.get(&request(&list, "", "")).expect("served").etag;
    city.clock.set_wall(UnixSeconds(START - 3_600));
    assert!(matches!(
        lists.update().await,
        Err(UpdateError::Clock { by_seconds: 3_600 })
    ));
    city.clock.set_wall(UnixSeconds(START));
    assert_eq!(
        lists.get(&request(&list, "", "")).expect("the last one is served").etag,
        tag
    );
    city.following.abort();
    append_unfolded(&city).await;
    // From here only timers advance: the projection never reaches the heads.
    tokio::time::pause();
    assert!(
        matches!(lists.update().await, Err(UpdateError::Behind)),
        "the log has commits that are not folded"
    );
    assert_eq!(
        lists.get(&request(&list, "", "")).expect("the last one is served").etag,
        tag
    );
    city.clock.advance(Duration::from_secs(3_600));
    assert_eq!(city.clock.now(), UnixSeconds(START + 3_600));
    let expired = lists
        .get(&request(&list, "", ""))
        .expect_err("expired lists are not served");
    assert_eq!(expired.code(), Code::Unavailable);
}

/// If the head of one partition cannot be proved, as without a leader, only its lists are not updated.
#[tokio::test]
async fn a_partition_that_cannot_be_proved_delays_only_its_own_lists() {
    let city = City::new().await;
    let lists = &city.revocation.lists;
    let mut of_partition = std::collections::BTreeMap::new();
    for number in [
        WANG,
        LI,
        "11010119900307803X",
        "110101199003073773",
        "11010119900307475X",
    ] {
        let holder = city.resident(number).await;
        let list = city.issue(holder, "sampling", None).await.code.status.list;
        let facts = citycode_domain::ids::ListFacts::of_version_1(list).expect("a version 1 name");
        of_partition.insert(facts.partition, list.to_string());
    }
    assert_eq!(of_partition.len(), 2, "both partitions have residents");
    lists.update().await.expect("updated");
    let tag = |partition: u16| {
        lists
            .get(&request(&of_partition[&partition], "", ""))
            .expect("served")
            .etag
    };
    let before = [tag(0), tag(1)];
    city.store.silence(Partition(1), true);
    city.clock.advance(Duration::from_secs(10));
    // From here only timers advance.
    tokio::time::pause();
    let updated = lists.update().await;
    assert!(matches!(&updated, Err(UpdateError::PartlyBehind(behind)) if *behind == [Partition(1)]));
    assert_ne!(tag(0), before[0], "updated");
    assert_eq!(tag(1), before[1], "the last one is served");
    city.clock.advance(Duration::from_secs(3_590));
    let expired = lists
        .get(&request(&of_partition[&1], "", ""))
        .expect_err("it expires separately");
    assert_eq!(expired.code(), Code::Unavailable);
    assert!(lists.get(&request(&of_partition[&0], "", "")).is_ok());
    city.store.silence(Partition(1), false);
    lists.update().await.expect("updated");
    assert_ne!(tag(1), before[1]);
}

/// Appends a commit in each partition, which is never folded.
async fn append_unfolded(city: &City) {
    use citycode_domain::event::{Event, HolderRegistered};
    use citycode_domain::ids::HolderId;
    use citycode_event_store::{EventStore as _, StreamState};
    let mut partitions = std::collections::BTreeSet::new();
    for number in 0..=u8::MAX {
        let holder = HolderId([number; 16]);
        let stream = holder_stream(holder);
        if !partitions.insert(city.store.layout().bucket_of(&stream).partition) {
            continue;
        }
        let event = Event::HolderRegistered(HolderRegistered { holder });
        let commit = commit_of(stream, &event, u64::from(number) + 1, START);
        city.store
            .append_to_stream(commit, StreamState::Any)
            .await
            .expect("appended");
    }
}
