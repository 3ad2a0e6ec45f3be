//! What a city, campus or transport company may choose: kinds, places, channels, durations. Data only.
//!
//! A policy file is read and checked by the crate `policy-file`; [`Policy`] is what comes out.

use alloc::string::String;
use alloc::vec::Vec;

use crate::ids::CodeKind;

/// A label for people, Chinese first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Label {
    /// 中文.
    pub zh: String,
    /// English.
    pub en: String,
}

/// One policy: everything that is data in the rules.
#[derive(Clone, PartialEq, Debug)]
pub struct Policy {
    /// Short name, e.g. `shanghai`; it stands in the log's manifest so that a log is not read under another policy.
    pub name: String,
    /// What people see.
    pub label: Label,
    /// IANA time zone whose local date counts for ages (R12), e.g. `Asia/Shanghai`. Never the host's.
    pub time_zone: String,
    /// Start of every status list's URI, e.g. `https://s.example/`; the list's id follows.
    pub status_base_uri: String,
    /// The kinds of code.
    pub kinds: Vec<KindPolicy>,
    /// The places that check codes.
    pub places: Vec<PlacePolicy>,
    /// The channels that holders ask at.
    pub channels: Vec<ChannelPolicy>,
    /// Special groups that a channel may attest (R12).
    pub groups: Vec<String>,
    /// How a phone's proof is judged (R16).
    pub proof: ProofPolicy,
}

/// One kind of code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KindPolicy {
    /// Its number, for ever.
    pub kind: CodeKind,
    /// Its name in requests and answers, e.g. `offline`.
    pub name: String,
    /// What people see.
    pub label: Label,
    /// Validity in seconds from issue, half-open (R7, R11, R16).
    pub validity_seconds: i64,
    /// Shown by a phone with a fresh proof by its key (R16).
    pub device_bound: bool,
    /// Meant for paper: symbol level Q and a print sheet.
    pub on_paper: bool,
    /// How a family member may act.
    pub guardian: GuardianPolicy,
    /// Who may get one; empty means every registered holder (R8). One ground is enough.
    pub eligibility: Vec<EligibilityRule>,
}

/// How a family member may act for a holder in one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuardianPolicy {
    /// Only the holder acts.
    HolderOnly,
    /// The code is a guardian's: one per guardian, resting on a recorded relationship (R3, R17).
    PerGuardian,
    /// The holder, or a guardian with a recorded relationship (R13).
    WithRelationship,
    /// The holder, or a guardian who holds a valid code of this kind for the holder (R9).
    WithValidCode(CodeKind),
}

/// One ground on which a kind may be had (R12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EligibilityRule {
    /// Under this age in full years.
    Under(u8),
    /// Of this age in full years, or older.
    From(u8),
    /// Holds the disability certificate.
    Disability,
    /// Belongs to one of the policy's groups.
    Group,
}

/// What a place does with a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acceptance {
    /// Admits.
    Admit,
    /// Admits once staff have checked the holder's ID card (R19).
    AfterIdCheck,
}

/// One kind of place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlacePolicy {
    /// Its name in requests and answers, e.g. `sentinel`.
    pub name: String,
    /// What people see.
    pub label: Label,
    /// What it accepts; a kind that is not named is refused.
    pub accepts: Vec<(CodeKind, Acceptance)>,
    /// Whether the ID card itself admits there.
    pub accepts_id_card: bool,
    /// Whether standing counts there (R21).
    pub standing_counts: bool,
    /// How old its knowledge may be, in milliseconds (R24).
    pub max_knowledge_age_ms: u64,
    /// Whether each scan is a registration record, durable before success is shown (R20).
    pub registers: bool,
}

impl PlacePolicy {
    /// What this place does with a kind; `None` where it refuses it.
    #[must_use]
    pub fn acceptance(&self, kind: CodeKind) -> Option<Acceptance> {
        self.accepts
            .iter()
            .find(|(accepted, _)| *accepted == kind)
            .map(|(_, acceptance)| *acceptance)
    }
}

/// What a holder may ask of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChannelAct {
    /// Get a code where none is valid.
    Issue,
    /// Get a new code where one is valid.
    Reissue,
    /// Report a code lost.
    ReportLoss,
    /// Get the same code again.
    Reprint,
}

/// One channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelPolicy {
    /// Its name, e.g. `kiosk`.
    pub name: String,
    /// What people see.
    pub label: Label,
    /// What it may do in which kind.
    pub acts: Vec<(CodeKind, ChannelAct)>,
    /// Whether it may attest a disability certificate or a special group (R12).
    pub attests: bool,
    /// Whether acts for a person need an identity provider's assertion.
    pub needs_assertion: bool,
}

/// How a phone's proof is judged (R16).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProofPolicy {
    /// How old a proof may be, in seconds.
    pub max_age_seconds: i64,
    /// How far ahead of the verifier's clock it may be, in seconds.
    pub max_ahead_seconds: i64,
}

impl Policy {
    /// The kind with this name.
    #[must_use]
    pub fn kind_named(&self, name: &str) -> Option<&KindPolicy> {
        self.kinds.iter().find(|kind| kind.name == name)
    }

    /// The kind with this number.
    #[must_use]
    pub fn kind(&self, kind: CodeKind) -> Option<&KindPolicy> {
        self.kinds.iter().find(|policy| policy.kind == kind)
    }

    /// The place with this name.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<&PlacePolicy> {
        self.places.iter().find(|place| place.name == name)
    }

    /// The channel with this name.
    #[must_use]
    pub fn channel(&self, name: &str) -> Option<&ChannelPolicy> {
        self.channels.iter().find(|channel| channel.name == name)
    }

    /// Whether some place admits this kind after an ID check, so that its tokens carry a commitment to the ID number.
    #[must_use]
    pub fn needs_id_commitment(&self, kind: CodeKind) -> bool {
        self.places
            .iter()
            .any(|place| place.acceptance(kind) == Some(Acceptance::AfterIdCheck))
    }

    /// How old the knowledge may be at the place that asks the most, in milliseconds (R24).
    #[must_use]
    pub fn tightest_knowledge_age_ms(&self) -> u64 {
        let ages = self.places.iter().map(|place| place.max_knowledge_age_ms);
        ages.min().unwrap_or(u64::MAX)
    }

    /// The longest validity of any kind in seconds: how long a retired key must verify.
    #[must_use]
    pub fn longest_validity_seconds(&self) -> i64 {
        self.kinds.iter().map(|kind| kind.validity_seconds).max().unwrap_or(0)
    }
}

impl ChannelPolicy {
    /// Whether the channel may do this in this kind.
    #[must_use]
    pub fn may(&self, act: ChannelAct, kind: CodeKind) -> bool {
        self.acts.contains(&(kind, act))
    }
}
