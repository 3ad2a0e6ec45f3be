//! A NATS server that stops during changes: every change is answered within the deadline of its call, and the outcome
//! in the answer is correct.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use citycode_testkit::{IdNumbers, eventually};
use jiff::civil::date;
use serde_json::{Value, json};

use crate::city::City;

const PATIENCE: Duration = Duration::from_secs(120);
/// The portal's deadline is 15 s; on a loaded machine an answer may be late.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
const PEOPLE: usize = 8;
/// Codes issued before the server stops, so that the calls in flight are in various states.
const BEFORE: usize = 40;

/// The last answers that one person got.
struct Answers {
    id_number: String,
    /// The code of the last acknowledged change; none if the server stopped before the first answer.
    last: Option<String>,
    /// The command that failed.
    command_id: String,
    problem: Value,
}

struct Life {
    city: City,
    portal: String,
    issued: AtomicUsize,
    stopped: AtomicBool,
}

impl Life {
    async fn call(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = tokio::time::timeout(ANSWER_LIMIT, self.city.call(&self.portal, path, body)).await;
        answer.expect("an answer comes").expect("an answer")
    }

    /// Issues one code after the other, until the server stops.
    async fn live(self: Arc<Self>, id_number: String, seed: usize) -> Answers {
        let mut last = None;
        for number in 0_usize.. {
            let command_id = format!("00000000-0000-4000-{seed:04}-{number:012}");
            let order =
                json!({ "id_number": id_number, "kind": "sampling", "channel": "app", "command_id": command_id });
            let (status, answer) = self.call("issue", &order).await;
            if status != 200 {
                assert!(
                    self.stopped.load(Ordering::SeqCst),
                    "before the server stopped: {answer}"
                );
                return Answers {
                    id_number,
                    last,
                    command_id,
                    problem: answer,
                };
            }
            last = Some(answer["code_id"].as_str().expect("an id").to_owned());
            self.issued.fetch_add(1, Ordering::SeqCst);
        }
        unreachable!("the numbers do not end")
    }

    /// The newest code of a person, or none where the person has no code.
    async fn code_of(&self, id_number: &str) -> Option<String> {
        let (status, answer) = self.call("codes", &json!({ "id_number": id_number })).await;
        assert_eq!(status, 200, "{answer}");
        let codes = answer["codes"].as_array().expect("a list of codes");
        codes
            .first()
            .map(|code| code["code_id"].as_str().expect("an id").to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_leaves_no_change_unanswered_and_no_answer_untrue() {
    let city = City::on_one().await;
    city.provision().await;
    let services = city.start_all("").await;
    let life = Arc::new(Life {
        city,
        portal: services.portal.url().to_owned(),
        issued: AtomicUsize::new(0),
        stopped: AtomicBool::new(false),
    });
    let mut numbers = IdNumbers::new(77);
    let mut lives = Vec::new();
    for seed in 0..PEOPLE {
        let id_number = numbers.born(date(1980, 5, 5));
        life.city.register(&life.portal, &id_number).await;
        lives.push(tokio::spawn(Arc::clone(&life).live(id_number, seed)));
    }
    eventually("codes are issued", PATIENCE, || async {
        life.issued.load(Ordering::SeqCst) >= BEFORE
    })
    .await;
    life.stopped.store(true, Ordering::SeqCst);
    life.city.server().sigstop().await;
    let mut told = Vec::new();
    for living in lives {
        told.push(living.await.expect("a life ends"));
    }
    for Answers { problem, .. } in &told {
        assert_eq!(problem["code"], "unavailable", "{problem}");
        let outcome = problem["outcome"].as_str();
        assert!(matches!(outcome, Some("not_done" | "unknown")), "{problem}");
    }

    life.city.server().sigcont().await;
    // What the issuer had sent before the server stopped is taken before what it sends now.
    let after = numbers.born(date(1981, 5, 5));
    let person = json!({ "id_number": after, "name": "张小三", "channel": "kiosk" });
    let order = json!({ "id_number": after, "kind": "sampling", "channel": "app" });
    eventually("the city lives again", PATIENCE, || async {
        life.call("register", &person).await.0 == 200 && life.call("issue", &order).await.0 == 200
    })
    .await;
    for Answers {
        id_number,
        last,
        command_id,
        problem,
    } in told
    {
        if problem["outcome"] == "not_done" {
            assert_eq!(life.code_of(&id_number).await, last, "said to be not done: {problem}");
        }
        // The same command, sent again, shows the outcome and has no second effect.
        let order = json!({ "id_number": id_number, "kind": "sampling", "channel": "app", "command_id": command_id });
        let (status, again) = life.call("issue", &order).await;
        assert_eq!(status, 200, "{again}");
        assert_eq!(life.code_of(&id_number).await.as_deref(), again["code_id"].as_str());
    }
}
