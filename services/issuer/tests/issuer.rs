//! Tests of the issuer through its public methods, over the in-memory log and a real vault: answers, refusals,
//! repeats and concurrent calls.

mod fixture;
mod import_stream;
mod keys;
mod list_names;
mod orphans;
mod overload;
mod rename;
mod reservations;
mod unrelated_guardian;
mod vault_age;

use std::sync::Arc;
use std::time::Duration;

use citycode_auth::{Caller, CallerId, Role};
use citycode_event_store::EventStore as _;
use citycode_event_store::memory::AppendFault;
use citycode_issuer::grpc::IssuerGrpc;
use citycode_service_kit::problem::{Code, Outcome, Problem};
use citycode_testkit::{IdNumbers, eventually};
use citycode_wire::proto::issuer::v1::issuer_service_server::IssuerService as _;
use citycode_wire::proto::issuer::v1::{
    CodeLife, EraseRequest, IssueRequest, ListCodesRequest, RelateRequest, ReprintRequest, UnrelateRequest,
};
use citycode_wire::proto::model::v1::Standing;
use fixture::{City, TODAY};

fn issue(kind: &str, channel: &str, id_number: &str) -> IssueRequest {
    IssueRequest {
        kind: kind.into(),
        channel: channel.into(),
        id_number: id_number.into(),
        ..IssueRequest::default()
    }
}

