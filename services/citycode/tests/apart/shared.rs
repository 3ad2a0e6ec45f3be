//! Snapshots that instances share: published by one revocation service of several, taken by whoever comes up later,
//! refused where they are not what revocation signed; and in none of this a verdict differs from what the log says.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use citycode_domain::event::{CodeIssued, CodeRef, EligibilityGround, Event, Sealed, Slot};
use citycode_domain::ids::{ClaimsDigest, CodeId, CodeKind, CommitPosition, HolderId, KeyId, ListId, StatusRef};
use citycode_domain::standing::Standing as Colour;
use citycode_domain::time::Timestamp;
use citycode_jetstream::{Connection, Credentials};
use citycode_projection::snapshot::ProjectionKind;
use citycode_projection::status::{self, FingerprintKey};
use citycode_projection::{BucketTail, Commit, LogIdentity};
use citycode_service_kit::files;
use citycode_shared_snapshot::seal::SealKey;
use citycode_shared_snapshot::{NewSnapshot, SharedSnapshots, SnapshotKeys, Standing, Statement};
use citycode_testkit::{IdNumbers, Running, eventually};
use citycode_token::SigningKey;
use jiff::civil::date;
use serde_json::{Value, json};

use crate::city::{City, audit, behind, issuer, portal, revocation, verifier};
use crate::secured::thief;

const PATIENCE: Duration = Duration::from_secs(60);
/// Often, so that a test sees several.
const OFTEN: &str = "[shared_snapshots]\npublish_seconds = 2\n";
/// Once: the next one is an hour away.
const ONCE: &str = "[shared_snapshots]\npublish_seconds = 3600\n";
const NOT_FROM_SHARED: &str = "[shared_snapshots]\nstart_from = false\n";

/// The place of a kind's snapshots, as revocation's user has it.
async fn place(city: &City, kind: ProjectionKind) -> SharedSnapshots {
    let mut connection = Connection::new(city.urls().to_vec(), "test");
    if city.is_secured() {
        let seed = std::fs::read_to_string(city.secret("nats/revocation.nk")).expect("a seed");
        connection.credentials = Credentials::NkeySeed(seed.trim().to_owned().into());
        connection.root_certificates = Some(city.secret("tls/ca.pem"));
    }
    let name = match kind {
        ProjectionKind::Status => "keys/status-snapshot.key",
        ProjectionKind::Register => "keys/register-snapshot.key",
    };
    let keys = SnapshotKeys {
        seal: SealKey::new(*files::read_secret(&city.secret(name)).expect("a key")),
        signers: vec![signing(city).public_key()],
    };
    SharedSnapshots::connect(&connection, kind, keys).await.expect("a connection")
}

fn signing(city: &City) -> SigningKey {
    let seed = files::read_secret(&city.secret("keys/snapshot-signing.key")).expect("a key");
    SigningKey::from_seed(*seed)
}

/// What stands there, once something does.
async fn standing(place: &SharedSnapshots) -> (Statement, u64) {
    eventually("a snapshot is shared", PATIENCE, || async {
        matches!(place.standing().await, Ok(Standing::Signed { .. }))
    })
    .await;
    match place.standing().await {
        Ok(Standing::Signed { found, sequence }) => (found.statement, sequence),
        other => panic!("{other:?}"),
    }
}

/// Waits until a snapshot stands there that knows all that the log has now.
async fn standing_of_now(city: &City, place: &SharedSnapshots) -> Statement {
    let heads = heads(city).await;
    eventually("a snapshot knows it all", PATIENCE, || async {
        let (statement, _) = standing(place).await;
        statement.points.iter().zip(&heads).all(|(point, head)| point >= head)
    })
    .await;
    standing(place).await.0
}

async fn heads(city: &City) -> Vec<u64> {
    let client = client(city).await;
    let mut heads = Vec::new();
    for partition in 0..4 {
        let subject = format!("$JS.API.STREAM.INFO.CC_EV_{partition:02}");
        let answer = client.request(subject, "".into()).await.expect("an answer");
        let info: Value = serde_json::from_slice(&answer.payload).expect("JSON");
        heads.push(info["state"]["last_seq"].as_u64().expect("a number"));
    }
    heads
}

async fn client(city: &City) -> async_nats::Client {
    if city.is_secured() {
        thief(city, "revocation").await
    } else {
        async_nats::connect(city.urls()).await.expect("a connection")
    }
}

