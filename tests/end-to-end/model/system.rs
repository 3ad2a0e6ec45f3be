//! The real system in this process, on a real folder and port, with a clock that the test controls.

use std::sync::Arc;
use std::time::Duration;

use citycode_domain::time::Timestamp;
use citycode_runtime::up::{Environment, Settings, System};
use citycode_service_kit::clock::{Clock as _, ManualClock, UnixSeconds};
use citycode_service_kit::entropy::SeededEntropy;
use citycode_testkit::{IdNumbers, eventually};
use citycode_token::{DeviceSigner, present};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::city::{Act, Answer, Code, PEOPLE, is_on_a_phone, phone};

/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600;
const AGES: [i16; PEOPLE] = [40, 70, 10];

pub(crate) struct Running {
    system: System,
    clock: Arc<ManualClock>,
    settings: Settings,
    entropy: Arc<SeededEntropy>,
    http: reqwest::Client,
    token: String,
    numbers: Vec<String>,
    _folder: Arc<tempfile::TempDir>,
}

impl Running {
    pub(crate) async fn start(seed: u64) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let settings = Settings {
            listen: ([127, 0, 0, 1], 0).into(),
            data: Some(folder.path().join("data")),
            marks: Some(folder.path().join("marks")),
            ..Settings::default()
        };
        let mut numbers = IdNumbers::new(seed);
        let today = jiff::civil::date(2026, 1, 1);
        let numbers = AGES.map(|age| numbers.aged(age, today)).to_vec();
        let clock = Arc::new(ManualClock::at(UnixSeconds(START)));
        Self::open(settings, clock, Arc::new(SeededEntropy::new(seed)), numbers, folder).await
    }

    async fn open(
        settings: Settings,
        clock: Arc<ManualClock>,
        entropy: Arc<SeededEntropy>,
        numbers: Vec<String>,
        folder: Arc<tempfile::TempDir>,
    ) -> Self {
        let environment = Environment {
            clock: Arc::clone(&clock) as _,
            entropy: Arc::clone(&entropy) as _,
        };
        let system = System::start(settings.clone(), environment).await.expect("it starts");
        let token = std::fs::read_to_string(&system.admin_token_file).expect("the admin's token");
        let running = Self {
            system,
            clock,
            settings,
            entropy,
            http: reqwest::Client::new(),
            token,
            numbers,
            _folder: folder,
        };
        running.fresh().await;
        running
    }

    pub(crate) async fn restart(self) -> Self {
        let Self {
            system,
            clock,
            settings,
            entropy,
            numbers,
            _folder: folder,
            http,
            ..
        } = self;
        drop(http);
        system.stop().await;
        Self::open(settings, clock, entropy, numbers, folder).await
    }

    pub(crate) async fn stop(self) {
        drop(self.http);
        self.system.stop().await;
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now().0
    }

    pub(crate) async fn wait(&self, seconds: i64) {
        self.clock.advance(Duration::from_secs(seconds.unsigned_abs()));
        self.fresh().await;
    }

    /// Waits until the verifier has proved its freshness again after the clock advanced.
    async fn fresh(&self) {
        eventually("the verifier is fresh", Duration::from_secs(30), || async {
            let body = json!({ "place": "sentinel", "code": "none of ours" });
            let (_, said) = self.post("verify", &body, None).await;
            said["as_of"]["age_ms"].as_u64().is_some_and(|age| age < 5_000)
        })
        .await;
    }

    /// An ID number of one of the people.
    pub(crate) fn number(&self, person: usize) -> &str {
        &self.numbers[person]
    }

    /// Moves only the wall clock.
    pub(crate) fn set_clock_by(&self, seconds: i64) {
        self.clock.set_wall(self.clock.now().plus(seconds));
    }

    pub(crate) async fn post(&self, path: &str, body: &Value, command: Option<u128>) -> (u16, Value) {
        let mut request = self.http.post(format!("http://{}/api/v1/{path}", self.system.address));
        if let Some(command) = command {
            let id = uuid::Builder::from_u128(command).into_uuid();
            request = request.header("idempotency-key", id.to_string());
        }
        let answer = request
            .bearer_auth(&self.token)
            .json(body)
            .send()
            .await
            .expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json().await.expect("JSON"))
    }

    /// Sends an act; returns the answer and its JSON.
    pub(crate) async fn act(&self, act: Act, command: u128) -> (Answer, Value) {
        let number = |person: usize| json!(self.numbers[person]);
        let whose = |kind: &str, person: usize, guardian: Option<usize>| {
            let mut body = json!({ "kind": kind, "id_number": number(person) });
            if let Some(guardian) = guardian {
                body["guardian"] = number(guardian);
            }
            body
        };
        let through = |channel: &str, mut body: Value| {
            body["channel"] = json!(channel);
            body
        };
        let because = |mut body: Value| {
            body["reason"] = json!("核实身份");
            body
        };
        let (path, body) = match act {
            Act::Register { person } => ("register", json!({ "id_number": number(person), "name": "王小明" })),
            Act::Relate { guardian, dependent } => (
                "relate",
                json!({ "guardian": number(guardian), "dependent": number(dependent) }),
            ),
            Act::Unrelate { guardian, dependent } => (
                "unrelate",
                json!({ "guardian": number(guardian), "dependent": number(dependent) }),
            ),
            Act::Issue {
                kind,
                person,
                guardian,
                channel,
            } => {
                let mut body = through(channel, whose(kind, person, guardian));
                if is_on_a_phone(kind) {
                    body["device_key"] = public_key(&DeviceSigner::from_seed(phone(command)));
                }
                ("issue", body)
            }
            Act::Reprint {
                kind,
                person,
                guardian,
                channel,
            } => ("reprint", through(channel, whose(kind, person, guardian))),
            Act::ReportLoss {
                kind,
                person,
                guardian,
                channel,
            } => ("report-loss", through(channel, whose(kind, person, guardian))),
            Act::Revoke { kind, person, guardian } => ("revoke", because(whose(kind, person, guardian))),
            Act::Suspend { kind, person, guardian } => ("suspend", because(whose(kind, person, guardian))),
            Act::Reinstate { kind, person, guardian } => ("reinstate", because(whose(kind, person, guardian))),
            Act::Standing { person, colour } => (
                "standing",
                because(json!({ "id_number": number(person), "standing": colour })),
            ),
            Act::Erase { person } => ("erase", json!({ "id_number": number(person) })),
            Act::Wait { .. } | Act::Restart => unreachable!("no call"),
        };
        match self.post(path, &body, Some(command)).await {
            (200, said) => (Answer::Done, said),
            (_, said) => (
                Answer::Refused(said["code"].as_str().unwrap_or("no code").to_owned()),
                said,
            ),
        }
    }

    /// Decision and reason on a code; `fresh`: with a proof by its phone.
    pub(crate) async fn verify(&self, code: &Code, place: &str, fresh: bool) -> (String, String) {
        let text = if fresh && code.is_on_a_phone() {
            let signer = DeviceSigner::from_seed(code.phone);
            present(&code.token, &signer, Timestamp(self.now()), None).expect("a presentation")
        } else {
            code.token.clone()
        };
        let (status, said) = self
            .post("verify", &json!({ "place": place, "code": text }), None)
            .await;
        assert_eq!(status, 200, "{said}");
        let word = |key: &str| said[key].as_str().expect("a word").to_owned();
        (word("decision"), word("reason"))
    }

    /// A person's codes as the system reports them.
    pub(crate) async fn codes(&self, person: usize) -> Vec<Value> {
        let (status, said) = self
            .post("codes", &json!({ "id_number": self.numbers[person] }), None)
            .await;
        assert_eq!(status, 200, "{said}");
        said["codes"].as_array().expect("a list").clone()
    }
}

/// The public key as a JWK (RFC 8037).
fn public_key(signer: &DeviceSigner) -> Value {
    match signer.device_key() {
        citycode_domain::claims::DeviceKey::Ed25519(key) => {
            json!({ "kty": "OKP", "crv": "Ed25519", "x": BASE64URL_NOPAD.encode(&key) })
        }
        citycode_domain::claims::DeviceKey::P256(_) => unreachable!("made from a seed"),
    }
}
