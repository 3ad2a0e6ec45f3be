//! Tests of R3 across issuers: one person is one holder.

use std::sync::atomic::{AtomicU32, Ordering};

use citycode_testkit::{NatsCluster, NatsServer};
use citycode_vault::Vault as _;
use futures::future::join_all;

use crate::fixture::{NAME, answered, config, holder, number, open, person};

async fn one_person_is_one_holder(urls: Vec<String>, replicas: u8) {
    let config = config(urls, replicas);
    let vaults = join_all([0, 1].map(|_| open(&config))).await;
    // Four concurrent callers for each of forty people, on two processes' vaults.
    let calls = (0..40u16).flat_map(|serial| (0..4u8).map(move |caller| (serial, caller)));
    let found = join_all(calls.map(|(serial, caller)| {
        let vault = &vaults[usize::from(caller % 2)];
        async move {
            let calls = AtomicU32::new(0);
            let found = answered("a person is created", async || {
                calls.fetch_add(1, Ordering::SeqCst);
                vault
                    .find_or_create(&number(serial), holder(caller, serial), person())
                    .await
            })
            .await;
            (serial, found, calls.into_inner())
        }
    }))
    .await;
    for serial in 0..40 {
        let of_one: Vec<_> = found.iter().filter(|(of, ..)| *of == serial).collect();
        let first = of_one[0].1.holder;
        assert!(of_one.iter().all(|(_, found, _)| found.holder == first));
        let created = of_one.iter().filter(|(_, found, _)| found.created).count();
        // A call without a response may have created the holder, and its repeat finds it.
        let unanswered = of_one.iter().any(|(.., calls)| *calls > 1);
        assert!(created == 1 || created == 0 && unanswered, "{created} made {serial}");
        for vault in &vaults {
            let holder = answered("a person is found", async || vault.find(&number(serial)).await).await;
            assert_eq!(holder, Some(first));
            let file = answered("a person's record opens", async || vault.open(first).await)
                .await
                .unwrap();
            assert_eq!(*file.name, NAME);
            assert_eq!(&*file.id_number, number(serial).as_bytes());
            assert!(file.disability);
        }
    }
    let nobody = answered("nobody is found", async || vaults[0].find(&number(900)).await).await;
    assert_eq!(nobody, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn r03_one_person_is_one_holder_on_one_server() {
    let server = NatsServer::start().await;
    one_person_is_one_holder(vec![server.url()], 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r03_one_person_is_one_holder_on_three_servers_also_when_one_dies() {
    let mut servers = NatsCluster::start().await;
    let urls = servers.urls();
    one_person_is_one_holder(urls.clone(), 3).await;
    let vault = open(&config(urls, 3)).await;
    servers.servers_mut()[0].kill9().await;
    answered("the vault is available again", async || {
        vault.find_or_create(&number(50), holder(9, 50), person()).await
    })
    .await;
    let holder = answered("a person is found", async || vault.find(&number(7)).await).await;
    assert!(holder.is_some());
}