/// What a service says in its health of how it started.
async fn started(service: &Running, projection: &str) -> String {
    let answer = reqwest::get(format!("{}/health/ready", service.url())).await.expect("an answer");
    let health: Value = answer.json().await.expect("JSON");
    let components = health["components"].as_array().expect("components").clone();
    let name = format!("{projection}_start");
    let found = components.iter().find(|component| component["name"] == name.as_str());
    found.and_then(|found| found["reason"].as_str()).unwrap_or("nothing").to_owned()
}

/// A number of `/metrics`; 0 where it was never counted.
async fn metric(service: &Running, name: &str) -> f64 {
    let answer = reqwest::get(format!("{}/metrics", service.url())).await.expect("an answer");
    let text = answer.text().await.expect("text");
    let line = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#'));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}

/// A city with one of each but verifiers, which each test starts itself.
struct Town {
    city: City,
    issuer: Running,
    revocation: Running,
    audit: Running,
    codes: Vec<String>,
    lost: String,
}

impl Town {
    async fn on(city: City, publishing: &str) -> Self {
        city.provision().await;
        let issuer = city.start(&issuer(), "issuer", "").await;
        let revocation = city.start(&revocation(), "revocation", publishing).await;
        let audit = city.start(&audit(), "audit", "").await;
        Self {
            city,
            issuer,
            revocation,
            audit,
            codes: Vec::new(),
            lost: String::new(),
        }
    }

    async fn portal(&self, name: &str, verifier: &Running) -> Running {
        let services = behind(&[self.issuer.url()], &[self.revocation.url()], &[verifier.url()], &[self.audit.url()]);
        self.city.start(&portal(), name, &services).await
    }

    /// Some people with codes: valid, superseded, lost, and one of somebody who was erased.
    async fn live(&mut self, portal: &Running) {
        for person in 0..4 {
            let id_number = IdNumbers::new(200 + person).born(date(1950, 5, 5));
            self.city.register(portal.url(), &id_number).await;
            for _ in 0..=person % 3 {
                let code = self.city.issue(portal.url(), &id_number, "offline").await;
                self.codes.push(code["token"].as_str().expect("a code").to_owned());
            }
            if person == 2 {
                let lost = json!({ "id_number": id_number, "kind": "offline", "channel": "kiosk" });
                self.city.post(portal.url(), "report-loss", lost).await;
            }
            if person == 3 {
                self.city.post(portal.url(), "erase", json!({ "id_number": id_number })).await;
            }
            self.lost = id_number;
        }
    }

    async fn verdicts(&self, portal: &Running) -> BTreeMap<String, String> {
        let mut verdicts = BTreeMap::new();
        for code in &self.codes {
            let decision = self.city.decision(portal.url(), "staffed", code).await;
            verdicts.insert(code.clone(), decision);
        }
        verdicts
    }

    /// Both answer alike in the end: a machine with too much to do may say for a while that it cannot check.
    async fn agree(&self, one: &Running, other: &Running) {
        eventually("their verdicts are the same", PATIENCE, || async {
            let (one, other) = (self.verdicts(one).await, self.verdicts(other).await);
            let decided = one.values().all(|verdict| !verdict.starts_with("cannot_check"));
            decided && one == other
        })
        .await;
        let verdicts = self.verdicts(one).await;
        for wanted in ["admit", "refuse"] {
            assert!(verdicts.values().any(|verdict| verdict.starts_with(wanted)), "{verdicts:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_verifier_starts_from_the_shared_snapshot_reads_the_tail_and_judges_as_one_that_read_everything() {
    let mut town = Town::on(City::secured().await, OFTEN).await;
    let second = town.city.start(&revocation(), "revocation-2", OFTEN).await;
    let whole = town.city.start(&verifier(), "verifier-whole", NOT_FROM_SHARED).await;
    let of_whole = town.portal("portal-whole", &whole).await;
    town.live(&of_whole).await;
    let place = place(&town.city, ProjectionKind::Status).await;
    standing_of_now(&town.city, &place).await;

    let new = town.city.start(&verifier(), "verifier-new", "").await;
    let said = started(&new, "status").await;
    assert!(said.starts_with("started from the snapshot shared at "), "{said}");
    assert!(started(&whole, "status").await.starts_with("started from the log's beginning"));
    // Everything that happened was in the snapshot: of the tail, which has watermarks alone, no event was folded.
    assert_eq!(metric(&new, "citycode_verifier_folded_events_total").await, 0.0, "{said}");
    assert!(metric(&whole, "citycode_verifier_folded_events_total").await >= 10.0);
    let taken = metric(&new, "citycode_start_snapshot_commits").await;
    let tail = metric(&new, "citycode_start_tail_commits").await;
    assert!(taken > 10.0 && tail < taken, "{taken} commits taken, {tail} read");
    let of_new = town.portal("portal-new", &new).await;
    town.agree(&of_whole, &of_new).await;
    // And it goes on: what happens now reaches it.
    let id_number = IdNumbers::new(77).born(date(1950, 5, 5));
    town.city.register(of_new.url(), &id_number).await;
    for _ in 0..2 {
        let code = town.city.issue(of_new.url(), &id_number, "offline").await;
        town.codes.push(code["token"].as_str().expect("a code").to_owned());
    }
    town.agree(&of_whole, &of_new).await;

    // A new issuer starts from the register's, and knows whom it may issue what.
    let place = self::place(&town.city, ProjectionKind::Register).await;
    standing_of_now(&town.city, &place).await;
    let new_issuer = town.city.start(&issuer(), "issuer-new", "").await;
    let said = started(&new_issuer, "register").await;
    assert!(said.starts_with("started from the snapshot shared at "), "{said}");
    let services = behind(&[new_issuer.url()], &[second.url()], &[new.url()], &[town.audit.url()]);
    let of_issuer = town.city.start(&portal(), "portal-issuer", &services).await;
    let code = town.city.issue(of_issuer.url(), &id_number, "offline").await;
    town.codes.push(code["token"].as_str().expect("a code").to_owned());
    town.agree(&of_whole, &of_new).await;
    for service in [&town.issuer, &town.revocation, &second, &whole, &new, &new_issuer] {
        let said = service.said();
        assert!(!said.contains("Permissions Violation"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_revocation_services_one_publishes() {
    let town = Town::on(City::on_one().await, ONCE).await;
    let others = [
        town.city.start(&revocation(), "revocation-2", ONCE).await,
        town.city.start(&revocation(), "revocation-3", ONCE).await,
    ];
    let all = [&town.revocation, &others[0], &others[1]];
    // Each has looked: it shared one, came too late to, or saw one standing there.
    eventually("each has looked for both", PATIENCE, || async {
        all.iter().all(|service| {
            let said = service.said();
            let looked = ["a snapshot is shared", "another instance shared", "a shared snapshot stands"];
            looked.iter().map(|words| said.matches(words).count()).sum::<usize>() >= 2
        })
    })
    .await;
    for projection in ["status", "register"] {
        let name = format!("citycode_shared_snapshots_published_total{{projection=\"{projection}\"}}");
        let mut published = 0.0;
        for service in all {
            published += metric(service, &name).await;
        }
        assert_eq!(published, 1.0, "{projection}");
    }
}

/// Places of a block: a snapshot holds whole ones.
const BLOCK: u32 = 4_096;

/// Another's snapshot of this very log, or of what it says is this log. Each code costs it a block of 15 kB.
fn made_up(folder: &Path, identity: &LogIdentity, sequence: u64, codes: u32) -> PathBuf {
    let (mut writer, _) = status::new(identity.partitions, FingerprintKey([7; 16]));
    for at in 1..=sequence {
        let first = u32::try_from(at - 1).expect("few") * codes;
        let events: Vec<Event> = (first..first + codes).map(|code| born(code * BLOCK)).collect();
        let commit = Commit {
            position: CommitPosition {
                partition: 0,
                sequence: at,
            },
            decided_at: Timestamp(1_780_000_000),
            holder: Some(HolderId([2; 16])),
            bucket: 1,
            tail: BucketTail {
                revision: at,
                hash: [3; 32],
            },
            message_id_prefix: 4,
            events: &events,
        };
        assert_eq!(writer.apply(&commit), Ok(Vec::new()));
    }
    let path = folder.join("made-up");
    writer.save(identity, File::create(&path).expect("a file")).expect("it is written");
    path
}

fn born(index: u32) -> Event {
    let kind = CodeKind::new(4).expect("4 is a kind");
    let expires_at = Timestamp(1_790_000_000);
    Event::CodeIssued(CodeIssued {
        code: CodeRef {
            slot: Slot { kind, guardian: None },
            code_id: CodeId(u64::from(index).to_le_bytes()),
            status: StatusRef {
                list: ListId::new(0, kind, expires_at, 0).expect("the expiry fits"),
                index,
            },
        },
        issued_at: Timestamp(1_780_000_000),
        expires_at,
        supersedes: None,
        standing: Colour::Green,
        ground: EligibilityGround::Everyone,
        acting_guardian: None,
        key_id: KeyId([1; 4]),
        claims_digest: ClaimsDigest(std::array::from_fn(|at| (index >> (at % 4 * 8)) as u8 ^ at as u8)),
        sealed_token: Sealed::default(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_revocation_did_not_sign_for_this_log_is_refused_and_the_log_read() {
    let mut town = Town::on(City::on_one().await, ONCE).await;
    let whole = town.city.start(&verifier(), "verifier-whole", NOT_FROM_SHARED).await;
    let of_whole = town.portal("portal-whole", &whole).await;
    town.live(&of_whole).await;
    let place = place(&town.city, ProjectionKind::Status).await;
    let (genuine, _) = standing(&place).await;
    let identity = LogIdentity {
        log_id: genuine.log_id,
        partitions: 4,
        buckets_per_partition: 65_536,
        hash_version: 1,
    };
    let foreign = LogIdentity {
        log_id: [9; 16],
        ..identity
    };
    let (ours, forger) = (signing(&town.city), SigningKey::from_seed([6; 32]));
    let cases = [
        ("forged", &identity, 1, &forger, "revocation did not sign it"),
        ("foreign", &foreign, 1, &ours, "it belongs to another log"),
        ("ahead", &identity, 9_000, &ours, "and the log ends at"),
        ("unsigned", &identity, 1, &ours, "it has no statement that can be read"),
        ("truncated", &identity, 1, &ours, "the object is cut short"),
    ];
    let client = client(&town.city).await;
    for (number, (name, identity, sequence, signing, reason)) in (1u8..).zip(cases) {
        let file = made_up(town.city.folder.path(), identity, sequence, u32::from(sequence == 1));
        let new = NewSnapshot {
            file: File::open(file).expect("a file"),
            identity: *identity,
            signing,
            salt: [number; 16],
            made_at: 1_790_000_000,
            replaces: place.standing().await.expect("an answer").sequence(),
        };
        place.publish(new).await.expect("anyone may write to these servers");
        let stored = async |subject: String, bytes: String| {
            client.request(subject, bytes.into()).await.expect("an answer");
        };
        if name == "unsigned" {
            let bare = json!({ "name": "status", "bucket": "CC_STATUS_SNAPSHOTS", "nuid": "x", "size": 1, "chunks": 1 });
            stored("$O.CC_STATUS_SNAPSHOTS.M.c3RhdHVz".into(), bare.to_string()).await;
        }
        if name == "truncated" {
            let gone = json!({ "filter": "$O.CC_STATUS_SNAPSHOTS.C.>" });
            stored("$JS.API.STREAM.PURGE.OBJ_CC_STATUS_SNAPSHOTS".into(), gone.to_string()).await;
        }
        let new = town.city.start(&verifier(), &format!("verifier-{name}"), "").await;
        let heard = new.said();
        assert!(heard.contains("SHARED SNAPSHOT REFUSED") && heard.contains(reason), "{name}: {heard}");
        let said = started(&new, "status").await;
        assert!(said.starts_with("started from the log's beginning"), "{name}: {said}");
        let of_new = town.portal(&format!("portal-{name}"), &new).await;
        town.agree(&of_whole, &of_new).await;
    }
    // A revocation service that comes up replaces what is of no use.
    let second = town.city.start(&revocation(), "revocation-2", ONCE).await;
    let (statement, _) = standing(&place).await;
    assert_ne!(statement.salt, [5; 16], "{}", second.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_killed_amid_an_upload_leaves_the_one_before_and_its_rest_is_swept() {
    let mut town = Town::on(City::on_one().await, ONCE).await;
    let whole = town.city.start(&verifier(), "verifier-whole", NOT_FROM_SHARED).await;
    let of_whole = town.portal("portal-whole", &whole).await;
    town.live(&of_whole).await;
    let place = place(&town.city, ProjectionKind::Status).await;
    let (before, sequence) = standing(&place).await;
    // A second one has much more to upload: codes that nobody issued, in its own snapshot.
    let identity = LogIdentity {
        log_id: before.log_id,
        partitions: 4,
        buckets_per_partition: 65_536,
        hash_version: 1,
    };
    let state = town.city.folder.path().join("state/revocation-2/projections");
    for folder in [state.parent().expect("a folder"), &state] {
        files::create_private_dir(folder).expect("a folder");
    }
    eventually("the log is long enough", PATIENCE, || async {
        heads(&town.city).await[0] >= 4
    })
    .await;
    let large = made_up(town.city.folder.path(), &identity, 4, 1_000);
    std::fs::rename(large, state.join("status")).expect("it is moved");
    let doomed = town.city.start(&revocation(), "revocation-2", OFTEN).await;
    let client = client(&town.city).await;
    let chunks = async || {
        let subject = "$JS.API.STREAM.INFO.OBJ_CC_STATUS_SNAPSHOTS".to_owned();
        let asked = json!({ "subjects_filter": "$O.CC_STATUS_SNAPSHOTS.C.>" }).to_string();
        let answer = client.request(subject, asked.into()).await.expect("an answer");
        let info: Value = serde_json::from_slice(&answer.payload).expect("JSON");
        let subjects = info["state"]["subjects"].as_object().cloned().unwrap_or_default();
        let counts = subjects.into_iter().map(|(subject, count)| (subject, count.as_u64().unwrap_or(0)));
        counts.collect::<BTreeMap<String, u64>>()
    };
    let amid = async {
        loop {
            if let Some((subject, _)) = chunks().await.into_iter().find(|(_, count)| *count > 8) {
                return subject;
            }
        }
    };
    let rest = tokio::time::timeout(PATIENCE, amid).await.expect("it begins to upload");
    drop(doomed.kill_9().await);
    // The one before stands, and whoever comes up takes it.
    let (after, same) = standing(&place).await;
    assert_eq!((&after, same), (&before, sequence), "it had not come to its end");
    assert!(chunks().await.contains_key(&rest));
    let new = town.city.start(&verifier(), "verifier-new", "").await;
    assert!(started(&new, "status").await.starts_with("started from the snapshot shared"));
    let of_new = town.portal("portal-new", &new).await;
    town.agree(&of_whole, &of_new).await;
    // The next one that publishes sweeps.
    let _third = town.city.start(&revocation(), "revocation-3", OFTEN).await;
    eventually("its rest is gone", PATIENCE, || async { !chunks().await.contains_key(&rest) }).await;
    let (now, _) = standing(&place).await;
    assert_ne!(now.salt, before.salt);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_revocation_writes_snapshots_and_nobody_reads_those_of_others() {
    let city = City::secured().await;
    city.provision().await;
    let revocation = thief(&city, "revocation").await;
    let ask = async |client: &async_nats::Client, subject: &str, body: &str| {
        let asked = client.request(subject.to_owned(), body.to_owned().into());
        let answer = tokio::time::timeout(Duration::from_millis(300), asked).await.ok()?.ok()?;
        Some(answer)
    };
    for bucket in ["CC_STATUS_SNAPSHOTS", "CC_REGISTER_SNAPSHOTS"] {
        let subject = format!("$O.{bucket}.C.x");
        assert!(ask(&revocation, &subject, "a chunk").await.is_some(), "revocation writes");
        for user in ["issuer", "verifier", "audit", "archive", "provision"] {
            let client = thief(&city, user).await;
            assert!(ask(&client, &subject, "a chunk").await.is_none(), "{user} wrote to {bucket}");
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
            for (verb, body) in [
                ("STREAM.MSG.GET", r#"{"seq":1}"#.to_owned()),
                ("DIRECT.GET", r#"{"seq":1}"#.to_owned()),
                ("CONSUMER.CREATE", consumer.to_string()),
            ] {
                let subject = format!("$JS.API.{verb}.OBJ_{bucket}");
                let read = ask(&client, &subject, &body).await.is_some();
                assert_eq!(read, may, "{user} {verb} {bucket}");
            }
        }
    }
}
