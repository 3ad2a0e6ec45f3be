//! Questions about the past of the month: counts of the city, and verdicts for earlier times.

use std::collections::BTreeMap;

use citycode_audit::Audit;
use citycode_auth::{Caller, CallerId, Role};
use citycode_domain::event::Event;
use citycode_domain::status::{Death, Life, Status};
use citycode_domain::time::Timestamp;
use citycode_event_store::{EventStore as _, LogPosition, Partition, RecordedCommit, SubscriptionBatch};
use citycode_log_folds::{folded_events, projected};
use citycode_policy_file::{PolicyFile, SHANGHAI};
use citycode_replay::Timeline;
use citycode_service_kit::problem::Code;
use citycode_wire::answer::code_life_name;
use citycode_wire::proto::verifier::v1::VerifyRequest;
use citycode_wire::proto::verifier::v1::verify_request::Scan as Shown;
use citycode_wire::request::ScanRequest;
use citycode_wire::verdict::reason;

use crate::agreement::Patient;
use crate::city::{City, START};

async fn commits(city: &City) -> Vec<RecordedCommit> {
    let heads = city.store.heads().await.expect("heads");
    let start = LogPosition::start(city.store.layout().partitions());
    let mut subscription = city.store.subscribe_to_all(start).await.expect("a subscription");
    let mut commits: Vec<RecordedCommit> = Vec::new();
    while !subscription.position().reaches(&heads) {
        if let SubscriptionBatch::Commits(batch) = subscription.next_batch().await.expect("a batch") {
            commits.extend(batch.iter().map(|commit| RecordedCommit::clone(commit)));
        }
    }
    commits
}

/// Counts by kind and state, from the lives of the codes whose commits were decided up to an instant.
fn counted(commits: &[RecordedCommit], at: i64) -> BTreeMap<(String, String), u64> {
    let policy = PolicyFile::parse(SHANGHAI).expect("a policy").policy;
    let (mut timeline, mut codes) = (Timeline::new(), Vec::new());
    for commit in commits.iter().filter(|commit| commit.commit.decided_at <= at) {
        let events = folded_events(commit).expect("events");
        codes.extend(events.iter().filter_map(|event| match event {
            Event::CodeIssued(issued) => Some(issued.code.code_id),
            _ => None,
        }));
        timeline.fold(&projected(commit, &events)).expect("folded");
    }
    let mut counts = BTreeMap::new();
    for code_id in codes {
        let life = timeline.life(code_id).expect("an issued code");
        let Status::Issued { life: state, .. } = life.status_at_instant(Timestamp(i64::MAX)) else {
            panic!("an issued code: {life:?}");
        };
        let state = match state {
            Life::Dead(Death::Superseded) => "superseded",
            Life::Dead(Death::ReportedLost) => "reported_lost",
            Life::Dead(Death::Revoked) => "revoked",
            Life::Valid | Life::Suspended if at >= life.expires_at.0 => "expired",
            Life::Suspended => "suspended",
            Life::Valid => "valid",
        };
        let kind = policy.kind(life.kind).expect("a kind").name.clone();
        *counts.entry((kind, state.to_owned())).or_default() += 1;
    }
    counts
}

