//! `ReportLoss` (R14, R15) requires the person, not the code.

use citycode_auth::Role;
use citycode_service_kit::problem::Code;
use citycode_wire::proto::revocation::v1::ReportLossRequest;

use crate::city::{City, LI, START, WANG, caller};

fn loss(kind: &str, channel: &str, id_number: &str, command: u8) -> ReportLossRequest {
    ReportLossRequest {
        command_id: vec![command; 16],
        kind: kind.into(),
        channel: channel.into(),
        id_number: id_number.into(),
        ..ReportLossRequest::default()
    }
}

#[tokio::test]
async fn r14_r15_a_loss_report_invalidates_the_print_without_presenting_it() {
    let city = City::new().await;
    let wang = city.resident(WANG).await;
    let (offline, sampling) = (
        city.issue(wang, "offline", None).await,
        city.issue(wang, "sampling", None).await,
    );
    let kiosk = caller(vec![Role::Channel("kiosk".into())]);
    let answer = city
        .revocation
        .report_loss(&kiosk, &loss("offline", "kiosk", WANG, 1))
        .await
        .expect("reported");
    assert_eq!(answer.code_id, offline.code.code_id.to_string());
    let (state, now) = (
        city.revocation.authorizer.log.state(wang),
        citycode_domain::time::Timestamp(START),
    );
    assert!(state.alive(offline.code.slot, now).is_none());
    assert!(state.alive(sampling.code.slot, now).is_some(), "R1");
    let again = city
        .revocation
        .report_loss(&kiosk, &loss("offline", "kiosk", WANG, 2))
        .await;
    assert_eq!(again.expect_err("none is left").code(), Code::NoValidCode);
}

#[tokio::test]
async fn r15_a_repeat_does_not_invalidate_a_code_issued_since() {
    let city = City::new().await;
    let wang = city.resident(WANG).await;
    city.issue(wang, "offline", None).await;
    let kiosk = caller(vec![Role::Channel("kiosk".into())]);
    let first = city
        .revocation
        .report_loss(&kiosk, &loss("offline", "kiosk", WANG, 1))
        .await
        .expect("reported");
    let newer = city.issue(wang, "offline", None).await;
    let repeat = city
        .revocation
        .report_loss(&kiosk, &loss("offline", "kiosk", WANG, 1))
        .await
        .expect("answered");
    assert_eq!(first, repeat);
    let now = citycode_domain::time::Timestamp(START);
    assert!(
        city.revocation
            .authorizer
            .log
            .state(wang)
            .alive(newer.code.slot, now)
            .is_some()
    );
}

#[tokio::test]
async fn r22_a_held_code_can_be_reported_lost() {
    let city = City::new().await;
    let wang = city.resident(WANG).await;
    let code = city.issue(wang, "offline", None).await;
    let request = citycode_wire::proto::revocation::v1::SuspendRequest {
        kind: "offline".into(),
        id_number: WANG.into(),
        reason: "核实身份".into(),
        ..Default::default()
    };
    city.revocation
        .suspend(&caller(vec![Role::Officer]), &request)
        .await
        .expect("held");
    let kiosk = caller(vec![Role::Channel("kiosk".into())]);
    city.revocation
        .report_loss(&kiosk, &loss("offline", "kiosk", WANG, 1))
        .await
        .expect("reported");
    let slot = city.revocation.authorizer.log.state(wang).slot(code.code.slot).cloned();
    assert!(
        slot.is_some_and(|slot| slot.held),
        "a loss report does not end the hold"
    );
}

#[tokio::test]
async fn a_channel_may_act_only_as_itself_and_as_the_policy_permits() {
    let city = City::new().await;
    let wang = city.resident(WANG).await;
    city.issue(wang, "offline", None).await;
    let kiosk = caller(vec![Role::Channel("kiosk".into())]);
    let app = caller(vec![Role::Channel("app".into())]);
    let officer = caller(vec![Role::Officer]);
    for (caller, channel, kind, expected) in [
        (&kiosk, "pc", "offline", Code::NotAllowed),
        (&officer, "kiosk", "offline", Code::NotAllowed),
        (&app, "app", "offline", Code::ChannelNotAllowed),
        (&kiosk, "kiosk", "sampling", Code::ChannelNotAllowed),
        (&kiosk, "kiosk", "paper", Code::UnknownKind),
    ] {
        let refused = city
            .revocation
            .report_loss(caller, &loss(kind, channel, WANG, 1))
            .await
            .expect_err("refused");
        assert_eq!(refused.code(), expected, "{channel} {kind}");
    }
    let unknown = city
        .revocation
        .report_loss(&kiosk, &loss("offline", "kiosk", LI, 1))
        .await
        .expect_err("unknown");
    assert_eq!(unknown.code(), Code::NotRegistered);
}
