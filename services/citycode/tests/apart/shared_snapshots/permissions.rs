//! Who may write and read shared snapshots.

use std::time::Duration;

use serde_json::json;

use crate::city::City;
use crate::secured::thief;

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_revocation_writes_snapshots_and_nobody_reads_those_of_others() {
    let city = City::secured().await;
    city.provision().await;
    let revocation = thief(&city, "revocation").await;
    let ask = async |client: &async_nats::Client, subject: &str, body: &str| {
        let asked = client.request(subject.to_owned(), body.to_owned().into());
        let answer = tokio::time::timeout(Duration::from_millis(300), asked)
            .await
            .ok()?
            .ok()?;
        Some(answer)
    };
    for bucket in ["CC_STATUS_SNAPSHOTS", "CC_REGISTER_SNAPSHOTS"] {
        let subject = format!("$O.{bucket}.C.x");
        assert!(
            ask(&revocation, &subject, "a chunk").await.is_some(),
            "revocation writes"
        );
        for user in ["issuer", "verifier", "audit", "archive", "provision"] {
            let client = thief(&city, user).await;
            assert!(
                ask(&client, &subject, "a chunk").await.is_none(),
                "{user} wrote to {bucket}"
            );
            let meta = format!("$O.{bucket}.M.x");
            assert!(ask(&client, &meta, "{}").await.is_none(), "{user} wrote to {bucket}");
            for verb in ["STREAM.PURGE", "STREAM.DELETE", "STREAM.MSG.DELETE"] {
                let verb = format!("$JS.API.{verb}.OBJ_{bucket}");
                assert!(ask(&client, &verb, r#"{"seq":1}"#).await.is_none(), "{user} {verb}");
            }
            let may = match bucket {
                "CC_STATUS_SNAPSHOTS" => user == "verifier",
                _ => user == "issuer",
            };
            let consumer = json!({
                "stream_name": format!("OBJ_{bucket}"),
                "config": { "ack_policy": "none", "deliver_subject": client.new_inbox() },
            });
            // Readers ask from accounts of their own.
            let own = ["issuer", "provision"].contains(&user);
            for (api, may) in [("$JS.API", may && own), ("cc.log", may && !own)] {
                for verb in ["STREAM.MSG.GET", "DIRECT.GET"] {
                    let read = ask(&client, &format!("{api}.{verb}.OBJ_{bucket}"), r#"{"seq":1}"#).await;
                    assert_eq!(read.is_some(), may, "{user} {api}.{verb} {bucket}");
                }
                let made = format!("{api}.CONSUMER.CREATE.OBJ_{bucket}");
                assert!(
                    ask(&client, &made, &consumer.to_string()).await.is_none(),
                    "{user} {made}"
                );
            }
        }
    }
}
