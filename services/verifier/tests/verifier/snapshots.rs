//! Snapshots shorten the replay and never change an answer.

use citycode_domain::admission::Reason;
use citycode_domain::time::Timestamp;
use citycode_projection::status::RETENTION_AFTER_EXPIRY_SECONDS;
use citycode_service_kit::clock::{Clock as _, UnixSeconds};
use citycode_verifier::{PresentedCard, Scan, When};

use crate::city::{City, Code, START};

impl City {
    /// The reason of a verdict for the time when the code was new, on the current state.
    async fn reason_then(&self, code: &Code) -> Reason {
        // A proof that begins at the same time as the last one is not newer.
        self.clock.advance(std::time::Duration::from_millis(1));
        self.prove().await;
        let scan = Scan {
            place: self.place("sampling_desk"),
            text: &code.text,
            card: PresentedCard::Absent,
            when: When::At {
                instant: Timestamp(START),
                asked: self.clock.reading(),
            },
        };
        self.verifier.scan(&scan).verdict.reason
    }
}

#[tokio::test]
async fn a_snapshot_yields_the_same_answers_and_the_follower_continues_after_it() {
    let city = City::new().await;
    let (before, path) = (city.issue("sampling", 1).await, city.folder.path().join("status"));
    city.verifier.save_snapshot(&path).unwrap();
    let after = city.issue("sampling", 2).await;
    let city = city.restart().await;
    assert_eq!(city.reason("sampling_desk", &before.text), Reason::Ok);
    assert_eq!(city.reason("sampling_desk", &after.text), Reason::Ok);
}

#[tokio::test]
async fn a_damaged_snapshot_is_discarded_and_the_log_replayed() {
    let city = City::new().await;
    let (code, path) = (city.issue("sampling", 1).await, city.folder.path().join("status"));
    city.verifier.save_snapshot(&path).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let city = city.restart().await;
    assert_eq!(city.reason("sampling_desk", &code.text), Reason::Ok);
    city.verifier.save_snapshot(&path).unwrap();
    let mut foreign = std::fs::read(&path).unwrap();
    foreign[12] ^= 1; // the log's identity begins here
    std::fs::write(&path, foreign).unwrap();
    let city = city.restart().await;
    assert_eq!(city.reason("sampling_desk", &code.text), Reason::Ok);
}

#[tokio::test]
async fn a_list_retires_long_after_its_codes_and_an_expired_code_is_refused_as_before() {
    let city = City::new().await;
    let (code, path) = (city.issue("sampling", 1).await, city.folder.path().join("status"));
    let list = code.issued.code.status.list;
    let facts = city.verifier.status().facts(list).expect("it was leased");
    let due = UnixSeconds(facts.retires_at.plus_seconds(RETENTION_AFTER_EXPIRY_SECONDS).0);

    city.clock.set_wall(due);
    city.verifier.save_snapshot(&path).unwrap();
    assert_eq!(
        city.verifier.status().lists(),
        [list],
        "the log has not reached that time"
    );
    let later = city.issue("sampling", 2).await;
    let lived = later.issued.code.status.list;
    city.clock.set_wall(due.plus(-60));
    city.verifier.save_snapshot(&path).unwrap();
    assert_eq!(city.verifier.status().lists(), [list, lived], "the clock stepped back");
    assert_eq!(city.reason_then(&code).await, Reason::Ok);

    city.clock.set_wall(due);
    city.verifier.save_snapshot(&path).unwrap();
    assert_eq!(city.verifier.status().lists(), [lived]);
    let city = city.restart().await;
    assert_eq!(city.verifier.status().lists(), [lived], "the snapshot was used");
    assert_eq!(city.reason("sampling_desk", &code.text), Reason::Expired);
    assert_eq!(city.reason("sampling_desk", &later.text), Reason::Ok);
    assert_eq!(
        city.reason_then(&code).await,
        Reason::TooStale,
        "no alarm: it may have been issued"
    );

    city.clock.set_wall(UnixSeconds(START));
    let city = city.restart().await;
    assert_eq!(
        city.verifier.status().lists(),
        [list, lived],
        "a list that a fast clock retired is restored from the log"
    );
    assert_eq!(city.reason("sampling_desk", &code.text), Reason::Ok);
}
