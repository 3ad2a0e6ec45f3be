//! Audits of a log that is damaged: the rest is audited, and the result says what was not.

use std::sync::Arc;

use citycode_audit::Audit;
use citycode_event_store::{Position, RecordedCommit};
use citycode_wire::proto::audit::v1 as proto;

use crate::agreement::{Patient, run};
use crate::city::City;
use crate::log_manipulations::{Published, Rows};

/// A change of one row of the log.
type Damage = fn(&mut Rows, usize);

/// The position of a commit in the middle of a partition that has a successor in its bucket.
async fn middle_of(city: &City, partition: u16) -> Position {
    let commits = city.commits().await.into_iter();
    let commits: Vec<_> = commits
        .filter(|commit| commit.position.partition.0 == partition)
        .collect();
    let (_, later) = commits.split_at(commits.len() / 2);
    let has_successor = |commit: &&RecordedCommit| {
        let mut after = later.iter().filter(|other| other.position > commit.position);
        after.any(|other| other.bucket == commit.bucket)
    };
    later
        .iter()
        .find(has_successor)
        .expect("a commit with a successor")
        .position
}

/// An audit of a damaged log, and the check of the log with an index that was made before the damage.
async fn audited(
    city: &City,
    published: &Published,
    at: Position,
    damage: Damage,
) -> (proto::RunResult, proto::CheckLogResult) {
    let path = published.log().join("log.redb");
    let sound = std::fs::read(&path).expect("the log");
    let mut rows = Rows::read(&path);
    let row = (0..rows.rows.len())
        .find(|row| rows.position(*row) == at)
        .expect("the row");
    damage(&mut rows, row);
    rows.write(&path);
    let audit = Audit {
        store: Arc::new(published.open()),
        ..city.audit().await
    };
    let result = run(&audit).await;
    let checked = audit.check_log(None, &mut Patient).await.expect("checked");
    drop(audit);
    std::fs::write(&path, sound).expect("restored");
    (result, checked)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_continues_after_damage_and_says_what_was_not_audited() {
    let city = City::month(34).await;
    let whole = run(&city.audit().await).await;
    let published = Published::of(&city).await;
    let not = |result: &proto::RunResult, why: &str| result.not_recomputable.get(why).copied().unwrap_or(0);
    let damages: [(&str, u16, Damage); 4] = [
        ("an unreadable row", 2, |rows, row| rows.rows[row].1.truncate(30)),
        ("a removed row", 2, |rows, row| rows.remove(row)),
        ("an emptied row", 1, |rows, row| rows.rows[row].1.clear()),
        // The id of its message, in the middle of the hashed bytes.
        ("a commit that its successor does not follow", 2, |rows, row| {
            rows.rows[row].1[8 + 40] ^= 1
        }),
    ];
    for (what, partition, damage) in damages {
        let from = middle_of(&city, partition).await;
        let (result, checked) = audited(&city, &published, from, damage).await;
        assert_eq!(result.unaudited.len(), 1, "{what}: {result:?}");
        let named = result.unaudited[0].from.expect("a position");
        assert_eq!(
            (named.partition, named.sequence),
            (u32::from(from.partition.0), from.sequence.0),
            "{what}: {result:?}"
        );
        assert!(result.log_faults_total >= 1, "{what}: {result:?}");
        assert_eq!(result.scans, whole.scans, "{what}");
        assert_eq!(
            (result.differ_total, &result.differ[..]),
            (0, &[][..]),
            "{what}: {result:?}"
        );
        let unaudited = not(&result, "damaged_log");
        assert!(unaudited > 0, "{what}: {result:?}");
        assert!(result.agree > whole.agree / 4, "{what}: {result:?}");
        assert_eq!(result.agree + unaudited, whole.agree, "{what}: {result:?}");
        assert_eq!((result.missing, result.extra), (0, 0), "{what}: {result:?}");
        // The index has what the log has lost, and nobody is told to delete it.
        assert!(!checked.faults.is_empty(), "{what}");
        for fault in &checked.faults {
            let of = fault.position.expect("a position").partition;
            let is_of_log = ["unreadable", "gap", "foreign", "chain", "event"].contains(&&*fault.check);
            assert!(is_of_log && of == u32::from(partition), "{what}: {fault:?}");
            assert!(!fault.detail.contains("delete the index"), "{what}: {fault:?}");
        }
    }
    let at = middle_of(&city, 2).await;
    let (result, checked) = audited(&city, &published, at, |_, _| ()).await;
    assert_eq!(
        (result.unaudited.len(), result.agree),
        (0, whole.agree),
        "restored: {result:?}"
    );
    assert_eq!(checked.faults, [], "restored");
}
