//! One part of the folder is an older copy, or is missing together with the manifest that requires it.

use citycode_testkit::IdNumbers;
use serde_json::json;

use super::{City, issue, token};
use crate::folders::copy_folder;

/// Has a code checked, which leaves a scan record once the server has stopped.
async fn scan_once(city: &City, code: &str) {
    let server = city.start().await;
    assert_eq!(server.decision(code).await, "admit/ok");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r20_older_scan_records_are_refused_until_the_loss_is_accepted() {
    let city = City::new();
    let person = IdNumbers::new(76).aged(40, jiff::civil::date(2026, 1, 1));
    let server = city.start().await;
    server.register(&person).await;
    let code = issue(&server, &person).await;
    server.stop().await;
    scan_once(&city, token(&code)).await;
    let (scans, older) = (city.data.join("scans"), city.aside("scans"));
    copy_folder(&scans, &older);
    scan_once(&city, token(&code)).await;
    let newest = city.aside("newest");
    std::fs::rename(&scans, &newest).expect("aside");
    copy_folder(&older, &scans);

    let said = city.refused(&[]).await;
    let accept = format!("--accept-loss {}", city.log_id());
    assert!(
        said.contains("the part `scans` is older than the mark") && said.contains(&accept),
        "{said}"
    );
    assert!(said.contains("the records of 1 writes"), "{said}");
    let said = city
        .refused(&["--begin-anew", &format!("scans={}", city.log_id())])
        .await;
    assert!(said.contains("is intact"), "{said}");
    // The newest copy is accepted.
    std::fs::remove_dir_all(&scans).expect("removed");
    copy_folder(&newest, &scans);
    city.start().await.stop().await;

    std::fs::remove_dir_all(&scans).expect("removed");
    copy_folder(&older, &scans);
    let flags = ["--accept-loss", &city.log_id()];
    let server = city.start_with(&flags).await;
    assert!(server.process.said().contains("SCAN RECORDS ARE OLDER"));
    server.stop().await;
    assert!(city.refused(&flags).await.contains("nothing is lost"));
    scan_once(&city, token(&code)).await;
    city.start().await.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r20_scan_records_that_are_lost_with_the_manifest_are_detected() {
    let city = City::new();
    let person = IdNumbers::new(77).aged(40, jiff::civil::date(2026, 1, 1));
    let server = city.start().await;
    server.register(&person).await;
    let code = issue(&server, &person).await;
    assert_eq!(server.decision(token(&code)).await, "admit/ok");
    server.stop().await;
    let anew = format!("scans={}", city.log_id());
    std::fs::remove_file(city.data.join("manifest.toml")).expect("removed");
    std::fs::remove_dir_all(city.data.join("scans")).expect("removed");
    let said = city.refused(&[]).await;
    assert!(
        said.contains("the part `scans` of this data folder is missing") && said.contains(&anew),
        "{said}"
    );
    assert!(!city.data.join("scans/scans.redb").exists(), "records were made");
    city.start_with(&["--begin-anew", &anew]).await.stop().await;
    // Recreated records have fewer writes than the old mark, which is not a loss any more.
    city.start().await.stop().await;
    scan_once(&city, token(&code)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r28_a_vault_whose_files_are_from_different_times_is_refused() {
    let city = City::new();
    let mut numbers = IdNumbers::new(78);
    let day = jiff::civil::date(2026, 1, 1);
    let (kept, erased) = (numbers.aged(40, day), numbers.aged(41, day));
    let server = city.start().await;
    server.register(&kept).await;
    server.register(&erased).await;
    let code = issue(&server, &kept).await;
    server.stop().await;
    let (vault, older) = (city.data.join("vault"), city.aside("older"));
    copy_folder(&vault, &older);
    let server = city.start().await;
    server.post("erase", json!({ "id_number": erased })).await;
    server.stop().await;
    let newest = city.aside("newest");
    copy_folder(&vault, &newest);

    for (file, other) in [("vault.keys", "vault.redb"), ("vault.redb", "vault.keys")] {
        std::fs::copy(older.join(file), vault.join(file)).expect("an older copy");
        let said = city.refused(&[]).await;
        let what = format!("{file} is older than {other}");
        let anew = format!("--begin-anew vault={}", city.log_id());
        assert!(
            said.contains("the files of the part `vault` are copies from different times")
                && said.contains(&what)
                && said.contains(&anew),
            "{said}"
        );
        std::fs::copy(newest.join(file), vault.join(file)).expect("the newest copy");
    }
    let server = city.start().await;
    assert_eq!(server.decision(token(&code)).await, "admit/ok");
    server.stop().await;
    std::fs::copy(older.join("vault.keys"), vault.join("vault.keys")).expect("an older copy");
    let anew = format!("vault={}", city.log_id());
    let server = city.start_with(&["--begin-anew", &anew]).await;
    assert_eq!(server.decision(token(&code)).await, "refuse/suspended");
    server.stop().await;
    city.start().await.stop().await;
}
