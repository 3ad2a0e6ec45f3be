//! The web pages of two portals on one city: any of them goes on with what the other began, also when one is killed;
//! what ended at one has ended at both; and without the servers nothing looks valid.

use std::time::Duration;

use citycode_test_support::OpenIdProvider;
use citycode_testkit::{IdNumbers, Running, eventually};
use jiff::civil::date;
use serde_json::json;

use crate::city::{City, Services, behind, portal};

mod browser;

use browser::{Answer, Browser, HOST_NAME};

const PATIENCE: Duration = Duration::from_secs(60);
/// The resident's name as pages show it.
const NAME: &str = "张*三";

/// A city with a resident, and two portals that serve its pages.
struct Town {
    city: City,
    provider: OpenIdProvider,
    services: Services,
    portals: Vec<Running>,
    /// The configuration of the portals.
    pages: String,
    resident: String,
}

impl Town {
    async fn new() -> Self {
        let city = City::secured().await;
        city.provision().await;
        let services = city.start_all("").await;
        let resident = IdNumbers::new(46).born(date(1950, 5, 5));
        city.register(services.portal.url(), &resident).await;
        let provider = OpenIdProvider::start().await;
        provider.knows("zhang", json!({ "name": "张小三", "id_number": resident }));
        provider.knows("admin", json!({ "name": "Wang", "roles": ["admin"] }));
        let pages = format!(
            "{}[pages]\n[sign_in]\nissuer = {:?}\nclient_id = \"pages\"\npublic_url = \"http://{HOST_NAME}\"\n",
            behind(
                &[services.issuer.url()],
                &[services.revocation.url()],
                &[services.verifier.url()],
                &[services.audit.url()],
            ),
            provider.issuer(),
        );
        let mut town = Self {
            city,
            provider,
            services,
            portals: Vec::new(),
            pages,
            resident,
        };
        for name in ["portal-1", "portal-2"] {
            town.start_portal(name).await;
        }
        town
    }

    async fn start_portal(&mut self, name: &str) {
        let started = self.city.start(&portal(), name, &self.pages).await;
        self.portals.push(started);
    }

    async fn signed_in(&self, login: &str, area: &str) -> Browser {
        let mut browser = Browser::new();
        let [one, other] = [&self.portals[0], &self.portals[1]];
        browser.sign_in(&self.provider, login, area, (one, other)).await;
        browser
    }
}

/// The fields of a form that acts.
async fn act(browser: &mut Browser, portal: &Running, page: &str) -> (String, String) {
    let shown = browser.get(portal, page).await;
    assert_eq!(shown.status, 200, "{page}: {}", shown.text);
    (shown.field("form_token"), shown.field("command_id"))
}

