//! What is wrong now: services that cannot be asked, and keys. Nothing that could not be asked counts as good.

use citycode_service_kit::problem::Problem;
use citycode_wire::proto::issuer::v1::{ListKeysRequest, SigningKey};
use citycode_wire::proto::revocation::v1::ListStatusKeysRequest;

use super::city::Known;
use crate::caller::PageCaller;
use crate::frame::Frame;
use crate::ops::knowledge::{AtPlace, of_places};
use crate::ops::numbers::listed;
use crate::site::Site;

/// How long a service may take.
const WITHIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Something that is wrong.
pub(super) struct Trouble {
    /// `bad` or `warn`.
    pub(super) tone: &'static str,
    pub(super) title: String,
    pub(super) text: String,
    /// The page that helps; empty if there is none.
    pub(super) link: &'static str,
}

/// What is wrong, the worst first.
pub(super) async fn find(site: &Site, caller: &PageCaller, f: &Frame<'_>, city: &Known) -> Vec<Trouble> {
    let (keys, lists, places) = tokio::join!(
        tokio::time::timeout(WITHIN, keys(site, caller)),
        tokio::time::timeout(WITHIN, status_keys(site, caller)),
        of_places(site, caller, f),
    );
    let mut troubles = Vec::new();
    match keys {
        Ok(Ok(keys)) => troubles.extend(of_keys(f, &keys, site.now())),
        _ => troubles.push(away(f, "ops-service-issuer", "ops-away-issuer")),
    }
    if !matches!(lists, Ok(Ok(()))) {
        troubles.push(away(f, "ops-service-revocation", "ops-away-revocation"));
    }
    troubles.extend(of_verifiers(f, &places));
    if city.failed.is_some() {
        troubles.push(away(f, "ops-service-audit", "ops-away-audit"));
    }
    troubles
}

fn away(f: &Frame<'_>, service: &str, text: &str) -> Trouble {
    Trouble {
        tone: "bad",
        title: f.t1("ops-away", "service", &f.t(service)),
        text: f.t(text),
        link: "",
    }
}

/// Verifiers that do not answer, or whose state is too old for a place.
fn of_verifiers(f: &Frame<'_>, places: &[AtPlace]) -> Option<Trouble> {
    if places.iter().any(|place| place.is_fresh.is_none()) {
        return Some(away(f, "ops-service-verifier", "ops-away-verifier"));
    }
    let stale = places.iter().filter(|place| place.is_fresh == Some(false));
    let stale: Vec<String> = stale.map(|place| place.label.clone()).collect();
    (!stale.is_empty()).then(|| Trouble {
        tone: "bad",
        title: f.t("ops-stale-title"),
        text: f.t1("ops-stale-text", "places", &listed(f, &stale)),
        link: "",
    })
}

async fn keys(site: &Site, caller: &PageCaller) -> Result<Vec<SigningKey>, Problem> {
    let mut issuer = site.clients.issuer.clone();
    let answer = issuer.list_keys(site.request(caller, ListKeysRequest {})?).await?;
    Ok(answer.into_inner().keys)
}

async fn status_keys(site: &Site, caller: &PageCaller) -> Result<(), Problem> {
    let mut revocation = site.clients.revocation.clone();
    revocation
        .list_status_keys(site.request(caller, ListStatusKeysRequest {})?)
        .await?;
    Ok(())
}

fn of_keys(f: &Frame<'_>, keys: &[SigningKey], now: i64) -> Option<Trouble> {
    let signs = keys
        .iter()
        .any(|key| key.signs_until.is_none_or(|until| now < until) && !key.compromised);
    if !signs {
        return Some(Trouble {
            tone: "bad",
            title: f.t("ops-no-signing-key"),
            text: f.t("ops-no-signing-key-text"),
            link: "/ops/keys",
        });
    }
    let compromised = keys
        .iter()
        .find(|key| key.compromised && key.verifies_until.is_none_or(|until| now < until));
    compromised.map(|key| Trouble {
        tone: "warn",
        title: f.t1("ops-key-compromised-title", "key", &key.key_id),
        text: f.t("ops-key-compromised-text"),
        link: "/ops/keys",
    })
}
