//! Services whose clocks are ten minutes off (by libfaketime): their verdicts, and that a wrong clock never makes an
//! outdated state appear fresh.

use std::path::Path;
use std::time::Duration;

use citycode_event_store_jetstream::JetStreamEventStore;
use citycode_testkit::checker::{Run, WholeLog, check};
use citycode_testkit::{IdNumbers, NatsProxy, Running, eventually, free_port};
use futures::FutureExt as _;
use jiff::civil::date;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::city::{City, audit, behind, citycode, issuer, metric, portal, revocation, verifier};
use crate::observations::PATIENCE;

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
const AHEAD: &str = "+600";
const BEHIND: &str = "-600";
const SAYS_WITHIN: Duration = Duration::from_secs(30);
/// Longer than the age limit of the strictest place.
const BLIND_WITHIN: Duration = Duration::from_secs(20);

/// The environment of a process whose wall clock is off by `seconds` and whose monotonic clock is correct.
fn off_by(seconds: &str) -> Vec<(String, String)> {
    let mut environment = faked();
    environment.push(("FAKETIME".into(), seconds.into()));
    environment
}

/// The same for a clock that is set by the content of a file while the process runs.
fn set_by(file: &Path) -> Vec<(String, String)> {
    let mut environment = faked();
    environment.push(("FAKETIME_TIMESTAMP_FILE".into(), file.display().to_string()));
    environment.push(("FAKETIME_NO_CACHE".into(), "1".into()));
    environment
}