fn lives(codes: &citycode_wire::proto::issuer::v1::ListCodesResponse) -> Vec<(String, CodeLife)> {
    codes
        .codes
        .iter()
        .map(|code| (code.kind.clone(), code.state()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r04_reissuing_returns_a_new_code_and_the_id_of_the_superseded_one() {
    let city = City::new().await;
    let person = city.resident(IdNumbers::new(1).aged(40, TODAY)).await;
    let first = city
        .issuer
        .issue(&city.admin, &issue("sampling", "app", &person))
        .await
        .expect("issued");
    let second = city
        .issuer
        .issue(&city.admin, &issue("sampling", "app", &person))
        .await
        .expect("reissued");
    let (first, second) = (first.code.expect("a code"), second.code.expect("a code"));
    assert_eq!(second.supersedes.as_deref(), Some(first.code_id.as_str()));
    assert_ne!(first.token, second.token);
    assert_ne!(first.status, second.status);
    assert_eq!(second.expires_at - second.issued_at, 30 * 86_400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r03_two_hundred_reissues_at_once_leave_one_valid_code() {
    let city = City::new().await;
    let person = city.resident(IdNumbers::new(2).aged(40, TODAY)).await;
    let mut reissues = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (issuer, admin, person) = (city.issuer.clone(), city.admin.clone(), person.clone());
        reissues.spawn(async move { issuer.issue(&admin, &issue("sampling", "app", &person)).await });
    }
    let mut superseded = Vec::new();
    while let Some(answer) = reissues.join_next().await {
        superseded.push(
            answer
                .expect("no panic")
                .expect("issued")
                .code
                .expect("a code")
                .supersedes,
        );
    }
    assert_eq!(
        superseded.iter().filter(|code| code.is_none()).count(),
        1,
        "one was the first"
    );
    superseded.sort();
    superseded.dedup();
    assert_eq!(superseded.len(), 200, "every code but the last was superseded once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_command_id_returns_the_same_code_and_a_reused_one_is_refused() {
    let city = City::new().await;
    let person = city.resident(IdNumbers::new(3).aged(40, TODAY)).await;
    let request = IssueRequest {
        command_id: vec![7; 16],
        ..issue("sampling", "app", &person)
    };
    let first = city.issuer.issue(&city.admin, &request).await.expect("issued");
    let again = city.issuer.issue(&city.admin, &request).await.expect("the same");
    assert_eq!(first, again);
    let other = IssueRequest {
        command_id: vec![7; 16],
        ..issue("offline", "kiosk", &person)
    };
    let refused = city
        .issuer
        .issue(&city.admin, &other)
        .await
        .expect_err("another request");
    assert_eq!(refused.code(), Code::IdempotencyKeyReused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_id_is_scoped_to_caller_and_holder() {
    let city = City::new().await;
    let mut numbers = IdNumbers::new(11);
    let one = city.resident(numbers.aged(40, TODAY)).await;
    let two = city.resident(numbers.aged(40, TODAY)).await;
    let other = Caller::new(CallerId::new("test", "other").expect("an id"), vec![Role::Admin]);
    let request = |kind: &str, channel: &str, person: &str| IssueRequest {
        command_id: vec![7; 16],
        ..issue(kind, channel, person)
    };
    let mut codes = Vec::new();
    for (caller, request) in [
        (&*city.admin, request("sampling", "app", &one)),
        (&*city.admin, request("sampling", "app", &two)),
        (&other, request("sampling", "app", &one)),
    ] {
        let code = city.issuer.issue(caller, &request).await.expect("issued").code;
        codes.push(code.expect("a code").code_id);
        // Each caller's repeat for the same holder is its own.
        let again = city.issuer.issue(caller, &request).await.expect("the same").code;
        assert_eq!(codes.last(), again.map(|code| code.code_id).as_ref());
    }
    codes.sort();
    codes.dedup();
    assert_eq!(codes.len(), 3, "three commands, three codes");
    for caller in [&*city.admin, &other] {
        let reused = city.issuer.issue(caller, &request("offline", "kiosk", &one)).await;
        assert_eq!(reused.expect_err("another request").code(), Code::IdempotencyKeyReused);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_elapsed_deadline_reports_whether_the_change_was_begun() {
    let city = City::new().await;
    let person = city.resident(IdNumbers::new(12).aged(40, TODAY)).await;
    let first = issue("sampling", "app", &person);
    city.issuer
        .issue(&city.admin, &first)
        .await
        .expect("issued, and places leased");
    let length = async || {
        let mut length = 0;
        for partition in city.store.layout().all_partitions() {
            length += city.store.head(partition).await.expect("the log answers").0;
        }
        length
    };
    let before = length().await;
    // From now on the log accepts commits, but they are not folded.
    city.folding.abort();
    eventually("the fold has ended", Duration::from_secs(5), async || {
        city.folding.is_finished()
    })
    .await;
    let call = |time: &'static str| {
        let mut request = tonic::Request::new(issue("sampling", "app", &person));
        request
            .metadata_mut()
            .insert("grpc-timeout", time.parse().expect("a header"));
        request.extensions_mut().insert(Arc::clone(&city.admin));
        let api = IssuerGrpc(Arc::clone(&city.issuer.0));
        async move { Problem::from(api.issue(request).await.expect_err("nobody folds")) }
    };
    let appended = tokio::spawn(call("5S"));
    eventually("the commit stands in the log", Duration::from_secs(5), async || {
        length().await > before
    })
    .await;
    // It waits for the permit that the first one holds.
    let waited = call("200m").await;
    assert_eq!(
        (waited.code(), waited.outcome()),
        (Code::Unavailable, Some(Outcome::NotDone))
    );
    let appended = appended.await.expect("no panic");
    assert_eq!(
        (appended.code(), appended.outcome()),
        (Code::Unavailable, Some(Outcome::Unknown))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_of_unknown_outcome_is_repeated_and_done_once() {
    let city = City::new().await;
    let person = city.resident(IdNumbers::new(4).aged(40, TODAY)).await;
    for fault in [AppendFault::CommittedButUnknown, AppendFault::LostAndUnknown] {
        city.store.fail_next_append(fault);
        let code = city
            .issuer
            .issue(&city.admin, &issue("sampling", "app", &person))
            .await
            .expect("issued");
        let reprint = ReprintRequest {
            kind: "sampling".into(),
            channel: "app".into(),
            id_number: person.clone(),
            ..ReprintRequest::default()
        };
        let printed = city.issuer.reprint(&city.admin, &reprint).await.expect("the same code");
        assert_eq!(
            printed.code.expect("a code").token,
            code.code.expect("a code").token,
            "R6: byte for byte"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_eligibility_is_checked_at_issue_and_attested_only_by_permitted_channels() {
    let city = City::new().await;
    let mut numbers = IdNumbers::new(5);
    let (child, adult, elder) = (
        city.resident(numbers.aged(17, TODAY)).await,
        city.resident(numbers.aged(30, TODAY)).await,
        city.resident(numbers.aged(60, TODAY)).await,
    );
    for person in [&child, &elder] {
        city.issuer
            .issue(&city.admin, &issue("offline", "kiosk", person))
            .await
            .expect("eligible");
    }
    let refused = city
        .issuer
        .issue(&city.admin, &issue("offline", "kiosk", &adult))
        .await
        .expect_err("30 years old");
    assert_eq!(refused.code(), Code::NotEligible);
    let attestation = citycode_wire::proto::issuer::v1::Attestation {
        disability: true,
        group: String::new(),
    };
    let attested = IssueRequest {
        attestation: Some(attestation.clone()),
        ..issue("offline", "kiosk", &adult)
    };
    city.issuer
        .issue(&city.admin, &attested)
        .await
        .expect("attested by the kiosk");
    let by_app = IssueRequest {
        attestation: Some(attestation),
        ..issue("sampling", "app", &adult)
    };
    let refused = city
        .issuer
        .issue(&city.admin, &by_app)
        .await
        .expect_err("the app may not attest");
    assert_eq!(refused.code(), Code::ChannelNotAllowed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r17_a_family_code_needs_a_relationship_and_r09_a_relatives_sampling_code_needs_a_family_code() {
    let city = City::new().await;
    let mut numbers = IdNumbers::new(6);
    let guardian = city.resident(numbers.aged(40, TODAY)).await;
    let child = city.resident(numbers.aged(8, TODAY)).await;
    let phone = city.phone_key(1);
    let family = IssueRequest {
        guardian_id_number: guardian.clone(),
        device_key: phone.clone(),
        ..issue("family", "app", &child)
    };
    let refused = city
        .issuer
        .issue(&city.admin, &family)
        .await
        .expect_err("no relationship");
    assert_eq!(refused.code(), Code::RelationshipUnknown);
    let sampling = IssueRequest {
        guardian_id_number: guardian.clone(),
        ..issue("sampling", "app", &child)
    };
    let refused = city
        .issuer
        .issue(&city.admin, &sampling)
        .await
        .expect_err("no family code");
    assert_eq!(refused.code(), Code::FamilyCodeRequired);
    let relate = RelateRequest {
        guardian_id_number: guardian.clone(),
        dependent_id_number: child.clone(),
        ..RelateRequest::default()
    };
    city.issuer.relate(&city.admin, &relate).await.expect("related");
    city.issuer.issue(&city.admin, &family).await.expect("issued");
    city.issuer.issue(&city.admin, &sampling).await.expect("issued");
    // Erasing the guardian ends the relationship and the family code, not the child's own sampling code (R1).
    city.issuer
        .erase(
            &city.admin,
            &EraseRequest {
                id_number: guardian.clone(),
                ..EraseRequest::default()
            },
        )
        .await
        .expect("erased");
    let codes = city
        .issuer
        .list_codes(
            &city.admin,
            &ListCodesRequest {
                id_number: child,
                ..ListCodesRequest::default()
            },
        )
        .await;
    let codes = lives(&codes.expect("the child's codes"));
    assert!(codes.contains(&("family".into(), CodeLife::Revoked)), "{codes:?}");
    assert!(codes.contains(&("sampling".into(), CodeLife::Valid)), "{codes:?}");
    let gone = city
        .issuer
        .list_codes(
            &city.admin,
            &ListCodesRequest {
                id_number: guardian,
                ..ListCodesRequest::default()
            },
        )
        .await;
    assert_eq!(gone.expect_err("forgotten").code(), Code::NotRegistered);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r06_a_reprint_is_possible_after_the_signing_key_was_rotated_and_compromised() {
    let city = City::new().await;
    let person = city.resident(IdNumbers::new(7).aged(70, TODAY)).await;
    let code = city
        .issuer
        .issue(&city.admin, &issue("offline", "kiosk", &person))
        .await
        .expect("issued");
    city.issuer
        .rotate_keys(&city.admin, &Default::default())
        .await
        .expect("rotated");
    let keys = city.issuer.list_keys().keys;
    assert_eq!(keys.len(), 2);
    let compromise = citycode_wire::proto::issuer::v1::CompromiseKeyRequest {
        key_id: keys[0].key_id.clone(),
        ..Default::default()
    };
    let marked = city
        .issuer
        .compromise_key(&city.admin, &compromise)
        .await
        .expect("marked")
        .key
        .expect("the key");
    assert!(marked.compromised);
    let reprint = ReprintRequest {
        kind: "offline".into(),
        channel: "pc".into(),
        id_number: person,
        ..ReprintRequest::default()
    };
    let printed = city.issuer.reprint(&city.admin, &reprint).await.expect("the same code");
    assert_eq!(printed.code.expect("a code").token, code.code.expect("a code").token);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::too_many_lines, reason = "one family, and what each of its members sees")]
async fn a_guardian_sees_only_that_guardians_codes_and_none_of_an_unrelated_person() {
    let city = City::new().await;
    let mut numbers = IdNumbers::new(9);
    let child = city.resident(numbers.aged(8, TODAY)).await;
    let parents = [
        city.resident(numbers.aged(38, TODAY)).await,
        city.resident(numbers.aged(40, TODAY)).await,
    ];
    let mut issued = Vec::new();
    for (parent, seed) in parents.iter().zip([1, 2]) {
        let relate = RelateRequest {
            guardian_id_number: parent.clone(),
            dependent_id_number: child.clone(),
            ..RelateRequest::default()
        };
        city.issuer.relate(&city.admin, &relate).await.expect("related");
        let family = IssueRequest {
            guardian_id_number: parent.clone(),
            device_key: city.phone_key(seed),
            ..issue("family", "app", &child)
        };
        let answer = city.issuer.issue(&city.admin, &family).await.expect("issued");
        issued.push(answer.code.expect("a code").code_id);
    }
    city.issuer
        .issue(&city.admin, &issue("sampling", "app", &child))
        .await
        .expect("issued");
    let ask = |guardian: &str| ListCodesRequest {
        id_number: child.clone(),
        guardian_id_number: guardian.into(),
        ..ListCodesRequest::default()
    };
    let all = city.issuer.list_codes(&city.admin, &ask("")).await.expect("a list");
    assert_eq!(all.codes.len(), 3);
    for (parent, code_id) in parents.iter().zip(&issued) {
        let theirs = city.issuer.list_codes(&city.admin, &ask(parent)).await.expect("a list");
        assert!(theirs.guardian_recorded);
        let ids: Vec<_> = theirs.codes.iter().map(|code| &code.code_id).collect();
        assert_eq!(ids, [code_id]);
        // R9: with a valid family code, a guardian may act on the holder's own sampling code.
        let actionable = ListCodesRequest {
            actionable: true,
            ..ask(parent)
        };
        let actionable = city.issuer.list_codes(&city.admin, &actionable).await.expect("a list");
        let kinds: Vec<_> = actionable.codes.iter().map(|code| code.kind.as_str()).collect();
        assert_eq!(kinds, ["family", "sampling"]);
    }
    // The holder is told who may act, with masked names; a guardian is not.
    let details = |guardian: &str| ListCodesRequest {
        channel: "app".into(),
        details: true,
        ..ask(guardian)
    };
    let told = city.issuer.list_codes(&city.admin, &details("")).await.expect("a list");
    assert_eq!((told.guardians.len(), told.standing()), (2, Standing::Green));
    assert!(told.guardians.iter().all(|name| name.contains('*')), "names are masked");
    let theirs = city
        .issuer
        .list_codes(&city.admin, &details(&parents[0]))
        .await
        .expect("a list");
    assert_eq!((theirs.guardians.len(), theirs.standing()), (0, Standing::Unspecified));
    // Neither is an officer or auditor, who asks through no channel.
    for role in [Role::Officer, Role::Auditor, Role::Admin] {
        let reader = Caller::new(CallerId::new("test", "reader").expect("an id"), vec![role]);
        let question = ListCodesRequest {
            channel: String::new(),
            ..details("")
        };
        let read = city.issuer.list_codes(&reader, &question).await.expect("a list");
        assert_eq!((read.codes.len(), read.guardians.len()), (3, 0));
        assert_eq!(read.standing(), Standing::Unspecified);
    }
    // The dependent ends a relationship through a channel; nobody else does.
    let end = UnrelateRequest {
        guardian_id_number: parents[0].clone(),
        dependent_id_number: child.clone(),
        channel: "app".into(),
        ..UnrelateRequest::default()
    };
    let id = CallerId::new("test", "kiosk").expect("an id");
    let kiosk = Arc::new(Caller::new(id, vec![Role::Channel("kiosk".into())]));
    city.issuer.unrelate(&kiosk, &end).await.expect_err("not allowed");
    city.issuer.unrelate(&city.admin, &end).await.expect("ended");
    let ended = city
        .issuer
        .list_codes(&city.admin, &ask(&parents[0]))
        .await
        .expect("a list");
    assert!(!ended.guardian_recorded);
    assert_eq!(lives(&ended), [("family".to_owned(), CodeLife::Revoked)]);
    // R31: the answers for registered and unregistered persons are the same.
    let known = city.resident(numbers.aged(50, TODAY)).await;
    for stranger in [known, numbers.aged(51, TODAY)] {
        for actionable in [false, true] {
            let question = ListCodesRequest {
                actionable,
                ..ask(&stranger)
            };
            let none = city.issuer.list_codes(&city.admin, &question).await.expect("a list");
            assert_eq!((none.codes, none.guardian_recorded), (vec![], false));
        }
    }
}
