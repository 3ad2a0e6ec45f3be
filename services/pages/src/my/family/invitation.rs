//! Invitations: eight digits with which one named person consents that another one acts for her.

use citycode_access_records::{Entry, Table};
use citycode_service_kit::entropy::Draw as _;
use citycode_service_kit::problem::{Code, Problem};
use serde::{Deserialize, Serialize};

use crate::session::{Resident, Session};
use crate::site::Site;

/// An invitation works for a day.
const SECONDS: i64 = 86_400;
/// Digits of an invitation.
const DIGITS: usize = 8;
const PURPOSE: &str = "invitation";

/// What an invitation says; sealed in its record.
#[derive(Serialize, Deserialize)]
pub(super) struct Invitation {
    /// ID number. Personal.
    pub(super) guardian: String,
    /// Name. Personal.
    pub(super) guardian_name: String,
    /// ID number. Personal.
    pub(super) dependent: String,
}

/// The digits of an invitation as somebody typed them.
pub(super) fn digits(typed: &str) -> String {
    let plain = typed.chars().map(crate::typed::narrow);
    plain.filter(char::is_ascii_digit).take(DIGITS).collect()
}

impl Invitation {
    /// The invitation with these digits for this resident; somebody else's looks like none.
    ///
    /// # Errors
    /// The resident typed too many different ones, or the records cannot be read.
    pub(super) async fn find(site: &Site, resident: &Resident, code: &str) -> Result<Option<Self>, Problem> {
        let key = site.seal.name(PURPOSE, code.as_bytes());
        let person = Session::person_key(site, &resident.id_number);
        site.limits.invitation(person, key, site.clock.monotonic())?;
        let record = site.records.get(Table::Invitation, &key, site.now()).await;
        let record = record.map_err(|error| {
            tracing::error!(%error, "the records of invitations cannot be read");
            Problem::new(Code::Unavailable, "the invitation cannot be looked up")
        })?;
        let sealed = record.and_then(|record| String::from_utf8(record.value).ok());
        let invitation = sealed.and_then(|sealed| site.seal.open(PURPOSE, &sealed));
        let invitation: Option<Self> = invitation.and_then(|text| serde_json::from_slice(&text).ok());
        Ok(invitation.filter(|invitation| invitation.dependent == resident.id_number))
    }

    /// Makes an invitation for `relative`, and returns its digits.
    ///
    /// # Errors
    /// The records cannot be written, or the digits are in use.
    pub(super) async fn make(site: &Site, resident: &Resident, relative: &str) -> Result<String, Problem> {
        let invitation = Self {
            guardian: resident.id_number.clone(),
            guardian_name: resident.name.clone(),
            dependent: relative.to_owned(),
        };
        let text = serde_json::to_vec(&invitation).map_err(|_| Problem::internal())?;
        let sealed = site.seal.seal(PURPOSE, &text, &*site.entropy);
        let now = site.now();
        let entry = Entry {
            value: sealed.as_bytes(),
            expires_at: now + SECONDS,
        };
        let code = format!("{:08}", site.entropy.below(100_000_000));
        let key = site.seal.name(PURPOSE, code.as_bytes());
        let created = site.records.create(Table::Invitation, &key, entry, now).await;
        let is_new = created.map_err(|error| {
            tracing::error!(%error, "the records of invitations cannot be written");
            Problem::new(Code::Unavailable, "the invitation cannot be kept")
        })?;
        if !is_new {
            // One in a hundred million: the reader tries again.
            return Err(Problem::new(Code::Unavailable, "the invitation's code is in use"));
        }
        Ok(code)
    }
}
