//! Questions about the past, and the published trees, of a distributed city: each is answered by the service that has an
//! index or the trees, with the credentials that it has.

use std::ffi::OsStr;
use std::time::Duration;

use citycode_testkit::{IdNumbers, eventually, eventually_some};
use citycode_transparency::SignedCheckpoint;
use citycode_transparency::tile::{TileId, TileReader, TileSource};
use jiff::civil::date;
use serde_json::{Value, json};

use crate::city::{City, Services, citycode, registers};

const PATIENCE: Duration = Duration::from_secs(60);
const PURPOSE: &str = "complaint 17";

/// A city with one code that was reported lost in a later second than that of its issue.
struct Lost {
    city: City,
    services: Services,
    id_number: String,
    code: Value,
}

impl Lost {
    async fn open() -> Self {
        let city = City::secured().await;
        city.provision().await;
        let services = city.start_all("").await;
        registers(&services.verifier).await;
        let portal = services.portal.url();
        let mut numbers = IdNumbers::new(131);
        let (id_number, other) = (numbers.born(date(1950, 5, 5)), numbers.born(date(1951, 5, 5)));
        city.register(portal, &id_number).await;
        city.register(portal, &other).await;
        let code = city.issue(portal, &id_number, "offline").await;
        eventually_some("the next second begins", PATIENCE, || async {
            let later = city.issue(portal, &other, "offline").await;
            (later["issued_at"] != code["issued_at"]).then_some(())
        })
        .await;
        let loss = json!({ "id_number": id_number, "kind": "offline", "channel": "kiosk" });
        city.post(portal, "report-loss", loss).await;
        Self {
            city,
            services,
            id_number,
            code,
        }
    }

    fn portal(&self) -> &str {
        self.services.portal.url()
    }

    fn text(&self, field: &str) -> &str {
        self.code[field].as_str().expect("a text")
    }

    /// A question to the audit service, whose index may still be reading the log.
    async fn asked(&self, path: &str, question: Value) -> Value {
        eventually_some("the audit service answers", PATIENCE, || async {
            match self.city.call(self.portal(), path, &question).await? {
                (200, answer) => Some(answer),
                (503, _) => None,
                (status, problem) => panic!("{path}: {status}: {problem}"),
            }
        })
        .await
    }

    /// The signed list of the code at an instant: status and bytes.
    async fn list_at(&self, time: &str) -> (u16, Vec<u8>) {
        let list = self.code["status"]["list"].as_str().expect("a list");
        let name = list.rsplit('/').next().expect("a name");
        let url = format!("{}/api/v1/status-lists/{name}?time={time}", self.portal());
        let answer = reqwest::get(url).await.expect("an answer");
        (answer.status().as_u16(), answer.bytes().await.expect("a body").to_vec())
    }

