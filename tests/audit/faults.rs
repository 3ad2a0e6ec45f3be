//! Audits of a city after something went wrong that is no manipulation, and audits that end early.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use citycode_audit::Audit;
use citycode_audit::grpc::AuditGrpc;
use citycode_auth::{Caller, CallerId, Role};
use citycode_domain::admission::Reason;
use citycode_domain::time::Timestamp;
use citycode_log_folds::{folded_events, projected};
use citycode_replay::{Timeline, recompute};
use citycode_scan_records::{Batches, RecordArchive, RecordsError};
use citycode_testkit::eventually;
use citycode_wire::proto::audit::v1::RunRequest;
use citycode_wire::proto::audit::v1::audit_service_server::AuditService as _;
use citycode_wire::request::Question;
use tonic::{Request, Response, Status};

use crate::agreement::{recorded, run, whole_month};
use crate::city::{City, START};

const PATIENCE: Duration = Duration::from_secs(30);

fn auditor() -> Caller {
    Caller::new(CallerId::new("test", "auditor").expect("an id"), vec![Role::Auditor])
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    let permissions = std::fs::metadata(from).expect("a folder").permissions();
    std::fs::set_permissions(to, permissions).expect("set");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_a_restore_lost_are_missing_and_later_ones_are_not_altered() {
    let mut city = City::month(21).await;
    let backup = tempfile::tempdir().expect("a folder");
    city.while_closed(|scans| copy(scans, backup.path())).await;
    city.note("after the backup").await;
    city.while_closed(|scans| {
        std::fs::remove_dir_all(scans).expect("removed");
        copy(backup.path(), scans);
    })
    .await;
    city.note("after the restore").await;
    let result = run(&city.audit().await).await;
    assert_eq!(result.altered, [], "{result:?}");
    assert_eq!(
        (result.missing, result.extra, result.differ_total),
        (1, 0, 0),
        "{result:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn r25_a_verdict_outside_of_the_signing_keys_window_is_not_recomputed_as_admitted() {
    let city = City::month(22).await;
    let mut timeline = Timeline::new();
    for commit in city.commits().await {
        let events = folded_events(&commit).expect("events");
        timeline.fold(&projected(&commit, &events)).expect("folded");
    }
    let retired = |key_id| {
        let keys = timeline.keys().latest();
        keys.get(key_id).and_then(|key| key.verifies_until)
    };
    let mut records = recorded(&city.audit().await).await.into_iter();
    let (mut record, until) = records
        .find_map(|record| {
            let life = timeline.life(record.scan.code_id?)?;
            let keys = timeline.keys().change_up_to(record.scan.basis?.keys_sequence)?;
            let until = keys.keyring.get(life.key_id)?.verifies_until?;
            Some((record, until))
        })
        .expect("a code of a retired key was shown");
    let life = timeline.life(record.scan.code_id.expect("a code")).expect("a life");
    assert_eq!(retired(life.key_id), Some(until));
    let recomputed = recompute(&record, &timeline).expect("recomputed");
    assert_eq!(recomputed.verdict.reason, record.scan.reason);
    record.scan.at = until.0;
    let recomputed = recompute(&record, &timeline).expect("recomputed");
    assert_eq!(recomputed.verdict.reason, Reason::BadSignature);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_accepted_loss_of_the_log_what_rested_on_it_has_a_reason_of_its_own() {
    let mut city = City::month(23).await;
    let before = run(&city.audit().await).await;
    let lost = city.lose_since(Timestamp(START + 20 * 86_400)).await;
    let audit = city.audit().await;
    let result = run(&audit).await;
    assert_eq!((result.differ_total, &result.differ[..]), (0, &[][..]), "{result:?}");
    assert_eq!(
        (result.missing, result.extra, &result.altered[..]),
        (0, 0, &[][..]),
        "{result:?}"
    );
    let count = |why: &str| result.not_recomputable.get(why).copied().unwrap_or(0);
    assert!(count("lost_changes") > 0 && count("lost_digest") > 0, "{result:?}");
    assert_eq!(
        result.recomputed + count("lost_changes"),
        before.recomputed,
        "{result:?}"
    );

    // The records of the lost period are not explained by what has the positions now.
    let mut reasons = std::collections::BTreeSet::new();
    for record in recorded(&audit).await.iter().rev().take(60) {
        let question = Question::Scan {
            device: &record.scan.device,
            scan_id: &record.scan.scan_id,
            day: None,
        };
        let answer = audit
            .explain(&auditor(), "complaint 17", question)
            .await
            .expect("an explanation");
        assert_ne!(answer.agrees, Some(false), "{record:?} {answer:?}");
        reasons.insert(answer.not_recomputable);
    }
    assert!(reasons.contains("lost_changes"), "{reasons:?}");

    // A code of the lost period is revoked, as verifiers say, and not unknown.
    let at = START + 35 * 86_400;
    let mut found = std::collections::BTreeMap::<i32, usize>::new();
    for code in &lost {
        let place = "staffed";
        let answer = audit
            .explain(&auditor(), "complaint 17", Question::Code { code, place, at })
            .await;
        let verdict = answer.expect("an explanation").recomputed.expect("a verdict");
        *found.entry(verdict.reason).or_default() += 1;
    }
    let value = |reason| citycode_wire::verdict::reason_value(reason) as i32;
    assert!(found.contains_key(&value(Reason::Revoked)), "{found:?}");
    assert!(!found.contains_key(&value(Reason::UnknownCode)), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_in_the_log_twice_is_reported_and_everything_else_is_audited() {
    let mut city = City::month(24).await;
    let whole = run(&city.audit().await).await;
    assert_eq!((whole.log_faults_total, &whole.log_faults[..]), (0, &[][..]));
    city.issue_again().await;
    let result = run(&city.audit().await).await;
    assert_eq!((result.log_faults_total, result.log_faults.len()), (1, 1), "{result:?}");
    assert!(result.log_faults[0].what.contains("issued twice"), "{result:?}");
    let last = city.commits().await.into_iter().filter_map(|commit| {
        let position = commit.position;
        (commit.commit.stream.as_str().starts_with("holder-")).then_some((commit.commit.decided_at, position))
    });
    let positions: Vec<_> = last.map(|(_, position)| position.parts()).collect();
    let fault = result.log_faults[0].position.expect("a position");
    assert!(positions.contains(&(u16::try_from(fault.partition).expect("a partition"), fault.sequence)));
    assert_eq!((result.agree, result.recomputed), (whole.agree, whole.recomputed));
}

/// Records whose reading never ends; counts the reads that were begun and those that were given up.
#[derive(Default)]
struct Endless {
    begun: AtomicUsize,
    ended: Arc<AtomicUsize>,
}

struct Ended(Arc<AtomicUsize>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl RecordArchive for Endless {
    async fn days(&self) -> Result<Vec<u32>, RecordsError> {
        Ok(vec![u32::try_from(START / 86_400).expect("a day")])
    }

    async fn batches(&self, _day: u32, _from: u64) -> Result<Batches, RecordsError> {
        let _ended = Ended(Arc::clone(&self.ended));
        self.begun.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_ends_when_its_caller_leaves_and_the_next_one_begins() {
    let city = City::month(25).await;
    let records = Arc::new(Endless::default());
    let audit = Audit {
        records: Some(Arc::clone(&records) as _),
        ..city.audit().await
    };
    let service = AuditGrpc(Arc::new(audit));
    for number in 1..=2 {
        let period = whole_month();
        let mut request = Request::new(RunRequest {
            purpose: "monthly audit".into(),
            from: period.from,
            to: period.to,
        });
        request.extensions_mut().insert(Arc::new(auditor()));
        let updates: Result<Response<_>, Status> = service.run(request).await;
        let updates = updates.expect("no other audit is running");
        eventually("it reads records", PATIENCE, || async {
            records.begun.load(Ordering::SeqCst) == number
        })
        .await;
        drop(updates);
        eventually("it ends", PATIENCE, || async {
            records.ended.load(Ordering::SeqCst) == number
        })
        .await;
    }
}
