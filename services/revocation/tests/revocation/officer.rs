//! `Revoke`, `Suspend`, `Reinstate` (R22).

use citycode_auth::Role;
use citycode_domain::event::Event;
use citycode_service_kit::problem::Code;
use citycode_wire::proto::revocation::v1::{ReinstateRequest, RevokeCodeRequest, RevokeRequest, SuspendRequest};

use crate::city::{City, LI, WANG, caller};

/// Defines a function that makes a request; the requests have the same fields.
macro_rules! request {
    ($name:ident => $request:ident) => {
        fn $name(kind: &str, id_number: &str, command: u8) -> $request {
            $request {
                command_id: vec![command; 16],
                kind: kind.into(),
                id_number: id_number.into(),
                reason: "核实身份".into(),
                ..$request::default()
            }
        }
    };
}

request!(revoke => RevokeRequest);
request!(suspend => SuspendRequest);
request!(reinstate => ReinstateRequest);

#[tokio::test]
async fn r22_revoking_a_code_does_not_affect_the_holders_other_codes() {
    let city = City::new().await;
    let wang = city.resident(WANG).await;
    let sampling = city.issue(wang, "sampling", None).await;
    let live = city.issue(wang, "live", None).await;
    let officer = caller(vec![Role::Officer]);
    let answer = city
        .revocation
        .revoke(&officer, &revoke("sampling", WANG, 1))
        .await
        .expect("revoked");
    assert_eq!(answer.code_id, sampling.code.code_id.to_string());
    let again = city.revocation.revoke(&officer, &revoke("sampling", WANG, 2)).await;
    assert_eq!(again.expect_err("there is none left").code(), Code::NoValidCode);
    let state = city.revocation.authorizer.log.state(wang);
    let now = citycode_domain::time::Timestamp(crate::city::START);
    assert!(state.alive(sampling.code.slot, now).is_none());
    assert!(state.alive(live.code.slot, now).is_some(), "R1: kinds are independent");
}

#[tokio::test]
async fn r22_a_repeated_command_gets_the_same_answer_and_writes_nothing() {
    let city = City::new().await;
    let wang = city.resident(WANG).await;
    city.issue(wang, "sampling", None).await;
    let officer = caller(vec![Role::Officer]);
    let first = city
        .revocation
        .revoke(&officer, &revoke("sampling", WANG, 1))
        .await
        .expect("revoked");
    let written = city.events(wang).await.len();
    // The repeat does not affect a code that was issued since.
    let newer = city.issue(wang, "sampling", None).await;
    let second = city
        .revocation
        .revoke(&officer, &revoke("sampling", WANG, 1))
        .await
        .expect("a repeat");
    assert_eq!(first, second);
    assert_eq!(city.events(wang).await.len(), written + 1, "only the newer code");
    assert_ne!(second.code_id, newer.code.code_id.to_string());
}

#[tokio::test]
async fn the_same_command_id_for_another_command_is_refused() {
    let city = City::new().await;
    let wang = city.resident(WANG).await;
    city.issue(wang, "sampling", None).await;
    let officer = caller(vec![Role::Officer]);
    city.revocation
        .suspend(&officer, &suspend("sampling", WANG, 1))
        .await
        .expect("held");
    let reused = [
        city.revocation
            .revoke(&officer, &revoke("sampling", WANG, 1))
            .await
            .expect_err("another command"),
        city.revocation
            .suspend(
                &officer,
                &SuspendRequest {
                    reason: "另一原因".into(),
                    ..suspend("sampling", WANG, 1)
                },
            )
            .await
            .expect_err("another reason"),
    ];
    for problem in reused {
        assert_eq!(problem.code(), Code::IdempotencyKeyReused);
    }
    // The same command id of another caller is another command.
    let colleague = caller(vec![Role::Officer, Role::Auditor]);
    city.revocation
        .revoke(&colleague, &revoke("sampling", WANG, 1))
        .await
        .expect("revoked");
}

#[tokio::test]
async fn r22_a_hold_lasts_until_it_is_lifted_and_holding_twice_is_one_hold() {
    let city = City::new().await;
    let wang = city.resident(WANG).await;
    let code = city.issue(wang, "offline", None).await;
    let officer = caller(vec![Role::Officer]);
    city.revocation
        .suspend(&officer, &suspend("offline", WANG, 1))
        .await
        .expect("held");
    let held = city.events(wang).await.len();
    let again = city
        .revocation
        .suspend(&officer, &suspend("offline", WANG, 2))
        .await
        .expect("the hold exists already");
    assert_eq!(again.code_id, code.code.code_id.to_string());
    assert_eq!(city.events(wang).await.len(), held);
    assert!(
        city.revocation
            .authorizer
            .log
            .state(wang)
            .slot(code.code.slot)
            .is_some_and(|slot| slot.held)
    );
    let lifted = city
        .revocation
        .reinstate(&officer, &reinstate("offline", WANG, 3))
        .await
        .expect("lifted");
    assert_eq!(lifted.code_id, Some(code.code.code_id.to_string()));
    assert!(
        city.revocation
            .authorizer
            .log
            .state(wang)
            .slot(code.code.slot)
            .is_some_and(|slot| !slot.held)
    );
}

#[tokio::test]
async fn r22_a_command_requires_a_readable_reason() {
    let city = City::new().await;
    let wang = city.resident(WANG).await;
    city.issue(wang, "sampling", None).await;
    let officer = caller(vec![Role::Officer]);
    for reason in ["", "   ", "\u{202e}evil", &"长".repeat(2_000)] {
        let request = RevokeRequest {
            reason: reason.into(),
            ..revoke("sampling", WANG, 1)
        };
        let refused = city.revocation.revoke(&officer, &request).await.expect_err("no reason");
        assert_eq!(refused.code(), Code::InvalidRequest, "{reason:?}");
    }
    assert_eq!(city.events(wang).await.len(), 2);
}