    async fn log_file(&self, path: &str) -> Option<Vec<u8>> {
        let answer = reqwest::get(format!("{}/log/{path}", self.portal())).await;
        let answer = answer.expect("an answer");
        match answer.status().as_u16() {
            200 => Some(answer.bytes().await.expect("a body").to_vec()),
            _ => None,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_of_codes_lists_and_the_city_is_answered_on_nats() {
    let lost = Lost::open().await;
    let then = lost.text("issued_at");
    let scan = json!({ "place": "staffed", "code": lost.text("token"), "at": then });
    // Within five seconds an instant counts as the present, in which the code is lost.
    eventually("the second of the issue is the past", PATIENCE, || async {
        match lost.city.call(lost.portal(), "verify", &scan).await {
            Some((200, verdict)) => verdict["reason"] == "id_check_required",
            Some((503, _)) => false,
            other => panic!("{other:?}"),
        }
    })
    .await;

    let of_the_code = json!({ "code_id": lost.text("code_id"), "as_of": then, "purpose": PURPOSE });
    let history = lost.asked("history", of_the_code).await;
    let events = history["entries"].as_array().expect("a list");
    assert_eq!(events.len(), 1, "{history}");
    assert_eq!(events[0]["event"], "CodeIssued", "{history}");
    let of_the_person = json!({ "id_number": lost.id_number, "as_of": then, "purpose": PURPOSE });
    let codes = lost.asked("codes", of_the_person).await;
    assert_eq!(codes["codes"][0]["state"], "valid", "{codes}");
    let exact = json!({ "as_of": then, "exact": true, "purpose": PURPOSE });
    let state = lost.city.lines(lost.portal(), "audit/state", &exact).await;
    let counted = &state.last().expect("a line")["result"]["by"];
    assert!(
        counted
            .as_array()
            .is_some_and(|groups| groups.iter().any(|group| group["state"] == "valid")),
        "{state:?}"
    );

    let issued: jiff::Timestamp = then.parse().expect("an instant");
    let after = (issued.as_second() + 10).to_string();
    eventually("the list of the tick after the issue", PATIENCE, || async {
        let (status, signed) = lost.list_at(&after).await;
        assert!(matches!(status, 200 | 404 | 406 | 503), "{status}");
        status == 200 && !signed.is_empty()
    })
    .await;
    for (time, expected) in [("0", 404), ("99999999999", 406), ("today", 400)] {
        assert_eq!(lost.list_at(time).await.0, expected, "{time}");
    }
    let revocation = lost.services.revocation.said();
    assert!(!revocation.contains("Permissions Violation"), "{revocation}");
}

/// The tiles of one partition as the portal serves them.
struct Tiles(std::collections::BTreeMap<String, Vec<u8>>);

impl TileSource for Tiles {
    type Error = std::convert::Infallible;

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Self::Error> {
        Ok(self.0.get(name).cloned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_checked_proved_and_published_on_nats() {
    let lost = Lost::open().await;
    let checked = eventually_some("the trees are published", PATIENCE, || async {
        let lines = lost.city.lines(lost.portal(), "audit/log-check", &json!({})).await;
        let result = lines.last().expect("a line")["result"].clone();
        let all = result["checkpoints"].as_array().is_some_and(|all| all.len() == 4);
        all.then_some(result)
    })
    .await;
    assert_eq!(
        (&checked["whole"], &checked["faults"]),
        (&json!(true), &json!([])),
        "{checked}"
    );

    // What everybody may read is a tree: its tiles have the root of the signed checkpoint.
    let mut leaves = 0;
    for partition in 0..4 {
        let bytes = lost.log_file(&format!("{partition:02}/checkpoint")).await;
        let signed = SignedCheckpoint::parse(&bytes.expect("a checkpoint")).expect("a signed note");
        let head = signed.unverified().head();
        leaves += head.size;
        if head.size == 0 {
            continue;
        }
        let name = TileId::in_tree(0, 0, head.size).expect("a tile").to_string();
        let tile = lost.log_file(&format!("{partition:02}/{name}")).await.expect("a tile");
        let tiles = Tiles([(name, tile)].into());
        let mut reader = TileReader::open(&tiles, head).expect("tiles of this checkpoint");
        assert!(reader.leaf(0).is_ok());
    }
    assert!(leaves > 0);
    assert!(
        lost.log_file("00/tile/entries/000").await.is_none(),
        "bundles are not public"
    );

    let file = lost.city.folder.path().join("died.tlog-proof");
    let question = json!({ "code_id": lost.text("code_id"), "event": "died", "purpose": "court order 12" });
    let proof = lost.asked("audit/log-proof", question).await;
    std::fs::write(&file, proof["proof"].as_str().expect("a proof")).expect("written");
    let keys = String::from_utf8(lost.log_file("keys").await.expect("keys")).expect("a text");
    let mut words: Vec<&OsStr> = ["log", "verify", "--output", "json"].map(OsStr::new).into();
    words.push(file.as_os_str());
    keys.lines()
        .for_each(|key| words.extend(["--key", key].map(OsStr::new)));
    let said: Value = serde_json::from_slice(&citycode(&words).await).expect("JSON");
    assert_eq!(
        (&said["holds"], &said["code_id"]),
        (&json!(true), &json!(lost.text("code_id"))),
        "{said}"
    );
}
