//! Tests of R28: what an erasure leaves on the servers' disks, and that an erased person cannot reappear.

use citycode_testkit::{NatsCluster, NatsServer, eventually};
use citycode_vault::Vault as _;
use futures::future::join_all;

use crate::fixture::{
    NAME, PATIENCE, answered, config, connected, first_page, holder, holds, number, on_disk, on_stream, open, people,
    person, versions,
};

#[tokio::test(flavor = "multi_thread")]
async fn r28_after_an_erasure_the_disk_contains_only_the_others_of_the_page() {
    let server = NatsServer::start().await;
    let vault = open(&config(vec![server.url()], 1)).await;
    people(&vault, 0..12).await;
    let before = versions(&server).await;
    let disk = on_disk(&server);
    assert!(
        before.iter().all(|version| holds(&disk, version)),
        "the test looks in the right place"
    );
    for plain in [NAME.as_bytes(), number(3).as_bytes(), &holder(1, 3).0] {
        assert!(!disk.contain_run_of(plain, plain.len()), "in the clear");
    }
    // Several concurrent erasures, as by the caller and the follower of the log, and a repeated one.
    let second = open(&config(vec![server.url()], 1)).await;
    for erased in join_all([&vault, &second, &vault].map(|vault| vault.erase(holder(1, 3)))).await {
        erased.unwrap();
    }
    vault.erase(holder(1, 3)).await.unwrap();
    let after = versions(&server).await;
    assert!(after.len() <= 8 + 3, "one version per page, and keys: {}", after.len());
    let gone: Vec<_> = before.iter().filter(|version| !after.contains(version)).collect();
    assert!(gone.len() >= 2, "both pages of the person were rewritten");
    let disk = on_disk(&server);
    assert!(
        gone.iter().all(|version| !holds(&disk, version)),
        "an old version is on the disk"
    );
    assert_eq!(vault.find(&number(3)).await.unwrap(), None);
    assert!(vault.open(holder(1, 3)).await.unwrap().is_none());
    for serial in (0..12).filter(|serial| *serial != 3) {
        assert_eq!(vault.find(&number(serial)).await.unwrap(), Some(holder(1, serial)));
        assert_eq!(*vault.open(holder(1, serial)).await.unwrap().unwrap().name, NAME);
    }
    // The person may register again, as a new holder.
    let again = vault.find_or_create(&number(3), holder(5, 3), person()).await.unwrap();
    assert!(again.created && again.holder == holder(5, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn r28_after_an_erasure_no_stream_file_of_three_servers_has_the_persons_pages() {
    let cluster = NatsCluster::start().await;
    let vault = open(&config(cluster.urls(), 3)).await;
    people(&vault, 0..12).await;
    let before = versions(&cluster.servers()[0]).await;
    for server in cluster.servers() {
        eventually("every server has every page", PATIENCE, || async {
            let disk = on_stream(server);
            before.iter().all(|version| holds(&disk, version))
        })
        .await;
    }
    answered("the person is erased", async || vault.erase(holder(1, 3)).await).await;
    let after = versions(&cluster.servers()[0]).await;
    let gone: Vec<_> = before.iter().filter(|version| !after.contains(version)).collect();
    assert!(gone.len() >= 2, "both pages of the person were rewritten");
    for server in cluster.servers() {
        eventually("every server overwrites them", PATIENCE, || async {
            let disk = on_stream(server);
            gone.iter().all(|version| !holds(&disk, version))
        })
        .await;
    }
}

/// A process that read the index before an erasure and writes after it; the test restores the old index page.
#[tokio::test(flavor = "multi_thread")]
async fn r28_an_erased_holder_does_not_reappear_through_an_older_read_of_the_index() {
    let server = NatsServer::start().await;
    let vault = open(&config(vec![server.url()], 1)).await;
    vault.find_or_create(&number(1), holder(1, 1), person()).await.unwrap();
    let client = async_nats::connect(server.url()).await.unwrap();
    let index = first_page(&client, "i").await;
    vault.erase(holder(1, 1)).await.unwrap();
    let put_back = citycode_jetstream::api::request(&client, index.subject, None, index.payload).await;
    put_back.unwrap();
    assert_eq!(
        vault.find(&number(1)).await.unwrap(),
        Some(holder(1, 1)),
        "the older read"
    );
    // The erased holder id itself is the candidate too.
    let again = vault.find_or_create(&number(1), holder(1, 1), person()).await.unwrap();
    assert!(again.created && again.holder != holder(1, 1));
    assert!(vault.open(holder(1, 1)).await.unwrap().is_none());
    assert_eq!(vault.find(&number(1)).await.unwrap(), Some(again.holder));
    assert!(vault.open(again.holder).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn leftovers_of_a_crash_are_completed_or_swept() {
    let server = NatsServer::start().await;
    let vault = open(&config(vec![server.url()], 1)).await;
    vault.find_or_create(&number(1), holder(1, 1), person()).await.unwrap();
    vault.find_or_create(&number(2), holder(1, 2), person()).await.unwrap();
    // A writer that crashed right after its write left a superseded version that nobody overwrote.
    let client = connected(vec![server.url()]).await;
    let pages = versions(&server).await.len();
    let page = first_page(&client, "p").await;
    let again = citycode_jetstream::api::request(&client, page.subject.clone(), None, page.payload.clone()).await;
    again.unwrap();
    assert_eq!(versions(&server).await.len(), pages + 1);
    vault.sweep().await.unwrap();
    assert_eq!(versions(&server).await.len(), pages);
    assert!(vault.open(holder(1, 1)).await.unwrap().is_some());
    assert!(vault.open(holder(1, 2)).await.unwrap().is_some());
    // A creator that crashed between its two writes left an index entry without a record.
    let (first, second) = (number(1), number(2));
    for subject in [
        "$KV.CC_VAULT.p.0000",
        "$KV.CC_VAULT.p.0001",
        "$KV.CC_VAULT.p.0002",
        "$KV.CC_VAULT.p.0003",
    ] {
        let body = serde_json::json!({ "last_by_subj": subject });
        let message = citycode_jetstream::api::get_from_leader(&client, "KV_CC_VAULT", &body)
            .await
            .unwrap();
        if let Some(message) = message {
            let body = serde_json::json!({ "seq": message.sequence });
            let _: serde_json::Value = citycode_jetstream::api::ask(&client, "STREAM.MSG.DELETE.KV_CC_VAULT", &body)
                .await
                .unwrap();
        }
    }
    assert!(vault.open(holder(1, 1)).await.unwrap().is_none());
    for (number, holder) in [(&first, holder(1, 1)), (&second, holder(1, 2))] {
        let found = vault
            .find_or_create(number, self::holder(8, 8), person())
            .await
            .unwrap();
        assert!(found.holder == holder && !found.created);
        assert!(vault.open(holder).await.unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mark_of_erasures_changes_by_compare_and_swap() {
    let server = NatsServer::start().await;
    let config = config(vec![server.url()], 1);
    let (first, second) = (open(&config).await, open(&config).await);
    assert_eq!(first.erased_up_to().await.unwrap(), None);
    assert!(first.note_erased_up_to(None, &[3, 4]).await.unwrap());
    assert!(
        first.note_erased_up_to(None, &[3, 4]).await.unwrap(),
        "the same mark again"
    );
    assert!(
        !second.note_erased_up_to(None, &[9, 9]).await.unwrap(),
        "another writer was faster"
    );
    assert_eq!(second.erased_up_to().await.unwrap(), Some(vec![3, 4]));
    assert!(second.note_erased_up_to(Some(&[3, 4]), &[5, 4]).await.unwrap());
    assert_eq!(first.erased_up_to().await.unwrap(), Some(vec![5, 4]));
    assert_eq!(versions(&server).await.len(), 3 + 1, "no older mark remains");
}
