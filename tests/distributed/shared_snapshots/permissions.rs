//! Permissions to write and read shared snapshots.

use serde_json::json;

use crate::city::City;
use crate::nats_permissions::{answer, answer_as_allowed, thief};

#[tokio::test(flavor = "multi_thread")]
async fn only_revocation_writes_snapshots_and_only_their_users_read_them() {
    let city = City::secured().await;
    city.provision().await;
    let revocation = thief(&city, "revocation").await;
    for bucket in ["CC_STATUS_SNAPSHOTS", "CC_REGISTER_SNAPSHOTS"] {
        let subject = format!("$O.{bucket}.C.x");
        answer_as_allowed(&revocation, &subject, "a chunk").await;
        for user in ["issuer", "verifier", "audit", "archive", "provision"] {
            let client = thief(&city, user).await;
            assert!(
                answer(&client, &subject, "a chunk").await.is_none(),
                "{user} wrote to {bucket}"
            );
            let meta = format!("$O.{bucket}.M.x");
            assert!(answer(&client, &meta, "{}").await.is_none(), "{user} wrote to {bucket}");
            for verb in ["STREAM.PURGE", "STREAM.DELETE", "STREAM.MSG.DELETE"] {
                let verb = format!("$JS.API.{verb}.OBJ_{bucket}");
                assert!(answer(&client, &verb, r#"{"seq":1}"#).await.is_none(), "{user} {verb}");
            }
            let may = match bucket {
                "CC_STATUS_SNAPSHOTS" => user == "verifier",
                _ => user == "issuer",
            };
            let consumer = json!({
                "stream_name": format!("OBJ_{bucket}"),
                "config": { "ack_policy": "none", "deliver_subject": client.new_inbox() },
            });
            // Readers have separate accounts.
            let own = ["issuer", "provision"].contains(&user);
            for (api, may) in [("$JS.API", may && own), ("cc.log", may && !own)] {
                for verb in ["STREAM.MSG.GET", "DIRECT.GET"] {
                    let get = format!("{api}.{verb}.OBJ_{bucket}");
                    if may {
                        answer_as_allowed(&client, &get, r#"{"seq":1}"#).await;
                    } else {
                        assert!(answer(&client, &get, r#"{"seq":1}"#).await.is_none(), "{user} {get}");
                    }
                }
                let made = format!("{api}.CONSUMER.CREATE.OBJ_{bucket}");
                assert!(
                    answer(&client, &made, &consumer.to_string()).await.is_none(),
                    "{user} {made}"
                );
            }
        }
    }
}
