//! Permissions of the NATS users that `citycode secrets` creates, on a server with TLS. Each service works with its
//! credential, and the server refuses everything else that the credential must not do.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Message, StatusCode};
use citycode_scan_records::DAY_SECONDS;
use citycode_service_kit::clock::{Clock as _, SystemClock};
use citycode_testkit::{IdNumbers, eventually, eventually_some};
use jiff::civil::date;
use serde_json::{Value, json};

use crate::city::{City, audit, issuer};

const PATIENCE: Duration = Duration::from_secs(30);
/// Time after which a request counts as dropped; an idle machine answers faster.
const NO_ANSWER: Duration = Duration::from_millis(300);

/// A client with a user's seed, as a thief would connect.
pub(crate) async fn thief(city: &City, user: &str) -> Client {
    let seed = std::fs::read_to_string(city.secret(&format!("nats/{user}.nk"))).expect("a seed");
    let seed = seed.trim().to_owned();
    let public = nkeys::KeyPair::from_seed(&seed).expect("a seed").public_key();
    ConnectOptions::with_nkey(seed)
        .custom_inbox_prefix(citycode_jetstream::inbox_prefix(&public))
        .add_root_certificates(city.secret("tls/ca.pem"))
        .connect(city.urls())
        .await
        .expect("the server takes it")
}

/// The answer to a request of the JetStream API; none if the server drops it.
pub(crate) async fn ask(client: &Client, subject: &str, body: &str) -> Option<Value> {
    serde_json::from_slice(&answer(client, subject, body).await?.payload).ok()
}

/// The answer to an allowed request, independent of the machine's load.
pub(crate) async fn ask_as_allowed(client: &Client, subject: &str, body: &str) -> Value {
    let answer = answer_as_allowed(client, subject, body).await;
    serde_json::from_slice(&answer.payload).expect("the server answers in JSON")
}

/// Any answer; none if the server drops the request.
pub(crate) async fn answer(client: &Client, subject: &str, body: &str) -> Option<Message> {
    let asked = client.request(subject.to_owned(), body.to_owned().into());
    let answer = tokio::time::timeout(NO_ANSWER, asked).await.ok()?.ok()?;
    (answer.status != Some(StatusCode::NO_RESPONDERS)).then_some(answer)
}

/// As [`ask_as_allowed`], for any answer.
pub(crate) async fn answer_as_allowed(client: &Client, subject: &str, body: &str) -> Message {
    let what = format!("an answer to {subject}");
    eventually_some(&what, PATIENCE, || answer(client, subject, body)).await
}

/// Has an audit service create the days of scan records; returns today's number.
pub(crate) async fn make_days(city: &City) -> i64 {
    let today = SystemClock::new().now().0 / DAY_SECONDS;
    let _auditing = city.start(&audit(), "audit-that-makes-days", "").await;
    let keeper = thief(city, "scans-keeper").await;
    // This stream is created last.
    let tomorrow = format!("$JS.API.STREAM.INFO.CC_REGISTERED_{}", today + 1);
    eventually("the days of records are made", PATIENCE, || async {
        let info = ask(&keeper, &tomorrow, "").await;
        info.is_some_and(|info| info["error"].is_null())
    })
    .await;
    today
}

/// Messages in a stream, for a user with permission to inspect it.
pub(crate) async fn messages(client: &Client, stream: &str) -> u64 {
    messages_by(client, "$JS.API", stream).await
}