fn sent_to_sign_in(answer: &Answer) {
    assert_eq!(answer.status, 303, "{}", answer.text);
    assert!(answer.location.starts_with("/sign-in?"), "{}", answer.location);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_portal_goes_on_with_what_another_began_and_an_end_counts_at_all() {
    let mut town = Town::new().await;
    let mut resident = town.signed_in("zhang", "my").await;
    a_portal_is_killed_in_the_middle_of_a_journey(&mut town, &mut resident).await;
    a_device_is_paired_at_one_portal_and_works_at_the_other(&town).await;
    sign_out_at_one_portal_ends_the_session_at_the_other(&town, &mut resident).await;
    without_the_servers_no_session_is_valid(&mut town).await;
}

async fn a_portal_is_killed_in_the_middle_of_a_journey(town: &mut Town, resident: &mut Browser) {
    let (token, command) = act(resident, &town.portals[0], "/my/offline").await;
    // The form is open in the browser; its portal ends.
    town.portals.remove(0).kill_9().await;
    let fields = [("form_token", token.as_str()), ("command_id", command.as_str())];
    let issued = resident.act(&town.portals[0], "/my/offline/issue", &fields).await;
    assert_eq!((issued.status, issued.attribute("data-result").as_str()), (200, "done"));
    let code = issued.attribute("data-code-id");
    // The same form again, at a portal that has just started, does nothing twice.
    town.start_portal("portal-1").await;
    let again = resident.act(&town.portals[1], "/my/offline/issue", &fields).await;
    assert_eq!((again.status, again.attribute("data-code-id")), (200, code));
    let asked = json!({ "id_number": town.resident, "kind": "offline" });
    let portal = town.services.portal.url();
    let history = town.city.post(portal, "history", asked).await;
    assert_eq!(history["entries"].as_array().map(Vec::len), Some(1), "{history}");
}

async fn a_device_is_paired_at_one_portal_and_works_at_the_other(town: &Town) {
    let [one, other] = [&town.portals[0], &town.portals[1]];
    let mut device = Browser::new();
    let asked = device.post(one, "/pair", &[("area", "staff")]).await;
    assert_eq!(asked.status, 303, "{}", asked.text);
    let shown = device.get(other, "/pair").await;
    let digits = shown.attribute("data-pairing-code");
    // Somebody else has copied the cookie of this device.
    let mut copy = device.clone();
    let mut admin = town.signed_in("admin", "ops").await;
    let (token, command) = act(&mut admin, other, "/ops/devices").await;
    let fields = [
        ("form_token", token.as_str()),
        ("command_id", command.as_str()),
        ("code", digits.as_str()),
        ("device_name", "北门"),
        ("target", "place:staffed"),
    ];
    let paired = admin.post(other, "/ops/devices", &fields).await;
    assert_eq!((paired.status, paired.attribute("data-result").as_str()), (200, "done"));
    let id = paired.attribute("data-device");
    let taken = device.get(one, "/pair").await;
    assert_eq!((taken.status, taken.location.as_str()), (303, "/staff"));
    // Of two browsers with one pairing code, at two portals, one becomes the device.
    let late = copy.get(other, "/pair").await;
    assert!(late.status == 200 && !late.says("data-pairing-code"), "{}", late.text);
    sent_to_sign_in(&copy.get(other, "/staff").await);

    scan_at(town, &mut device, other).await;

    let (token, _) = act(&mut admin, one, &format!("/ops/devices/end?id={id}")).await;
    let ended = admin
        .post(one, "/ops/devices/end", &[("form_token", &token), ("id", &id)])
        .await;
    assert_eq!((ended.status, ended.attribute("data-result").as_str()), (200, "done"));
    for portal in [one, other] {
        assert_eq!(device.get(portal, "/staff").await.status, 410, "the device was retired");
    }
}

/// The pages' own access token lets the device scan, and only where it was paired.
async fn scan_at(town: &Town, device: &mut Browser, portal: &Running) {
    let reissued = town
        .city
        .issue(town.services.portal.url(), &town.resident, "offline")
        .await;
    let code = reissued["token"].as_str().expect("a code").to_owned();
    let token = device.get(portal, "/staff").await.field("form_token");
    let fields = [
        ("form_token", token.as_str()),
        ("place", "staffed"),
        ("code", code.as_str()),
    ];
    let admits = async || {
        let judged = device.clone().post(portal, "/staff/scan", &fields).await;
        judged.status == 200 && judged.attribute("data-decision").starts_with("admit")
    };
    // The verifier may not know the code yet.
    eventually("it admits", PATIENCE, admits).await;
    let elsewhere = [
        ("form_token", token.as_str()),
        ("place", "sampling_desk"),
        ("code", &code),
    ];
    assert_eq!(device.post(portal, "/staff/scan", &elsewhere).await.status, 403);
}

async fn sign_out_at_one_portal_ends_the_session_at_the_other(town: &Town, resident: &mut Browser) {
    let [one, other] = [&town.portals[0], &town.portals[1]];
    let mut thief = resident.clone();
    let mine = thief.get(other, "/my").await;
    assert!(mine.status == 200 && mine.says(NAME), "{}", mine.text);
    let token = mine.field("form_token");
    // A form of another session is none of this one.
    let foreign = resident.post(one, "/my/sign-out", &[("form_token", "00")]).await;
    assert_eq!(foreign.status, 403);
    let left = resident.post(one, "/my/sign-out", &[("form_token", &token)]).await;
    assert_eq!((left.status, left.location.as_str()), (303, "/"));
    for portal in [other, one] {
        sent_to_sign_in(&thief.get(portal, "/my").await);
    }
}

async fn without_the_servers_no_session_is_valid(town: &mut Town) {
    let resident = town.signed_in("zhang", "my").await;
    town.city.server_mut().kill9().await;
    let refusals = town.portals.iter().map(async |portal| {
        // The last proof that the records are up to date counts for a second.
        let is_unavailable = async || {
            let answer = resident.clone().get(portal, "/my").await;
            answer.status == 503 && answer.says("现在无法办理") && !answer.says(NAME)
        };
        eventually("nothing is known of the session", PATIENCE, is_unavailable).await;
        let pairing = Browser::new().post(portal, "/pair", &[("area", "staff")]).await;
        assert_eq!(pairing.status, 503, "{}", pairing.text);
    });
    futures::future::join_all(refusals).await;
    town.city.server_mut().restart().await;
    for portal in &town.portals {
        let goes_on = async || {
            let answer = resident.clone().get(portal, "/my").await;
            answer.status == 200 && answer.says(NAME)
        };
        eventually("the session goes on", PATIENCE, goes_on).await;
    }
}
