//! Reply subjects as an attack: the servers send an answer to any reply subject, and a consumer delivers to any
//! subject. With a reader's seed, this reaches only the reader's own account: neither the log, nor the vault, nor
//! another reader.

use std::time::Duration;

use async_nats::{Client, HeaderMap};
use citycode_testkit::{IdNumbers, eventually};
use futures::{FutureExt as _, StreamExt as _};
use jiff::civil::date;

use crate::city::{City, issuer};
use crate::nats_permissions::{ask, messages, thief};

const PATIENCE: Duration = Duration::from_secs(30);
/// Long enough for an answer to arrive at its reply subject on one machine.
const A_WHILE: Duration = Duration::from_millis(500);

const LOG_READERS: [&str; 3] = ["verifier", "audit", "archive"];
const VAULT_READERS: [&str; 2] = ["vault-verifier", "vault-revocation"];
/// Every request that a reader may send, for each partition, and some that none may send.
const REQUESTS: [(&str, &str); 8] = [
    ("STREAM.INFO.CC_EV_*", ""),
    ("STREAM.MSG.GET.CC_EV_*", r#"{"seq":1}"#),
    ("DIRECT.GET.CC_EV_*", r#"{"seq":1}"#),
    ("DIRECT.GET.CC_EV_*", r#"{"seq":1,"batch":100}"#),
    ("STREAM.INFO.KV_CC_VAULT", ""),
    ("STREAM.MSG.GET.KV_CC_VAULT", r#"{"seq":1}"#),
    ("DIRECT.GET.KV_CC_VAULT", r#"{"seq":1}"#),
    ("DIRECT.GET.KV_CC_VAULT.$KV.CC_VAULT.i.keys", ""),
];

/// Sends all requests with `target` as the reply subject.
async fn request_with_reply_to(client: &Client, target: &str) {
    for api in ["$JS.API", "cc.log", "cc.vault"] {
        let everywhere = REQUESTS.iter().flat_map(|(question, body)| {
            let of = move |partition| (question.replace('*', &format!("0{partition}")), *body);
            (0..if question.contains('*') { 4 } else { 1 }).map(of)
        });
        for (question, body) in everywhere {
            let subject = format!("{api}.{question}");
            client
                .publish_with_reply(subject.clone(), target.to_owned(), body.into())
                .await
                .expect("it is connected");
            // The destination of the server's message tracing is chosen by the client, too.
            let mut traced = HeaderMap::new();
            traced.insert("Nats-Trace-Dest", target);
            let sent = client.publish_with_reply_and_headers(subject, target.to_owned(), traced, body.into());
            sent.await.expect("it is connected");
        }
    }
    let number = client.publish_with_reply("cc.echo.v1", target.to_owned(), "thief.1".into());
    number.await.expect("it is connected");
    client.flush().await.expect("it is connected");
}

/// Checks that a reader can neither create a consumer that delivers into the log, nor list or delete consumers.
async fn assert_no_consumer_is_allowed(client: &Client, user: &str) {
    let consumer = r#"{"stream_name":"CC_EV_00","config":{"deliver_subject":"cc.ev.v1.00.0000","deliver_policy":"all","ack_policy":"none"}}"#;
    for api in ["$JS.API", "cc.log"] {
        for verb in [
            "CONSUMER.CREATE.CC_EV_00",
            "CONSUMER.DELETE.CC_EV_00.x",
            "CONSUMER.NAMES.CC_EV_00",
        ] {
            let done = ask(client, &format!("{api}.{verb}"), consumer).await;
            assert!(done.is_none(), "{user} {api}.{verb}: {done:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_readers_seed_puts_nothing_into_log_or_vault_and_reaches_no_other_reader() {
    let city = City::secured().await;
    city.provision().await;
    let issuer = city.start(&issuer(), "issuer", "").await;
    let (log, vault) = (thief(&city, "issuer").await, thief(&city, "vault-issuer").await);
    drop(issuer);
    let count = async || {
        let mut all = messages(&vault, "KV_CC_VAULT").await;
        for partition in 0..4 {
            all += messages(&log, &format!("CC_EV_0{partition}")).await;
        }
        all
    };
    let before = count().await;
    assert!(before > 0, "there is something to answer with");
    // Possible victims subscribe to the subjects that they may.
    let mut hit = Vec::new();
    for user in LOG_READERS.iter().chain(&["issuer"]) {
        let client = thief(&city, user).await;
        let inbox = client.new_inbox();
        let listening = client.subscribe(inbox.clone()).await.expect("it may ask");
        let tail = client.subscribe("cc.tail.v1.00").await.expect("it may ask");
        client.flush().await.expect("it is connected");
        hit.push((*user, inbox, futures::stream::select(listening, tail), client));
    }
    for user in LOG_READERS.iter().chain(&VAULT_READERS) {
        let client = thief(&city, user).await;
        let inbox = client.new_inbox();
        let mut own = client.subscribe(inbox.clone()).await.expect("it may ask");
        request_with_reply_to(&client, &inbox).await;
        let answered = tokio::time::timeout(PATIENCE, own.next()).await;
        answered
            .expect("answers are sent to the reply subject")
            .expect("an answer");
        for target in [
            "cc.ev.v1.00.0000",
            "cc.ev.v1.00.0001",
            "$KV.CC_VAULT.p.0000",
            "$KV.CC_VAULT.i.0000",
        ] {
            request_with_reply_to(&client, target).await;
        }
        assert_no_consumer_is_allowed(&client, user).await;
        for (of, inbox, _, _) in &hit {
            if of != user {
                request_with_reply_to(&client, inbox).await;
                request_with_reply_to(&client, "cc.tail.v1.00").await;
            }
        }
    }
    tokio::time::timeout(A_WHILE, std::future::pending::<()>())
        .await
        .expect_err("a while");
    assert_eq!(count().await, before, "something was written");
    for (of, _, mut heard, _client) in hit {
        // Answers to the requests of its own seed may arrive, but not those of other users.
        while let Some(Some(message)) = heard.next().now_or_never() {
            assert_eq!(message.subject.as_str(), "cc.tail.v1.00", "{of} was hit: {message:?}");
            assert!(LOG_READERS.contains(&of), "{of} was hit: {message:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_keeps_working_while_a_thief_of_its_seed_sends_answers_to_it() {
    let city = City::secured().await;
    city.provision().await;
    let services = city.start_all("").await;
    let portal = &services.portal;
    let id_number = IdNumbers::new(9).born(date(1950, 5, 5));
    city.register(portal.url(), &id_number).await;
    let thief = thief(&city, "verifier").await;
    let stolen = tokio::spawn(async move {
        loop {
            for partition in 0..4 {
                request_with_reply_to(&thief, &format!("cc.tail.v1.0{partition}")).await;
            }
        }
    });
    for _ in 0..5 {
        let code = city.issue(portal.url(), &id_number, "offline").await;
        let code = code["token"].as_str().expect("a code");
        let admits = async || city.decision(portal.url(), "staffed", code).await.starts_with("admit");
        eventually("it admits", PATIENCE, admits).await;
    }
    stolen.abort();
    for service in services.on_servers() {
        let said = service.said();
        assert!(
            !said.contains("damaged") && !said.contains("reading restarts"),
            "{said}"
        );
    }
}