fn faked() -> Vec<(String, String)> {
    let there = Path::new(LIBRARY).is_file();
    assert!(
        there,
        "libfaketime is not installed (`cargo xtask tools`); nothing was tested"
    );
    let settings = [
        ("LD_PRELOAD", LIBRARY),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
        ("NO_FAKE_STAT", "1"),
    ];
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// A city with three clocks, and an issuer, a verifier and a portal for each.
struct ThreeClocks {
    city: City,
    /// Portals of the issuers and verifiers with the correct clock, the one ahead and the one behind, in this order.
    portals: Vec<Running>,
    /// The verifiers' connections to the log.
    proxies: Vec<NatsProxy>,
    others: Vec<Running>,
    /// Indices of the verifiers in `others`.
    verifiers: Vec<usize>,
}

const CLOCKS: [&str; 3] = ["right", "ahead", "behind"];

impl ThreeClocks {
    async fn start() -> Self {
        // Access tokens are an hour old, so that a service whose clock is behind accepts them too.
        let mut city = City::on_one_with_older_secrets(&off_by("-3600")).await;
        for (clock, offset) in [("ahead", AHEAD), ("behind", BEHIND)] {
            for service in ["issuer", "verifier"] {
                city.environment.insert(format!("{service}-{clock}"), off_by(offset));
            }
        }
        city.provision().await;
        let mut issuers = Vec::new();
        for clock in CLOCKS {
            issuers.push(city.start(&issuer(), &format!("issuer-{clock}"), "").await);
        }
        let revocation = city.start(&revocation(), "revocation", "").await;
        let audit = city.start(&audit(), "audit", "").await;
        let (mut portals, mut proxies, mut others, mut verifiers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (clock, issuer) in CLOCKS.into_iter().zip(issuers) {
            let proxy = NatsProxy::to(&city.server().url(), "cc.ev.").await;
            let via_proxy = [proxy.address().to_owned()];
            let name = format!("verifier-{clock}");
            let verifier = city.launch(&verifier(), &name, free_port(), &via_proxy, "").await;
            let services = behind(&[issuer.url()], &[revocation.url()], &[verifier.url()], &[audit.url()]);
            portals.push(city.start(&portal(), &format!("portal-{clock}"), &services).await);
            proxies.push(proxy);
            others.extend([issuer, verifier]);
            verifiers.push(others.len() - 1);
        }
        others.extend([revocation, audit]);
        Self {
            city,
            portals,
            proxies,
            others,
            verifiers,
        }
    }

    /// Waits for these verdicts of the verifiers with the correct clock, the one ahead and the one behind.
    async fn wait_for_verdicts(&self, token: &str, wanted: [&str; 3]) {
        for (portal, wanted) in self.portals.iter().zip(wanted) {
            wait_for_verdict(&self.city, portal, "staffed", token, wanted).await;
        }
    }

    async fn issue(&self, portal: usize, id_number: &str) -> Value {
        self.city.issue(self.portals[portal].url(), id_number, "offline").await
    }
}

/// Waits until a portal's verifier has this verdict on a code.
async fn wait_for_verdict(city: &City, portal: &Running, place: &str, code: &str, wanted: &str) {
    let last = Mutex::new(String::new());
    let asking = eventually("a verifier says what it should", SAYS_WITHIN, || async {
        let said = city.decision(portal.url(), place, code).await;
        let wanted = said == wanted;
        *last.lock() = said;
        wanted
    });
    let told = std::panic::AssertUnwindSafe(asking).catch_unwind().await;
    assert!(told.is_ok(), "{}: {} instead of {wanted}", portal.url(), last.lock());
}

const RIGHT: usize = 0;
const AT_AHEAD: usize = 1;
const AT_BEHIND: usize = 2;

fn token(code: &Value) -> &str {
    code["token"].as_str().expect("a code")
}

fn issued_at(code: &Value) -> jiff::Timestamp {
    code["issued_at"].as_str().expect("a time").parse().expect("a time")
}

#[tokio::test(flavor = "multi_thread")]
async fn r7_r23_a_clock_ten_minutes_off_affects_only_validity_periods() {
    let clocks = ThreeClocks::start().await;
    let (admits, early) = ("admit_after_id_check/id_check_required", "refuse/not_yet_valid");
    let mut numbers = IdNumbers::new(81);
    let [first, second, third] = [(); 3].map(|()| numbers.born(date(1950, 5, 5)));
    for (portal, id_number) in [(RIGHT, &first), (RIGHT, &second), (AT_BEHIND, &third)] {
        clocks.city.register(clocks.portals[portal].url(), id_number).await;
    }
    // The half-open validity period starts at the instant of issue, on the clock of each verifier (R7).
    let right = clocks.issue(RIGHT, &first).await;
    clocks.wait_for_verdicts(token(&right), [admits, admits, early]).await;
    let ahead = clocks.issue(AT_AHEAD, &second).await;
    clocks.wait_for_verdicts(token(&ahead), [early, admits, early]).await;
    let behind = clocks.issue(AT_BEHIND, &third).await;
    clocks.wait_for_verdicts(token(&behind), [admits, admits, admits]).await;
    // The next decision is not dated before the previous one, even with a wrong clock; and R4 holds.
    for (portal, id_number, before) in [(RIGHT, &second, &ahead), (AT_BEHIND, &first, &right)] {
        let after = clocks.issue(portal, id_number).await;
        assert!(issued_at(&after) >= issued_at(before), "{after} after {before}");
        assert_eq!(after["supersedes"], before["code_id"]);
    }
    // Codes die by the log, independent of clocks.
    let superseded = clocks.issue(AT_BEHIND, &third).await;
    clocks.wait_for_verdicts(token(&behind), ["refuse/superseded"; 3]).await;
    let lost = json!({ "id_number": third, "kind": "offline", "channel": "kiosk" });
    clocks.city.post(clocks.portals[RIGHT].url(), "report-loss", lost).await;
    clocks
        .wait_for_verdicts(token(&superseded), ["refuse/reported_lost"; 3])
        .await;
    let reader = JetStreamEventStore::open(&clocks.city.log())
        .await
        .expect("the log opens");
    let run = Run {
        log: WholeLog::read(&reader).await.expect("the log can be read"),
        commands: Vec::new(),
        verdicts: Vec::new(),
        projections: Vec::new(),
    };
    assert_eq!(check(&run), Vec::new());
}

/// R24: each verifier measures the age of its state on its own monotonic clock.
#[tokio::test(flavor = "multi_thread")]
async fn r24_a_wrong_clock_does_not_make_the_state_appear_fresher() {
    let clocks = ThreeClocks::start().await;
    let id_number = IdNumbers::new(82).born(date(1950, 5, 5));
    clocks.city.register(clocks.portals[AT_BEHIND].url(), &id_number).await;
    let code = clocks.issue(AT_BEHIND, &id_number).await;
    clocks
        .wait_for_verdicts(token(&code), ["admit_after_id_check/id_check_required"; 3])
        .await;
    for portal in &clocks.portals {
        let asked = json!({ "place": "staffed", "code": token(&code) });
        let (_, verdict) = clocks
            .city
            .call(portal.url(), "verify", &asked)
            .await
            .expect("a verdict");
        let age = verdict["as_of"]["age_ms"].as_u64().expect("an age");
        assert!(age <= 10_000, "{verdict}");
    }
    clocks.proxies.iter().for_each(NatsProxy::close);
    let lost = json!({ "id_number": id_number, "kind": "offline", "channel": "kiosk" });
    clocks.city.post(clocks.portals[RIGHT].url(), "report-loss", lost).await;
    let blind = async {
        clocks
            .wait_for_verdicts(token(&code), ["cannot_check/too_stale"; 3])
            .await;
    };
    tokio::time::timeout(BLIND_WITHIN, blind)
        .await
        .expect("beyond the limit no verifier admits");
    clocks.proxies.iter().for_each(NatsProxy::open);
    clocks
        .wait_for_verdicts(token(&code), ["refuse/reported_lost"; 3])
        .await;
}

/// R24, R25: a code of an issuer whose clock is behind is dated before the end of every verifier's state, even if the
/// verifier has not folded it yet. It is not a forgery and raises no alarm.
#[tokio::test(flavor = "multi_thread")]
async fn r25_a_new_code_of_an_issuer_whose_clock_is_behind_raises_no_alarm() {
    let clocks = ThreeClocks::start().await;
    let id_number = IdNumbers::new(85).born(date(1950, 5, 5));
    clocks.city.register(clocks.portals[AT_BEHIND].url(), &id_number).await;
    // After this, every verifier's state is fresh and contains the list.
    let known = clocks.issue(AT_BEHIND, &id_number).await;
    let admits = "admit_after_id_check/id_check_required";
    clocks.wait_for_verdicts(token(&known), [admits; 3]).await;
    clocks.proxies.iter().for_each(NatsProxy::close);
    let new_code = clocks.issue(AT_BEHIND, &id_number).await;
    for portal in &clocks.portals {
        let said = clocks.city.decision(portal.url(), "staffed", token(&new_code)).await;
        assert_eq!(said, "cannot_check/too_stale", "{}", portal.url());
    }
    clocks.proxies.iter().for_each(NatsProxy::open);
    clocks.wait_for_verdicts(token(&new_code), [admits; 3]).await;
    for verifier in &clocks.verifiers {
        let alarms = metric(&clocks.others[*verifier], "citycode_verifier_unknown_codes_total").await;
        assert!(alarms == 0.0, "{alarms} alarms");
    }
}

/// R16: a proof is judged by the verifier's clock, so a verifier whose clock is off by more than a proof's validity
/// admits no live code.
#[tokio::test(flavor = "multi_thread")]
async fn r16_a_proof_is_judged_by_the_verifiers_clock() {
    let clocks = ThreeClocks::start().await;
    let city = &clocks.city;
    let id_number = IdNumbers::new(83).born(date(1990, 5, 5));
    city.register(clocks.portals[AT_BEHIND].url(), &id_number).await;
    let phone = city.folder.path().join("phone.json");
    let (server, admin) = (clocks.portals[AT_BEHIND].url(), city.secret("access/admin.token"));
    let admin = std::fs::read_to_string(admin).expect("a token");
    let phone = phone.to_str().expect("a name");
    let words = [
        "issue",
        "--server",
        server,
        "--token",
        admin.trim(),
        "--kind",
        "live",
        "--id-number",
        &id_number,
        "--channel",
        "app",
        "--phone",
        phone,
        "--output",
        "json",
    ];
    let code: Value = serde_json::from_slice(&citycode(&words.map(AsRef::as_ref)).await).expect("JSON");
    let reasons = ["admit/ok", "refuse/stale_proof", "refuse/stale_proof"];
    for (portal, wanted) in clocks.portals.iter().zip(reasons) {
        let words = ["present", "--token", token(&code), "--phone", phone, "--output", "json"];
        let shown: Value = serde_json::from_slice(&citycode(&words.map(AsRef::as_ref)).await).expect("JSON");
        let shown = shown["presentation"].as_str().expect("a presentation");
        wait_for_verdict(city, portal, "sentinel", shown, wanted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_set_back_under_running_services_is_not_trusted_until_it_is_correct() {
    let mut city = City::on_one_with_older_secrets(&off_by("-3600")).await;
    let clock = city.folder.path().join("clock");
    std::fs::write(&clock, "+0").expect("a file");
    for service in ["issuer", "verifier"] {
        city.environment.insert(service.to_owned(), set_by(&clock));
    }
    city.provision().await;
    let services = city.start_all("").await;
    let portal = &services.portal;
    let id_number = IdNumbers::new(84).born(date(1950, 5, 5));
    city.register(portal.url(), &id_number).await;
    let code = city.issue(portal.url(), &id_number, "offline").await;
    let says = async |wanted: &str| wait_for_verdict(&city, portal, "staffed", token(&code), wanted).await;
    says("admit_after_id_check/id_check_required").await;
    std::fs::write(&clock, BEHIND).expect("a file");
    says("cannot_check/clock_untrusted").await;
    let order = json!({ "id_number": id_number, "kind": "offline", "channel": "kiosk" });
    let refused = city.call(portal.url(), "issue", &order).await.expect("an answer");
    assert_eq!(
        (refused.0, &refused.1["code"]),
        (503, &json!("unavailable")),
        "{refused:?}"
    );
    std::fs::write(&clock, "+0").expect("a file");
    says("admit_after_id_check/id_check_required").await;
    eventually("changes are taken again", PATIENCE, || async {
        city.call(portal.url(), "issue", &order)
            .await
            .is_some_and(|(status, _)| status == 200)
    })
    .await;
}
