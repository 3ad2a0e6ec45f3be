//! Pairing: an operator types the eight digits that a new device shows, and chooses its channel or places.
//!
//! The device asks for the record of its code until it says which device it is. A code that was typed wrong five times for its area ends; codes
//! that nobody shows are counted for the operator's session. Wrong and expired codes are answered alike.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use axum::{Extension, Form};
use citycode_access_records::{Entry, Record, Table};
use citycode_service_kit::limits::{REMEMBERED_CALLERS, Rate, RateLimiter};
use data_encoding::HEXLOWER;
use http::StatusCode;
use serde::Deserialize;

use super::super::SharedMemory;
use super::super::access::Operating;
use super::super::fields::Faults;
use super::super::{numbers, result};
use super::devices;
use crate::access::pair::PairingRequest;
use crate::frame::page;
use crate::problem_page::PageError;
use crate::session::{Area, Device};
use crate::site::{SharedSite, Site};

/// The target of a checkpoint that works at every place.
pub(super) const ALL_PLACES: &str = "place:*";
const CODE_DIGITS: usize = 8;
/// Wrong tries that end a code.
const MOST_TRIES: u32 = 5;
const MOST_NAME_CHARS: usize = 40;
/// How long a device stays paired: it is paired again after a year.
const PAIRED_SECONDS: i64 = 365 * 86_400;
/// Wrong codes of one session: five, then one a minute. The digits allow a hundred million codes, of which few are shown.
const WRONG_CODES: Rate = Rate {
    burst: MOST_TRIES,
    per_minute: 1,
};

/// The wrong codes that sessions typed.
pub(in crate::ops) struct Attempts(RateLimiter<String>);

impl Default for Attempts {
    fn default() -> Self {
        Self(RateLimiter::new(WRONG_CODES, REMEMBERED_CALLERS))
    }
}

impl Attempts {
    /// Counts a wrong code; false if the session typed too many.
    fn count(&self, session: &str, now: Duration) -> bool {
        self.0.admit(&session.to_owned(), now).is_ok()
    }
}

/// The form.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(in crate::ops) struct Typed {
    form_token: String,
    command_id: String,
    pub(super) code: String,
    pub(super) device_name: String,
    pub(super) target: String,
}

/// What a typed code leads to.
enum Outcome {
    Paired,
    /// There is no such code, or no longer.
    Wrong,
    /// The code is of a device of another area.
    OtherArea,
    TooMany,
}

pub(in crate::ops) async fn pair(
    State(site): SharedSite,
    Extension(memory): SharedMemory,
    op: Operating,
    Form(typed): Form<Typed>,
) -> Result<Response, PageError> {
    let command_id = op.command(&site, &typed.form_token, &typed.command_id)?;
    let f = op.frame(&site, "/ops/devices");
    let digits = numbers::plain(&typed.code);
    let name = typed.device_name.trim();
    let mut faults = Faults::default();
    if digits.len() != CODE_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        faults.add("code", f.t("ops-pair-digits"));
    }
    if name.is_empty() || name.chars().count() > MOST_NAME_CHARS || name.chars().any(char::is_control) {
        faults.add("device_name", f.t("ops-pair-name"));
    }
    let device = device_for(&site, &typed.target, name);
    if device.is_none() {
        faults.add("target", f.t("ops-pair-target"));
    }
    if let Some(device) = device.filter(|_| faults.is_empty()) {
        let outcome = approve(&site, &digits, device, &command_id).await?;
        match limited(&site, &memory.pairing, &op, outcome) {
            Outcome::Paired => {
                let headline = f.t1("ops-paired", "name", name);
                let mut shown = devices(&site, &op, f, &Typed::default()).await?;
                shown.result = Some(result::done(headline));
                return Ok(page(StatusCode::OK, &shown));
            }
            Outcome::Wrong => faults.add("code", f.t("ops-pair-wrong")),
            Outcome::OtherArea => faults.add("target", f.t("ops-pair-other-area")),
            Outcome::TooMany => faults.add("code", f.t("problem-rate-limited")),
        }
    }
    let mut shown = devices(&site, &op, f, &typed).await?;
    let mut fields = [shown.code, shown.name, shown.target];
    faults.show_in(&mut fields);
    [shown.code, shown.name, shown.target] = fields;
    Ok(page(StatusCode::UNPROCESSABLE_ENTITY, &shown))
}

