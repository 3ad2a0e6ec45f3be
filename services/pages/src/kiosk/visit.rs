//! A visit: what a kiosk knows of the person in front of it, between the card and 结束办理. It is a sealed cookie, so
//! any portal can go on with it; only the session of the same kiosk opens it.

use axum::http::request::Parts;
use citycode_access_records::{Entry, Table};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::issued::IssuedAgain;
use crate::lang::cookie;
use crate::problem_page::PageError;
use crate::session::Session;
use crate::site::Site;

const COOKIE_NAME: &str = "citycode-kiosk-visit";
/// How long a visit lasts after its last step, in seconds. The page ends it much earlier when nobody touches it.
const LIFETIME_SECONDS: i64 = 600;
/// How long a visit lasts at most, in seconds.
const MAX_SECONDS: i64 = 1_800;
/// Most acts of one visit: the cookie has at most 4,096 bytes.
const MAX_ACTS: usize = 6;

/// How the person was authenticated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Proof {
    /// Not yet: the ID number was only typed.
    None,
    /// A typed number, which is enough in a demo.
    Demo,
    /// An attested reading of the ID card.
    CardReader,
    /// An attendant's PIN.
    Attendant,
}

impl Proof {
    /// The method as the log names it.
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Demo => "demo",
            Self::CardReader => "id_card_reader",
            Self::Attendant => "attendant",
        }
    }
}

/// What a person may do at a kiosk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Act {
    /// Gets a code of which none is valid.
    Issue,
    /// Gets a new code instead of a valid one.
    Reissue,
    /// Reports a code lost.
    Loss,
}

impl Act {
    /// The value of `data-act`, and the name of the act's path.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Issue => "issue",
            Self::Reissue => "reissue",
            Self::Loss => "loss",
        }
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        [Self::Issue, Self::Reissue, Self::Loss]
            .into_iter()
            .find(|act| act.word() == word)
    }

    /// Whether it gives a code.
    pub(super) fn prints(self) -> bool {
        self != Self::Loss
    }
}

/// An act that a person asked for: a repetition of it is the same call with the same command id.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) act: Act,
    /// The name of the kind.
    pub(super) kind: String,
    /// The relative's ID number if the person acts for one. Personal.
    pub(super) relative: Option<String>,
    pub(super) command_id: Uuid,
}

/// An act that was done.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) asked: Asked,
    /// The code that the act made or ended.
    pub(super) code_id: String,
    /// The code that stopped working.
    pub(super) died: Option<String>,
    /// Unix seconds.
    pub(super) at: i64,
}

/// A visit.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Visit {
    /// 16 bytes as hex.
    pub(super) id: String,
    /// Unix seconds.
    began_at: i64,
    /// Unix seconds, exclusive.
    expires_at: i64,
    /// ID number, checked. Personal.
    pub(super) id_number: String,
    /// The name that the card reader gave. Personal.
    pub(super) name: Option<String>,
    pub(super) proof: Proof,
    /// ID number of the relative, checked. Personal.
    pub(super) relative: Option<String>,
    /// An act whose outcome is not known yet.
    pub(super) pending: Option<Asked>,
    /// The code of the problem of the last act, if it was not done.
    pub(super) problem: Option<String>,
    /// What the next page prints. The page forgets it, so reloading it prints nothing.
    pub(super) to_print: Option<IssuedAgain>,
    /// The acts of this visit, the last one at the end.
    pub(super) done: Vec<Done>,
}

impl Visit {
    /// A visit that begins now.
    pub(super) fn begin(site: &Site, id: [u8; 16], id_number: String, name: Option<String>, proof: Proof) -> Self {
        let now = site.now();
        Self {
            id: HEXLOWER.encode(&id),
            began_at: now,
            expires_at: now + LIFETIME_SECONDS,
            id_number,
            name,
            proof,
            relative: None,
            pending: None,
            problem: None,
            to_print: None,
            done: Vec::new(),
        }
    }

