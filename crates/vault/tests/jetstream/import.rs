//! Tests of importing people from the vault of one process into that of a city: they keep their holders.

use citycode_testkit::NatsServer;
use citycode_vault::Vault as _;
use citycode_vault::embedded::EmbeddedVault;
use citycode_vault::jetstream::TakenOver;

use crate::fixture::{NAME, config, holder, key, number, open, person, random};

#[tokio::test(flavor = "multi_thread")]
async fn imported_people_keep_holder_and_key_and_erased_ones_stay_erased() {
    let folder = tempfile::tempdir().unwrap();
    let of_one = EmbeddedVault::open(folder.path(), &key(9), random()).unwrap();
    for serial in 0..40 {
        let number = number(serial);
        let found = of_one.find_or_create(&number, holder(1, serial), person()).await;
        assert!(found.unwrap().created);
    }
    of_one.erase(holder(1, 39)).await.unwrap();
    let mut holders = of_one.holders().unwrap();
    holders.sort_by_key(|holder| holder.0);
    assert_eq!(holders, (0..39).map(|serial| holder(1, serial)).collect::<Vec<_>>());

    let server = NatsServer::start().await;
    let city = open(&config(vec![server.url()], 1)).await;
    // A person who was registered in the city in the meantime.
    city.find_or_create(&number(38), holder(2, 38), person()).await.unwrap();
    for run in 0..2 {
        for serial in 0..39 {
            let file = of_one.open(holder(1, serial)).await.unwrap().unwrap();
            let taken = city.take_over(holder(1, serial), &file).await.unwrap();
            let wanted = match (serial, run) {
                (38, _) => TakenOver::OtherHolder,
                (0, 1) => TakenOver::Erased,
                _ => TakenOver::Here,
            };
            assert_eq!(taken, wanted, "{serial} in run {run}");
        }
        // Between the runs a person is erased who still is in the older vault.
        city.erase(holder(1, 0)).await.unwrap();
    }
    assert_eq!(city.find(&number(0)).await.unwrap(), None);
    assert_eq!(city.find(&number(38)).await.unwrap(), Some(holder(2, 38)));
    for serial in 1..38 {
        assert_eq!(city.find(&number(serial)).await.unwrap(), Some(holder(1, serial)));
        let before = of_one.open(holder(1, serial)).await.unwrap().unwrap();
        let sealed = before.key.seal(b"here", [1; 12], b"a token");
        let after = city.open(holder(1, serial)).await.unwrap().unwrap();
        assert_eq!(after.key.open(b"here", &sealed).unwrap().as_slice(), b"a token");
        assert_eq!((after.name.as_str(), after.disability), (NAME, true));
        assert_eq!(after.id_number, before.id_number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn erasures_are_applied_again_from_the_start_of_the_log() {
    let server = NatsServer::start().await;
    let city = open(&config(vec![server.url()], 1)).await;
    city.forget_mark().await.unwrap();
    assert_eq!(city.erased_up_to().await.unwrap(), None);
    assert!(city.note_erased_up_to(None, &[3, 4]).await.unwrap());
    for _ in 0..2 {
        city.forget_mark().await.unwrap();
        assert_eq!(city.erased_up_to().await.unwrap(), Some(vec![0, 0]));
    }
}