fn limited(site: &Site, attempts: &Attempts, op: &Operating, outcome: Outcome) -> Outcome {
    let is_wrong = matches!(outcome, Outcome::Wrong | Outcome::OtherArea);
    if is_wrong && !attempts.count(&op.session.id, site.clock.monotonic()) {
        return Outcome::TooMany;
    }
    outcome
}

/// The device of this target, without an id; `None` if there is no such channel or place.
fn device_for(site: &Site, target: &str, name: &str) -> Option<Device> {
    let (of, target) = target.split_once(':')?;
    let policy = &site.policy;
    let (channel, places) = match (of, target) {
        ("channel", name) => (policy.channel(name)?.name.clone(), Vec::new()),
        ("place", "*") => {
            let all = policy.places.iter().map(|place| place.name.clone());
            (String::new(), all.collect())
        }
        ("place", name) => (String::new(), vec![policy.place(name)?.name.clone()]),
        _ => return None,
    };
    Some(Device {
        pairing: String::new(),
        id: String::new(),
        name: name.to_owned(),
        channel,
        places,
    })
}

/// Gives the device that shows this code its identity. The same command a second time finds it done.
async fn approve(site: &Site, digits: &str, mut device: Device, command_id: &[u8]) -> Result<Outcome, PageError> {
    let key = PairingRequest::key(site, digits);
    let record = site.records.get(Table::Pairing, &key, site.now()).await?;
    let open = record.and_then(|record| {
        let pairing: PairingRequest = serde_json::from_slice(&record.value).ok()?;
        pairing.device.is_none().then_some((record, pairing))
    });
    let Some((record, mut pairing)) = open else {
        let is_done = is_done(site, command_id).await?;
        return Ok(if is_done { Outcome::Paired } else { Outcome::Wrong });
    };
    device.id = id_for(pairing.area, command_id);
    // A gate stands at one place, a kiosk has a channel.
    let fits = match pairing.area {
        Area::Kiosk => !device.channel.is_empty(),
        Area::Gate => device.places.len() == 1,
        _ => !device.places.is_empty(),
    };
    if !fits {
        pairing.tries += 1;
        let ended = pairing.tries >= MOST_TRIES;
        write(site, &key, &record, &pairing, if ended { 0 } else { record.expires_at }).await?;
        return Ok(if ended { Outcome::Wrong } else { Outcome::OtherArea });
    }
    // The device's record comes first: a crash after it leaves a device that nobody is, and that can be ended.
    create(site, &device).await?;
    pairing.device = Some(device.clone());
    if write(site, &key, &record, &pairing, record.expires_at).await? {
        return Ok(Outcome::Paired);
    }
    super::end::expire(site, &device.id).await?;
    Ok(Outcome::Wrong)
}

/// The id of the device that a command pairs.
fn id_for(area: Area, command_id: &[u8]) -> String {
    let digits = HEXLOWER.encode(command_id.get(..4).unwrap_or_default());
    format!("{}-{digits}", area.path().trim_start_matches('/'))
}

/// Whether this command paired a device before; the device may have taken its code meanwhile.
async fn is_done(site: &Site, command_id: &[u8]) -> Result<bool, PageError> {
    for area in [Area::Kiosk, Area::Staff, Area::Gate] {
        let id = id_for(area, command_id);
        if site
            .records
            .get(Table::Device, id.as_bytes(), site.now())
            .await?
            .is_some()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn create(site: &Site, device: &Device) -> Result<(), PageError> {
    let value = serde_json::to_vec(device).unwrap_or_default();
    let now = site.now();
    let entry = Entry {
        value: &value,
        expires_at: now + PAIRED_SECONDS,
    };
    site.records
        .create(Table::Device, device.id.as_bytes(), entry, now)
        .await?;
    Ok(())
}

/// Whether the pairing was replaced.
async fn write(
    site: &Site,
    key: &[u8],
    record: &Record,
    pairing: &PairingRequest,
    expires_at: i64,
) -> Result<bool, PageError> {
    let value = serde_json::to_vec(pairing).unwrap_or_default();
    let entry = Entry {
        value: &value,
        expires_at,
    };
    Ok(site
        .records
        .replace(Table::Pairing, key, record.revision, entry)
        .await?)
}
