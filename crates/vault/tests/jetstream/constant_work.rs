//! Tests that a lookup reveals neither by its requests nor by their number whether a person is registered
//! (R31).

use citycode_testkit::NatsServer;
use citycode_vault::Vault as _;
use citycode_vault::jetstream::{JetStreamVault, NewVault, VaultKey, VaultKeys, index_key, provision};
use futures::StreamExt as _;

use crate::fixture::{config, holder, key, master, new, number, people, random};

#[tokio::test(flavor = "multi_thread")]
async fn r31_a_known_and_an_unknown_person_are_looked_up_by_the_same_requests() {
    let server = NatsServer::start().await;
    let config = config(vec![server.url()], 1);
    // So many pages that most were never written.
    provision(&config, &NewVault { pages: 4_096, ..new() }).await.unwrap();
    let issuer = JetStreamVault::open(&config, &master(), random()).await.unwrap();
    people(&issuer, 0..8).await;
    let of_index = VaultKeys::only(VaultKey::Index(index_key(&key(7))));
    let verifier = JetStreamVault::open(&config, &of_index, random()).await.unwrap();
    let watching = async_nats::connect(server.url()).await.unwrap();
    let mut questions = watching.subscribe("$JS.API.>").await.unwrap();
    watching.flush().await.unwrap();
    for (vault, expected) in [(&verifier, 2), (&issuer, 1)] {
        for serial in 0..16 {
            let known = vault.find_evenly(&number(serial)).await.unwrap();
            assert_eq!(known, (serial < 8).then(|| holder(1, serial)), "{serial}");
            // Marks the end of this lookup's requests.
            watching.publish("$JS.API.END", "".into()).await.unwrap();
            let mut asked = Vec::new();
            loop {
                let question = questions.next().await.unwrap();
                if question.subject.as_str() == "$JS.API.END" {
                    break;
                }
                let page = question.subject.rsplit('.').next().unwrap_or_default().len();
                asked.push((question.subject.len(), page, question.payload.len()));
            }
            assert_eq!(asked.len(), expected, "{serial}: {asked:?}");
            assert!(asked.iter().all(|question| *question == asked[0]), "{asked:?}");
        }
    }
}
