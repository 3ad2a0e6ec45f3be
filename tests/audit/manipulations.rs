//! Changes of the scan records by somebody with access to the disk and to the key of the day.

use std::path::Path;
use std::sync::Arc;

use citycode_domain::admission::Reason;
use citycode_scan_records::embedded::EmbeddedScanRecords;
use citycode_scan_records::{ScanNote, ScanRecords as _};
use citycode_service_kit::entropy::{Entropy, SeededEntropy};
use citycode_wire::proto::audit::v1 as proto;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::agreement::{recorded, run};
use crate::city::City;

/// Day and number of a batch.
type Place = (u32, u64);

const SCANS: TableDefinition<'_, Place, &[u8]> = TableDefinition::new("scans-5");

/// A batch and the bytes that take its place.
type Replaced<'a> = (Place, &'a [u8]);

/// The sealed batches of a file.
fn batches(scans: &Path) -> Vec<(Place, Vec<u8>)> {
    let database = Database::open(scans.join("scans.redb")).expect("opens");
    let transaction = database.begin_read().expect("reads");
    let table = transaction.open_table(SCANS).expect("a table");
    let all = table.iter().expect("reads");
    all.map(|entry| {
        let (place, sealed) = entry.expect("an entry");
        (place.value(), sealed.value().to_vec())
    })
    .collect()
}

/// Writes one batch, or removes it.
fn replace(scans: &Path, place: Place, sealed: Option<&[u8]>) {
    let database = Database::open(scans.join("scans.redb")).expect("opens");
    let transaction = database.begin_write().expect("writes");
    {
        let mut table = transaction.open_table(SCANS).expect("a table");
        match sealed {
            Some(sealed) => drop(table.insert(place, sealed).expect("written")),
            None => drop(table.remove(place).expect("removed")),
        }
    }
    transaction.commit().expect("committed");
}

/// A batch with these notes, sealed under the key of the day as this city's records seal it.
async fn seal_anew(scans: &Path, day: u32, notes: &[ScanNote<Arc<str>>]) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let forger = folder.path().join("scans");
    let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(99));
    let records = EmbeddedScanRecords::open(&forger, entropy).expect("records");
    let key = format!("keys/{day}.key");
    std::fs::copy(scans.join(&key), forger.join(&key)).expect("the key of the day");
    for note in notes {
        records.note(&ScanNote {
            at: note.at,
            place: &*note.place,
            device: &*note.device,
            scan_id: &*note.scan_id,
            code_id: note.code_id,
            reason: note.reason,
            position: note.position,
            age_ms: note.age_ms,
            basis: note.basis,
        });
    }
    drop(records);
    let forged = batches(&forger);
    assert_eq!(forged.len(), 1, "one batch");
    forged[0].1.clone()
}

/// The records of one batch.
async fn notes_of(city: &City, place: Place) -> Vec<ScanNote<Arc<str>>> {
    let audit = city.audit().await;
    let archive = audit.records.as_ref().expect("records");
    let read = archive.batches(place.0, place.1 - 1).await.expect("batches");
    let records = read
        .batches
        .into_iter()
        .next()
        .expect("a batch")
        .records
        .expect("whole");
    records.into_iter().map(|record| record.scan).collect()
}

fn causes(result: &proto::RunResult) -> Vec<&str> {
    result
        .differ
        .iter()
        .map(|difference| difference.cause.as_str())
        .collect()
}

/// The largest batch of the days before the last one, on which a batch need not have a digest yet.
async fn place_of_a_large_batch(city: &mut City) -> Place {
    let mut all = Vec::new();
    city.while_closed(|scans| all = batches(scans)).await;
    let last_day = all.iter().map(|((day, _), _)| *day).max();
    all.retain(|((day, _), _)| Some(*day) < last_day);
    let largest = all.into_iter().max_by_key(|(_, sealed)| sealed.len());
    largest.expect("a batch").0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_rewritten_consistently_is_found_by_the_digest_in_the_log() {
    let mut city = City::month(11).await;
    let place = place_of_a_large_batch(&mut city).await;
    let mut notes = notes_of(&city, place).await;
    let changed = notes
        .iter_mut()
        .find(|note| note.reason != Reason::Ok && note.basis.is_some());
    changed.expect("a refusal").reason = Reason::Ok;
    let scans = city.folder.path().join("scans");
    let forged = seal_anew(&scans, place.0, &notes).await;
    city.while_closed(|scans| replace(scans, place, Some(&forged))).await;
    let result = run(&city.audit().await).await;
    assert_eq!(result.altered.len(), 1, "{result:?}");
    let altered = &result.altered[0];
    let numbers = altered.first..altered.first + u64::from(altered.count);
    assert_eq!(altered.day, place.0);
    assert!(numbers.contains(&place.1), "{altered:?}");
    assert!(causes(&result).contains(&"altered_record"), "{result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_batch_is_missing_and_an_added_one_is_extra() {
    let mut city = City::month(12).await;
    let place = place_of_a_large_batch(&mut city).await;
    let notes = notes_of(&city, place).await;
    let forged = seal_anew(&city.folder.path().join("scans"), place.0, &notes[..1]).await;
    let mut kept = Vec::new();
    city.while_closed(|scans| {
        kept = batches(scans)
            .into_iter()
            .find(|(at, _)| *at == place)
            .expect("the batch")
            .1;
        replace(scans, place, None);
    })
    .await;
    let result = run(&city.audit().await).await;
    assert_eq!(
        (result.missing, result.extra, result.altered.len()),
        (1, 0, 0),
        "{result:?}"
    );
    city.while_closed(|scans| {
        replace(scans, place, Some(&kept));
        replace(scans, (place.0, 1_000), Some(&forged));
    })
    .await;
    let result = run(&city.audit().await).await;
    assert_eq!(
        (result.missing, result.extra, result.altered.len()),
        (0, 1, 0),
        "{result:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_swapped_and_copied_batches_are_altered() {
    let mut city = City::month(13).await;
    let mut all = Vec::new();
    city.while_closed(|scans| all = batches(scans)).await;
    let pair = all.windows(2).find(|pair| pair[0].0.0 == pair[1].0.0);
    let [(first, one), (second, two)] = pair.expect("a day with two batches") else {
        unreachable!("a window of two");
    };
    let mut flipped = one.clone();
    *flipped.last_mut().expect("bytes") ^= 1;
    let cut = &one[..one.len() - 1];
    let manipulations: [(&str, &[Replaced<'_>]); 5] = [
        ("a changed byte", &[(*first, &flipped)]),
        ("a truncated batch", &[(*first, cut)]),
        ("an emptied batch", &[(*first, &[])]),
        ("swapped batches", &[(*first, two), (*second, one)]),
        ("a copy of another batch", &[(*first, two)]),
    ];
    for (what, changes) in manipulations {
        city.while_closed(|scans| {
            for (place, sealed) in changes {
                replace(scans, *place, Some(sealed));
            }
        })
        .await;
        let result = run(&city.audit().await).await;
        assert!(!result.altered.is_empty(), "{what}: {result:?}");
        assert!(
            result.altered.iter().all(|altered| altered.day == first.0),
            "{what}: {result:?}"
        );
        city.while_closed(|scans| {
            replace(scans, *first, Some(one));
            replace(scans, *second, Some(two));
        })
        .await;
    }
    let result = run(&city.audit().await).await;
    assert!(result.altered.is_empty() && result.missing == 0, "restored: {result:?}");
    assert!(!recorded(&city.audit().await).await.is_empty());
}