#[tokio::test]
async fn r28_the_log_contains_no_reason_in_plain_text() {
    let city = City::new().await;
    let wang = city.resident(WANG).await;
    city.issue(wang, "sampling", None).await;
    let officer = caller(vec![Role::Officer]);
    let request = RevokeRequest {
        reason: "CANARY-reason-7f3a".into(),
        ..revoke("sampling", WANG, 1)
    };
    city.revocation.revoke(&officer, &request).await.expect("revoked");
    let bytes = city.log_bytes(wang).await;
    for secret in ["CANARY-reason-7f3a", WANG] {
        assert!(
            !bytes.windows(secret.len()).any(|window| window == secret.as_bytes()),
            "{secret}"
        );
    }
    let revoked = city.events(wang).await.into_iter().find_map(|event| match event {
        Event::CodeRevoked(revoked) => Some(revoked.reason.0),
        _ => None,
    });
    let person = city.revocation.authorizer.open_person(wang).await.expect("known");
    let opened = person
        .key
        .open(b"citycode-reason-v1", &revoked.expect("a revocation"))
        .expect("the holder's key opens it");
    assert_eq!(opened.as_slice(), b"CANARY-reason-7f3a");
}

#[tokio::test]
async fn r31_only_officers_and_admins_are_permitted_and_others_learn_nothing() {
    let city = City::new().await;
    let wang = city.resident(WANG).await;
    city.issue(wang, "sampling", None).await;
    for role in [Role::Channel("app".into()), Role::HealthAuthority, Role::Auditor] {
        let stranger = caller(vec![role]);
        for number in [WANG, LI] {
            let refused = [
                city.revocation
                    .revoke(&stranger, &revoke("sampling", number, 1))
                    .await
                    .expect_err("refused"),
                city.revocation
                    .suspend(&stranger, &suspend("sampling", number, 1))
                    .await
                    .expect_err("refused"),
                city.revocation
                    .reinstate(&stranger, &reinstate("sampling", number, 1))
                    .await
                    .expect_err("refused"),
            ];
            assert!(
                refused.iter().all(|problem| problem.code() == Code::NotAllowed),
                "the answer does not depend on whether the person is registered"
            );
        }
    }
    let admin = caller(vec![Role::Admin]);
    city.revocation
        .revoke(&admin, &revoke("sampling", WANG, 1))
        .await
        .expect("an admin may");
}

#[tokio::test]
async fn a_guardian_identifies_a_family_code_and_is_refused_for_other_kinds() {
    let city = City::new().await;
    let (wang, li) = (city.resident(WANG).await, city.resident(LI).await);
    city.relate(li, wang).await;
    let family = city.issue(wang, "family", Some(li)).await;
    city.issue(wang, "sampling", None).await;
    let officer = caller(vec![Role::Officer]);
    let with_guardian = |kind| RevokeRequest {
        guardian_id_number: LI.into(),
        ..revoke(kind, WANG, 1)
    };
    let refused = city
        .revocation
        .revoke(&officer, &with_guardian("sampling"))
        .await
        .expect_err("refused");
    assert_eq!(refused.code(), Code::InvalidRequest);
    let refused = city
        .revocation
        .revoke(&officer, &revoke("family", WANG, 1))
        .await
        .expect_err("the guardian is missing");
    assert_ne!(refused.code(), Code::Internal);
    let answer = city
        .revocation
        .revoke(&officer, &with_guardian("family"))
        .await
        .expect("revoked");
    assert_eq!(answer.code_id, family.code.code_id.to_string());
}

#[tokio::test]
async fn r22_an_officer_can_revoke_a_code_by_its_id_if_the_vault_lost_its_holder() {
    let city = City::new().await;
    let wang = city.resident(WANG).await;
    let old = city.issue(wang, "sampling", None).await;
    let new = city.issue(wang, "sampling", None).await;
    city.revocation
        .authorizer
        .vault
        .erase(wang)
        .await
        .expect("erased in the vault only");
    let request = |code_id: String, command: u8| RevokeCodeRequest {
        command_id: vec![command; 16],
        code_id,
        reason: "核实身份".into(),
    };
    let (officer, admin) = (caller(vec![Role::Officer]), caller(vec![Role::Auditor]));
    let by_id = |caller: std::sync::Arc<citycode_auth::Caller>, request| {
        let revocation = &city.revocation;
        async move { revocation.revoke_code(&caller, &request).await }
    };
    let living = new.code.code_id.to_string();
    let refused = by_id(admin, request(living.clone(), 1)).await;
    assert_eq!(refused.expect_err("not an officer").code(), Code::NotAllowed);
    for (id, code) in [
        ("wrong".to_owned(), Code::InvalidRequest),
        ("00".repeat(8), Code::NoValidCode),
        (old.code.code_id.to_string(), Code::NoValidCode),
    ] {
        let refused = by_id(officer.clone(), request(id, 2)).await;
        assert_eq!(refused.expect_err("refused").code(), code);
    }
    let without_reason = RevokeCodeRequest {
        reason: String::new(),
        ..request(living.clone(), 3)
    };
    let refused = by_id(officer.clone(), without_reason).await;
    assert_eq!(refused.expect_err("no reason").code(), Code::InvalidRequest);
    for _ in 0..2 {
        let answer = by_id(officer.clone(), request(living.clone(), 4)).await;
        assert_eq!(
            answer.expect("revoked, and the repeat gets the same answer").code_id,
            living
        );
    }
    let refused = by_id(officer, request(living, 5)).await;
    assert_eq!(refused.expect_err("dead").code(), Code::NoValidCode);
}