async fn asked(audit: &Audit, at: i64) -> BTreeMap<(String, String), u64> {
    let result = audit.state(at, true, &mut Patient).await.expect("counts");
    let by = result.by.iter().map(|group| {
        let state = code_life_name(group.state()).expect("a state").to_owned();
        ((group.kind.clone(), state), group.count.expect("exact"))
    });
    by.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_of_the_city_at_an_instant_are_those_of_the_log_that_ended_then() {
    let city = City::month(6).await;
    let (audit, commits) = (city.audit().await, commits(&city).await);
    let mut states = BTreeMap::<String, u64>::new();
    for day in 0..34 {
        let at = START + day * 86_400 + 43_200;
        let counts = asked(&audit, at).await;
        assert_eq!(counts, counted(&commits, at), "day {day}");
        for ((_, state), count) in counts {
            *states.entry(state).or_default() += count;
        }
    }
    // Most codes are replaced before they expire, so hardly any expires in a month.
    for state in ["valid", "suspended", "superseded", "reported_lost", "revoked"] {
        assert!(
            states.contains_key(state),
            "the month must have codes that are {state}: {states:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_verified_for_the_past_with_what_the_log_had_then() {
    let city = City::month(7).await;
    let audit = city.audit().await;
    let auditor = Caller::new(CallerId::new("test", "auditor").expect("an id"), vec![Role::Auditor]);
    let verify = async |text: &str, at: i64| {
        let request = VerifyRequest {
            place: "sampling_desk".into(),
            scan: Some(Shown::Code(text.to_owned())),
            at: Some(at),
            ..VerifyRequest::default()
        };
        let scan = ScanRequest::try_from(&request).expect("the fields are valid");
        let answer = audit.verify_at(&auditor, &scan).await;
        answer.map(|answer| reason(answer.reason).expect("a reason").name())
    };
    let commits = commits(&city).await;
    let mut reasons = BTreeMap::<&str, u64>::new();
    for (issued, text) in city.sampling_codes() {
        let issued_at = issued.issued_at.0;
        let before = verify(text, issued_at - 1).await;
        // The key may be younger than the code's own time minus a second, and the code was not valid yet in any case.
        assert!(matches!(before, Ok("not_yet_valid" | "bad_signature")), "{before:?}");
        for (what, seconds) in [("young", 1), ("old", 86_400), ("expired", 40 * 86_400)] {
            let at = (issued_at + seconds).min(city.time());
            let answered = verify(text, at).await.expect("a verdict");
            *reasons.entry(answered).or_default() += 1;
            let then = status_then(&commits, issued.code.code_id, at);
            let is_dead = matches!(then, Some(Life::Dead(_)));
            if answered == "ok" {
                assert_eq!(then, Some(Life::Valid), "{what}: a code that was not valid then");
            }
            if is_dead && at < issued.expires_at.0 {
                let ends = ["superseded", "reported_lost", "revoked", "bad_signature"];
                assert!(ends.contains(&answered), "{what}: {answered} of {then:?}");
            }
        }
    }
    for reason in ["ok", "superseded", "expired"] {
        assert!(reasons.contains_key(reason), "no verdict was {reason}: {reasons:?}");
    }
    let (_, text) = city.sampling_codes().next().expect("a code");
    let too_early = verify(text, START - 1).await.map_err(|problem| problem.code());
    assert_eq!(too_early, Err(Code::PastNotSupported));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_lists_of_now_and_then_are_those_that_are_published() {
    let city = City::month(8).await;
    let audit = city.audit().await;
    let reader = city.fresh_reader().await;
    let lists = reader.lists();
    assert!(!lists.is_empty());
    for list in lists {
        let partition = Partition(reader.facts(list).expect("facts").partition);
        let now = audit
            .list_at(list, partition, Timestamp(city.time()))
            .await
            .expect("read");
        assert_eq!(now, Some(reader.export_two_bit(list)), "{list}");
        let never = audit
            .list_at(list, partition, Timestamp(START - 1))
            .await
            .expect("read");
        assert_eq!(never, None);
    }
    // A code that is valid when it is issued and ends later.
    let lost = commits(&city).await.iter().find_map(|commit| {
        let events = folded_events(commit).expect("events");
        events.iter().find_map(|event| match event {
            Event::CodeReportedLost(lost) => {
                Some((lost.code.status, commit.position.partition, commit.commit.decided_at))
            }
            _ => None,
        })
    });
    let (place, partition, at) = lost.expect("the month has a loss");
    let bits = async |at: i64| {
        let packed = audit
            .list_at(place.list, partition, Timestamp(at))
            .await
            .expect("read")
            .expect("a list");
        (packed[place.index as usize / 4] >> (2 * (place.index % 4))) & 0b11
    };
    assert_eq!(bits(at).await, 1, "invalid from the second of the loss on");
}

fn status_then(commits: &[RecordedCommit], code_id: citycode_domain::ids::CodeId, at: i64) -> Option<Life> {
    let mut timeline = Timeline::new();
    for commit in commits.iter().filter(|commit| commit.commit.decided_at <= at) {
        let events = folded_events(commit).expect("events");
        timeline.fold(&projected(commit, &events)).expect("folded");
    }
    match timeline.life(code_id)?.status_at_instant(Timestamp(at)) {
        Status::Issued { life, .. } => Some(life),
        _ => None,
    }
}