    /// The visit of the request, unless it ended.
    ///
    /// # Errors
    /// It is not known whether it ended.
    pub(super) async fn of(site: &Site, parts: &Parts, session: &Session) -> Result<Option<Self>, PageError> {
        let Some(visit) = Self::opened(site, parts, session) else {
            return Ok(None);
        };
        let ended = site
            .records
            .get(Table::EndedSession, visit.id.as_bytes(), site.now())
            .await?;
        Ok(ended.is_none().then_some(visit))
    }

    fn opened(site: &Site, parts: &Parts, session: &Session) -> Option<Self> {
        let text = site.seal.open(&purpose(session), cookie(parts, COOKIE_NAME)?)?;
        let visit: Self = serde_json::from_slice(&text).ok()?;
        (site.now() < visit.expires_at).then_some(visit)
    }

    /// The `Set-Cookie` header that keeps it, for another ten minutes.
    pub(super) fn set_cookie(&mut self, site: &Site, session: &Session) -> String {
        let now = site.now();
        self.expires_at = (now + LIFETIME_SECONDS).min(self.began_at + MAX_SECONDS);
        let text = serde_json::to_vec(self).expect("a visit is always JSON");
        let sealed = site.seal.seal(&purpose(session), &text, &*site.entropy);
        let lasts = self.expires_at - now;
        format!(
            "{COOKIE_NAME}={sealed}; Path=/kiosk; Max-Age={lasts}; SameSite=Strict; HttpOnly{}",
            site.secure_attribute()
        )
    }

    /// The `Set-Cookie` header that removes it.
    pub(super) fn clear_cookie() -> String {
        format!("{COOKIE_NAME}=; Path=/kiosk; Max-Age=0; SameSite=Strict; HttpOnly")
    }

    /// Ends it for every portal: a copy of the cookie opens nothing any more.
    ///
    /// # Errors
    /// The records cannot be written.
    pub(super) async fn end(&self, site: &Site) -> Result<(), PageError> {
        let entry = Entry {
            value: &[],
            expires_at: self.began_at + MAX_SECONDS,
        };
        site.records
            .create(Table::EndedSession, self.id.as_bytes(), entry, site.now())
            .await?;
        Ok(())
    }

    /// The relative if `for_relative`, else nobody.
    pub(super) fn relative_if(&self, for_relative: bool) -> Option<String> {
        self.relative.clone().filter(|_| for_relative)
    }

    /// The act, with the command id that it has in this visit. The id depends on everything that the act depends on,
    /// so a form that is sent twice, a reloaded step and a lost answer all repeat one command; a form of an earlier
    /// visit has another id.
    pub(super) fn asked(&self, site: &Site, act: Act, kind: &str, for_relative: bool) -> Asked {
        let relative = self.relative_if(for_relative);
        let holder = relative.as_deref().unwrap_or(&self.id_number);
        let number = self.done.len();
        let of = format!("{} {number} {} {kind} {holder} {for_relative}", self.id, act.word());
        Asked {
            act,
            kind: kind.to_owned(),
            relative,
            command_id: Uuid::from_bytes(site.seal.name("kiosk-act", of.as_bytes())),
        }
    }

    /// The act of this visit with this command id.
    pub(super) fn done_with(&self, command_id: Uuid) -> Option<&Done> {
        self.done.iter().find(|done| done.asked.command_id == command_id)
    }

    /// The last act of this visit for this person and kind.
    pub(super) fn last_of(&self, kind: &str, for_relative: bool) -> Option<&Done> {
        let relative = self.relative_if(for_relative);
        let mut done = self.done.iter().rev();
        done.find(|done| done.asked.kind == kind && done.asked.relative == relative)
    }

    /// Whether it may do another act.
    pub(super) fn is_full(&self) -> bool {
        self.done.len() >= MAX_ACTS
    }
}

fn purpose(session: &Session) -> String {
    format!("{COOKIE_NAME} {}", session.id)
}