/// The same for a user with another API prefix.
async fn messages_by(client: &Client, api: &str, stream: &str) -> u64 {
    let info = ask_as_allowed(client, &format!("{api}.STREAM.INFO.{stream}"), "").await;
    info["state"]["messages"].as_u64().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_city_works_with_least_permissions() {
    let city = City::secured().await;
    city.provision().await;
    let services = city.start_all("").await;
    let portal = &services.portal;
    let id_number = IdNumbers::new(9).born(date(1950, 5, 5));
    city.register(portal.url(), &id_number).await;
    let code = city.issue(portal.url(), &id_number, "offline").await;
    let code = code["token"].as_str().expect("a code");
    let decides = async |wanted: &str| city.decision(portal.url(), "staffed", code).await.starts_with(wanted);
    eventually("it admits", PATIENCE, || decides("admit")).await;
    let desk = json!({ "place": "sampling_desk", "code": code, "device": "desk-1", "scan_id": "scan-1" });
    let registers = async || match city.call(portal.url(), "verify", &desk).await {
        Some((200, verdict)) => verdict["decision"] == "admit",
        // The audit service may not have created the day's streams yet.
        _ => false,
    };
    eventually("it registers", PATIENCE, registers).await;
    let lost = json!({ "id_number": id_number, "kind": "offline", "channel": "kiosk" });
    city.post(portal.url(), "report-loss", lost).await;
    let again = city.post(portal.url(), "verify", desk).await;
    assert_eq!(again["decision"], "admit", "as it was recorded: {again}");
    eventually("it refuses", PATIENCE, || decides("refuse")).await;
    let asked = json!({ "id_number": id_number, "kind": "offline" });
    city.post(portal.url(), "history", asked).await;
    city.post(portal.url(), "erase", json!({ "id_number": id_number }))
        .await;
    for service in services.on_servers() {
        let said = service.said();
        assert!(!said.contains("Permissions Violation"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_cannot_write_writers_cannot_change_streams_and_accounts_do_not_see_each_other() {
    let city = City::secured().await;
    city.provision().await;
    let watcher = thief(&city, "issuer").await;
    let before = messages(&watcher, "CC_EV_00").await;
    for (reader, api) in [
        ("verifier", "cc.log"),
        ("audit", "cc.log"),
        ("archive", "cc.log"),
        ("provision", "$JS.API"),
    ] {
        let client = thief(&city, reader).await;
        assert!(
            messages_by(&client, api, "CC_EV_00").await == before,
            "{reader} may read"
        );
        let written = ask(&client, "cc.ev.v1.00.0001", "no commit").await;
        assert!(written.is_none(), "{reader} wrote: {written:?}");
    }
    for user in ["issuer", "revocation", "verifier", "audit", "archive"] {
        let client = thief(&city, user).await;
        let config = r#"{"name":"CC_EV_00","subjects":["cc.ev.v1.00.*"],"max_age":1000000000}"#;
        for verb in [
            "CREATE.CC_EV_99",
            "UPDATE.CC_EV_00",
            "DELETE.CC_EV_00",
            "PURGE.CC_EV_00",
            "MSG.DELETE.CC_EV_00",
        ] {
            for api in ["$JS.API", "cc.log"] {
                let done = ask(&client, &format!("{api}.STREAM.{verb}"), config).await;
                assert!(done.is_none(), "{user} {api} {verb}: {done:?}");
            }
        }
    }
    // No user of the log's account sees the vault, and no user of the vault's account sees the log.
    for user in ["issuer", "revocation", "verifier", "provision"] {
        let seen = ask(&thief(&city, user).await, "$JS.API.STREAM.INFO.KV_CC_VAULT", "").await;
        assert!(
            seen.is_none_or(|seen| seen["error"]["err_code"] == 10_059),
            "{user} sees the vault"
        );
    }
    let seen = ask(&thief(&city, "vault-issuer").await, "$JS.API.STREAM.INFO.CC_EV_00", "").await;
    assert!(
        seen.is_none_or(|seen| seen["error"]["err_code"] == 10_059),
        "the vault's user sees the log"
    );
    // Of the vault's users only the issuer's can change pages.
    let vault = thief(&city, "vault-issuer").await;
    let pages = messages(&vault, "KV_CC_VAULT").await;
    for reader in ["vault-revocation", "vault-verifier", "vault-provision"] {
        let client = thief(&city, reader).await;
        assert!(
            ask(&client, "$KV.CC_VAULT.p.0000", "no page").await.is_none(),
            "{reader} wrote"
        );
        let deleted = ask(&client, "$JS.API.STREAM.MSG.DELETE.KV_CC_VAULT", r#"{"seq":1}"#).await;
        assert!(deleted.is_none(), "{reader} deleted");
    }
    assert_eq!(messages(&vault, "KV_CC_VAULT").await, pages);
    assert_eq!(messages(&watcher, "CC_EV_00").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifiers_credential_writes_records_and_cannot_create_or_destroy_a_day_or_its_key() {
    let city = City::secured().await;
    city.provision().await;
    let today = make_days(&city).await;
    let (scans, registered) = (format!("CC_SCANS_{today}"), format!("CC_REGISTERED_{today}"));
    let keeper = thief(&city, "scans-keeper").await;
    let streams = async || {
        let names = ask_as_allowed(&keeper, "$JS.API.STREAM.NAMES", "{}").await;
        names["streams"].as_array().expect("a list").len()
    };
    let (before, keys) = (streams().await, messages(&keeper, "CC_SCAN_KEYS").await);
    for user in ["scans-verifier", "scans-provision"] {
        let client = thief(&city, user).await;
        for stream in [&scans, &registered, "CC_SCAN_KEYS"] {
            let config = format!(r#"{{"name":"{stream}","max_age":1000000000}}"#);
            for verb in ["DELETE", "PURGE", "UPDATE", "MSG.DELETE"] {
                let body = if verb == "UPDATE" {
                    config.as_str()
                } else {
                    r#"{"seq":1}"#
                };
                let done = ask(&client, &format!("$JS.API.STREAM.{verb}.{stream}"), body).await;
                assert!(done.is_none(), "{user} {verb} {stream}: {done:?}");
            }
        }
    }
    let verifier = thief(&city, "scans-verifier").await;
    let made = ask(
        &verifier,
        "$JS.API.STREAM.CREATE.CC_SCANS_1",
        r#"{"name":"CC_SCANS_1","subjects":["cc.scan.v1.1.*"]}"#,
    );
    assert!(made.await.is_none(), "it made a day");
    assert!(
        ask(&verifier, &format!("cc.scankey.v1.{}", today + 9), "no key")
            .await
            .is_none(),
        "it made a key"
    );
    // Its permissions are for its own records and for answering repetitions.
    let written = ask_as_allowed(&verifier, &format!("cc.scan.v1.{today}.0000"), "no chunk").await;
    assert_eq!(written["stream"], scans.as_str());
    let get = format!("$JS.API.STREAM.MSG.GET.{registered}");
    ask_as_allowed(&verifier, &get, r#"{"seq":1}"#).await;
    assert_eq!(
        (streams().await, messages(&keeper, "CC_SCAN_KEYS").await),
        (before, keys)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keeper_of_scan_records_writes_none_and_no_other_account_sees_them() {
    let city = City::secured().await;
    city.provision().await;
    let today = make_days(&city).await;
    let (scans, registered) = (format!("CC_SCANS_{today}"), format!("CC_REGISTERED_{today}"));
    for subject in [format!("cc.scan.v1.{today}.0000"), format!("cc.reg.v1.{today}.0000")] {
        for user in ["scans-keeper", "scans-provision"] {
            let written = ask(&thief(&city, user).await, &subject, "no record").await;
            assert!(written.is_none(), "{user} wrote {subject}");
        }
    }
    for user in ["verifier", "audit", "issuer", "vault-issuer"] {
        let client = thief(&city, user).await;
        for stream in [scans.as_str(), registered.as_str(), "CC_SCAN_KEYS"] {
            let seen = ask(&client, &format!("$JS.API.STREAM.INFO.{stream}"), "").await;
            assert!(
                seen.is_none_or(|seen| seen["error"]["err_code"] == 10_059),
                "{user} sees {stream}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_the_vault_get_only_pages_of_the_index_by_subject() {
    let city = City::secured().await;
    city.provision().await;
    // The issuer writes the vault's pages of keys.
    let _issuer = city.start(&issuer(), "issuer", "").await;
    let page_of = |table: &str| format!("cc.vault.DIRECT.GET.KV_CC_VAULT.$KV.CC_VAULT.{table}");
    for (reader, may) in [
        ("vault-verifier", vec!["i.keys"]),
        ("vault-revocation", vec!["i.keys", "r.keys"]),
    ] {
        let client = thief(&city, reader).await;
        for page in ["i.keys", "p.keys", "p.0000", "p.mark", "r.keys"] {
            if may.contains(&page) {
                answer_as_allowed(&client, &page_of(page), "").await;
            } else {
                let told = answer(&client, &page_of(page), "").await;
                assert!(told.is_none(), "{reader} is told of {page}");
            }
        }
        for (question, body) in [
            ("DIRECT.GET.KV_CC_VAULT", r#"{"last_by_subj":"$KV.CC_VAULT.p.0000"}"#),
            (
                "STREAM.MSG.GET.KV_CC_VAULT",
                r#"{"last_by_subj":"$KV.CC_VAULT.p.0000"}"#,
            ),
        ] {
            for api in ["cc.vault", "$JS.API"] {
                let told = answer(&client, &format!("{api}.{question}"), body).await;
                assert!(told.is_none(), "{reader}: {api}.{question}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_users_are_refused_and_no_user_receives_anothers_answers() {
    let city = City::secured().await;
    city.provision().await;
    let nobody = ConnectOptions::new()
        .add_root_certificates(city.secret("tls/ca.pem"))
        .connect(city.urls())
        .await;
    assert!(nobody.is_err(), "without a seed");
    let seed = std::fs::read_to_string(city.secret("nats/issuer.nk")).expect("a seed");
    let without_ca = ConnectOptions::with_nkey(seed.trim().to_owned())
        .connect(city.urls())
        .await;
    assert!(
        without_ca.is_err(),
        "a server that this client has no reason to believe"
    );
    let stranger = nkeys::KeyPair::new_user().seed().expect("a seed");
    let other = ConnectOptions::with_nkey(stranger).add_root_certificates(city.secret("tls/ca.pem"));
    assert!(other.connect(city.urls()).await.is_err(), "a user of no account");
    // A verifier that subscribes to the issuer's answers and to readers' requests receives nothing.
    let (verifier, issuer) = (thief(&city, "verifier").await, thief(&city, "issuer").await);
    let mut heard = Vec::new();
    for subject in ["_INBOX_>", ">", "_INBOX.>", "cc.ev.>", "cc.echo.v1"] {
        heard.push(verifier.subscribe(subject).await.expect("it may ask"));
    }
    verifier.flush().await.expect("it is connected");
    ask_as_allowed(&issuer, "$JS.API.STREAM.INFO.CC_EV_00", "").await;
    issuer
        .publish("cc.ev.v1.00.0001", "nothing".into())
        .await
        .expect("it is connected");
    issuer.flush().await.expect("it is connected");
    for mut subscription in heard {
        let message = tokio::time::timeout(NO_ANSWER, futures::StreamExt::next(&mut subscription)).await;
        assert!(!matches!(message, Ok(Some(_))), "{message:?}");
    }
}
