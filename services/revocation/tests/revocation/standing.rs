//! `SetStanding` (R21).

use citycode_auth::Role;
use citycode_domain::event::Event;
use citycode_domain::standing::Standing;
use citycode_service_kit::problem::Code;
use citycode_wire::proto::model::v1 as proto;
use citycode_wire::proto::revocation::v1::SetStandingRequest;

use crate::city::{City, LI, START, WANG, caller};

fn red(id_number: &str, command: u8) -> SetStandingRequest {
    SetStandingRequest {
        command_id: vec![command; 16],
        id_number: id_number.into(),
        standing: proto::Standing::Red.into(),
        reason: "核酸结果".into(),
    }
}

#[tokio::test]
async fn r21_one_event_changes_every_valid_code_and_invalidates_none() {
    let city = City::new().await;
    let wang = city.resident(WANG).await;
    let (sampling, offline) = (
        city.issue(wang, "sampling", None).await,
        city.issue(wang, "offline", None).await,
    );
    let authority = caller(vec![Role::HealthAuthority]);
    city.revocation
        .set_standing(&authority, &red(WANG, 1))
        .await
        .expect("set");
    let changes: Vec<_> = city
        .events(wang)
        .await
        .into_iter()
        .filter_map(|event| match event {
            Event::StandingChanged(changed) => Some(changed),
            _ => None,
        })
        .collect();
    assert_eq!(changes.len(), 1);
    let mut reached: Vec<_> = changes[0].codes.iter().map(|code| code.code_id).collect();
    reached.sort();
    let mut expected = vec![sampling.code.code_id, offline.code.code_id];
    expected.sort();
    assert_eq!(reached, expected);
    let state = city.revocation.authorizer.log.state(wang);
    let now = citycode_domain::time::Timestamp(START);
    assert!(
        state.alive(sampling.code.slot, now).is_some(),
        "the standing does not affect validity"
    );
    assert_eq!(city.status.standing_of(wang), Standing::Red);
}

#[tokio::test]
async fn r21_a_repeated_standing_is_one_change_and_a_reason_is_required() {
    let city = City::new().await;
    let wang = city.resident(WANG).await;
    let authority = caller(vec![Role::HealthAuthority]);
    city.revocation
        .set_standing(&authority, &red(WANG, 1))
        .await
        .expect("set");
    let written = city.events(wang).await.len();
    city.revocation
        .set_standing(&authority, &red(WANG, 1))
        .await
        .expect("a repeat");
    city.revocation
        .set_standing(&authority, &red(WANG, 2))
        .await
        .expect("no change");
    assert_eq!(city.events(wang).await.len(), written);
    let request = SetStandingRequest {
        reason: String::new(),
        ..red(WANG, 3)
    };
    let refused = city
        .revocation
        .set_standing(&authority, &request)
        .await
        .expect_err("no reason");
    assert_eq!(refused.code(), Code::InvalidRequest);
    for standing in [0, 99, -1] {
        let request = SetStandingRequest {
            standing,
            ..red(WANG, 3)
        };
        let refused = city
            .revocation
            .set_standing(&authority, &request)
            .await
            .expect_err("no standing");
        assert_eq!(refused.code(), Code::InvalidRequest);
    }
}

#[tokio::test]
async fn r31_only_the_health_authority_may_set_a_standing_and_others_learn_nothing() {
    let city = City::new().await;
    city.resident(WANG).await;
    for role in [Role::Officer, Role::Channel("app".into()), Role::Auditor] {
        for number in [WANG, LI] {
            let refused = city
                .revocation
                .set_standing(&caller(vec![role.clone()]), &red(number, 1))
                .await;
            assert_eq!(
                refused.expect_err("refused").code(),
                Code::NotAllowed,
                "the answer does not depend on whether the person is registered"
            );
        }
    }
}
