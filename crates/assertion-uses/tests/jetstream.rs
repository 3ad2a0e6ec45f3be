//! Tests of the register on real NATS servers.

use citycode_assertion_uses::jetstream::{JetStreamAssertionUses, NewRegister, OpenError, UsesConfig, provision};
use citycode_assertion_uses::{AssertionUse, AssertionUses as _, Used, UsesKey};
use citycode_jetstream::Connection;
use citycode_testkit::NatsServer;
use zeroize::Zeroizing;

const NOW: i64 = 1_800_000_000;

fn config(server: &NatsServer) -> UsesConfig {
    UsesConfig {
        connection: Connection::new(vec![server.url()], "test"),
        replicas: 1,
        log_id: [1; 16],
    }
}

fn key(byte: u8) -> UsesKey {
    UsesKey::new(Zeroizing::new([byte; 32]))
}

fn new(id: u8, takes_from: i64) -> NewRegister {
    NewRegister {
        id: [id; 16],
        takes_from,
    }
}

fn used(assertion: u8, request: u8) -> AssertionUse {
    AssertionUse {
        assertion: [assertion; 32],
        request: [request; 32],
        made_at: NOW,
        expires_at: NOW + 100,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_instances_one_registers_a_use_and_the_other_sees_it() {
    let server = NatsServer::start().await;
    provision(&config(&server), &key(7), &new(1, NOW)).await.expect("made");
    let [one, other] = [0, 1].map(|_| JetStreamAssertionUses::new(config(&server), key(7)));
    for assertion in 0..50 {
        let (first, second) = tokio::join!(
            one.register(used(assertion, 1), NOW),
            other.register(used(assertion, 2), NOW)
        );
        let (first, second) = (first.expect("an answer"), second.expect("an answer"));
        let (done, again) = match first {
            Used::Now => (1, second),
            _ => (2, first),
        };
        assert_eq!(again, Used::ForAnother, "{assertion}: {first:?} {second:?}");
        // A repeated request gets the same result.
        for register in [&one, &other] {
            assert_eq!(
                register.register(used(assertion, done), NOW).await.expect("an answer"),
                Used::Before
            );
            let third = register.register(used(assertion, 3), NOW).await;
            assert_eq!(third.expect("an answer"), Used::ForAnother);
        }
    }
    let mut early = used(99, 1);
    early.made_at = NOW - 1;
    assert_eq!(one.register(early, NOW).await.expect("an answer"), Used::TooOld);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_register_of_another_city_or_key_or_with_wrong_settings_is_not_used() {
    let server = NatsServer::start().await;
    let absent = JetStreamAssertionUses::new(config(&server), key(7));
    assert!(matches!(absent.check().await, Err(OpenError::NoRegister)));
    assert!(absent.register(used(1, 1), NOW).await.is_err());
    provision(&config(&server), &key(7), &new(1, NOW)).await.expect("made");
    provision(&config(&server), &key(7), &new(2, NOW + 50))
        .await
        .expect("it exists");
    assert_eq!(
        absent.register(used(1, 1), NOW).await.expect("it is there now"),
        Used::Now
    );
    let other_key = JetStreamAssertionUses::new(config(&server), key(8));
    assert!(matches!(other_key.check().await, Err(OpenError::OtherKey)));
    assert!(other_key.register(used(1, 1), NOW).await.is_err());
    let mut other_city = config(&server);
    other_city.log_id = [2; 16];
    assert!(matches!(
        JetStreamAssertionUses::new(other_city, key(7)).check().await,
        Err(OpenError::OtherLog)
    ));
    // An administrator of streams changes its retention.
    let client = async_nats::connect(server.url()).await.expect("a server");
    let info = client.request("$JS.API.STREAM.INFO.CC_ASSERTION_USES", "".into()).await;
    let mut info: serde_json::Value = serde_json::from_slice(&info.expect("an answer").payload).expect("JSON");
    let mut settings = info["config"].take();
    settings["max_age"] = serde_json::json!(120_000_000_000_u64);
    let changed = client
        .request("$JS.API.STREAM.UPDATE.CC_ASSERTION_USES", settings.to_string().into())
        .await;
    let changed: serde_json::Value = serde_json::from_slice(&changed.expect("an answer").payload).expect("JSON");
    assert!(changed["error"].is_null(), "{changed}");
    let starting = JetStreamAssertionUses::new(config(&server), key(7));
    assert!(matches!(starting.check().await, Err(OpenError::WrongSettings(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_idle_while_the_register_was_recreated_accepts_nothing_from_before() {
    let server = NatsServer::start().await;
    provision(&config(&server), &key(7), &new(1, NOW)).await.expect("made");
    let [one, idle] = [0, 1].map(|_| JetStreamAssertionUses::new(config(&server), key(7)));
    idle.check().await.expect("it exists");
    assert_eq!(one.register(used(1, 1), NOW).await.expect("an answer"), Used::Now);
    delete_register(&server).await;
    provision(&config(&server), &key(7), &new(2, NOW + 1))
        .await
        .expect("created again");
    let replayed = idle.register(used(1, 2), NOW).await;
    assert_eq!(replayed.expect("an answer"), Used::TooOld);
    let mut fresh = used(2, 1);
    fresh.made_at = NOW + 1;
    assert_eq!(idle.register(fresh, NOW + 1).await.expect("an answer"), Used::Now);
    assert_eq!(one.register(fresh, NOW + 1).await.expect("an answer"), Used::Before);
    // Created by a clock that is far ahead, and again by a correct one.
    for (register, takes_from, becomes) in [(3, NOW + 10_000, Used::TooOld), (4, NOW + 2, Used::Now)] {
        delete_register(&server).await;
        let made = provision(&config(&server), &key(7), &new(register, takes_from)).await;
        made.expect("created again");
        fresh.made_at = NOW + 3;
        assert_eq!(one.register(fresh, NOW + 3).await.expect("an answer"), becomes);
    }
}

async fn delete_register(server: &NatsServer) {
    let client = async_nats::connect(server.url()).await.expect("a server");
    let deleted = client
        .request("$JS.API.STREAM.DELETE.CC_ASSERTION_USES", "".into())
        .await;
    let deleted: serde_json::Value = serde_json::from_slice(&deleted.expect("an answer").payload).expect("JSON");
    assert_eq!(deleted["success"], true, "{deleted}");
}
