//! Snapshots save a replay and never change an answer.

use citycode_domain::admission::Reason;

use crate::city::City;

#[tokio::test]
async fn a_snapshot_gives_the_same_answers_and_following_goes_on_behind_it() {
    let city = City::new().await;
    let (before, path) = (city.issue("sampling", 1).await, city.folder.path().join("status"));
    city.verifier.save_snapshot(&path).unwrap();
    let after = city.issue("sampling", 2).await;
    let city = city.restart().await;
    assert_eq!(city.reason("sampling_desk", &before.text), Reason::Ok);
    assert_eq!(city.reason("sampling_desk", &after.text), Reason::Ok);
}

#[tokio::test]
async fn a_damaged_snapshot_is_thrown_away_and_the_log_replayed() {
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
