//! Changes of the stream of queries by somebody with access to the disk and to all keys: the check of the log finds them
//! by the digests in the log.

use std::path::{Path, PathBuf};

use citycode_audit::Observer;
use citycode_domain::event::Event;
use citycode_query_stream::{Query, QueryKind};
use citycode_wire::proto::audit::v1 as proto;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::city::City;

const QUERIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("queries-1");
/// Queries of the test; the last two have a digest of their own.
const RECORDED: u64 = 9;
const FIRST_SEALED: u64 = 7;

type Records = Vec<(u64, Vec<u8>)>;

fn file(city: &City) -> PathBuf {
    city.folder.path().join("queries/queries.redb")
}

fn read(file: &Path) -> Records {
    let database = Database::open(file).expect("opens");
    let transaction = database.begin_read().expect("reads");
    let table = transaction.open_table(QUERIES).expect("a table");
    let all = table.iter().expect("reads").map(|entry| {
        let (sequence, record) = entry.expect("an entry");
        (sequence.value(), record.value().to_vec())
    });
    all.collect()
}

fn write(file: &Path, records: &Records) {
    let database = Database::open(file).expect("opens");
    let transaction = database.begin_write().expect("writes");
    {
        let mut table = transaction.open_table(QUERIES).expect("a table");
        table.retain(|_, _| false).expect("emptied");
        for (sequence, record) in records {
            table.insert(sequence, record.as_slice()).expect("written");
        }
    }
    transaction.commit().expect("committed");
}

/// Records queries and puts their digests into the log, as the task of a running city does.
async fn record_and_seal(city: &mut City) {
    let queries = city.queries();
    let mut next = 1;
    for number in 1..=RECORDED {
        let query = Query {
            asked_at: city.time(),
            asker: "https://id.example auditor-1",
            roles: &["auditor".to_owned()],
            kind: QueryKind::Explain,
            rows: number,
            purpose: "complaint 17",
            holder: None,
        };
        assert_eq!(queries.record(&query).await.expect("recorded"), number);
        if number == FIRST_SEALED || number == RECORDED {
            let sealed = queries.digest_from(next).await.expect("read").expect("a digest");
            next = sealed.first + u64::from(sealed.count);
            city.append("query-digests", Event::QueriesSealed(sealed)).await;
        }
    }
    assert_eq!(
        queries.digest_from(next).await.expect("read"),
        None,
        "all have a digest"
    );
}

/// Counts the reports of progress.
struct Counting(usize);

impl Observer for Counting {
    fn progress(&mut self, _: proto::AuditProgress) -> bool {
        self.0 += 1;
        true
    }
}

/// What the check of the log says of queries: the number of queries that agree, faults, and the first one's detail.
async fn checked(city: &City) -> (u64, u64, String) {
    let audit = city.audit().await;
    let mut reports = Counting(0);
    let result = audit.check_log(None, &mut reports).await.expect("checked");
    // The log is short.
    assert_eq!(
        reports.0, 3,
        "before and after the index is read, and with the first digest"
    );
    assert!(result.faults.iter().all(|fault| fault.check == "queries"), "{result:?}");
    let fault = result.faults.into_iter().next();
    let (count, detail) = fault.map_or_else(Default::default, |fault| (fault.count, fault.detail));
    (result.queries, count, detail)
}

type Change = fn(&mut Records);

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_removed_changed_or_moved_is_found_by_the_digests_in_the_log() {
    let mut city = City::month(32).await;
    record_and_seal(&mut city).await;
    assert_eq!(checked(&city).await, (RECORDED, 0, String::new()));
    let changed = "the queries 1 to 7 are not those whose digest is in the log";
    // Queries that still agree, digests that do not, and what is said of the first one.
    let changes: [(&str, (u64, u64, &str), Change); 10] = [
        ("a removed query", (2, 1, "query 4 is missing"), |records| {
            drop(records.remove(3))
        }),
        ("the first query removed", (2, 1, "query 1 is missing"), |records| {
            drop(records.remove(0))
        }),
        ("the last query removed", (7, 1, "query 9 is missing"), |records| {
            drop(records.pop())
        }),
        ("all queries removed", (0, 2, "query 1 is missing"), Vec::clear),
        (
            "a removed query, and the later ones moved up",
            (0, 2, changed),
            |records| {
                records.remove(3);
                (1..)
                    .zip(records.iter_mut())
                    .for_each(|(sequence, record)| record.0 = sequence);
            },
        ),
        ("a changed name", (2, 1, changed), |records| {
            let text = String::from_utf8(records[2].1.clone()).expect("JSON");
            records[2].1 = text.replace("auditor-1", "auditor-2").into_bytes();
        }),
        ("a changed seal", (2, 1, changed), |records| {
            let at = records[2].1.len() - 5;
            records[2].1[at] = if records[2].1[at] == b'A' { b'B' } else { b'A' };
        }),
        ("two queries in another order", (2, 1, changed), |records| {
            let one = std::mem::take(&mut records[1].1);
            records[1].1 = std::mem::replace(&mut records[5].1, one);
        }),
        ("a query copied over another", (2, 1, changed), |records| {
            records[1].1 = records[2].1.clone()
        }),
        ("an inserted query", (0, 2, changed), |records| {
            let copied = records[3].clone();
            records.insert(3, copied);
            (1..)
                .zip(records.iter_mut())
                .for_each(|(sequence, record)| record.0 = sequence);
        }),
    ];
    let sound = read(&file(&city));
    for (what, (agree, digests, said), change) in changes {
        let mut records = sound.clone();
        change(&mut records);
        write(&file(&city), &records);
        let (found_agree, found, detail) = checked(&city).await;
        assert_eq!((found_agree, found, detail.as_str()), (agree, digests, said), "{what}");
    }
    // Without the keys of the day, too.
    let mut records = sound.clone();
    records[2].1 = records[3].1.clone();
    write(&file(&city), &records);
    city.queries().forget_before(u32::MAX).await.expect("forgotten");
    assert_eq!(checked(&city).await, (2, 1, changed.to_owned()));
    write(&file(&city), &sound);
    assert_eq!(checked(&city).await, (RECORDED, 0, String::new()));
}

/// An older copy of the stream, as after a restore: later queries are missing, and those that take their numbers get
/// digests of their own.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_stream_is_found() {
    let mut city = City::month(33).await;
    record_and_seal(&mut city).await;
    let mut older = read(&file(&city));
    older.truncate(8);
    write(&file(&city), &older);
    assert_eq!(checked(&city).await, (7, 1, "query 9 is missing".to_owned()));
    let queries = city.queries();
    assert!(queries.has_from(8).await.expect("read") && !queries.has_from(9).await.expect("read"));
    assert!(
        queries.list(1, 20).await.expect("a list").len() == 8,
        "what is there can be read"
    );
}
