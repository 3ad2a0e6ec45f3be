//! What a city, campus or transport company may configure: kinds, places, channels, durations. Data only.
//!
//! The crate `policy-file` reads and checks a policy file and returns a [`Policy`].

use alloc::string::String;
use alloc::vec::Vec;

use crate::ids::CodeKind;

/// A label for people, in Chinese and English.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Label {
    /// 中文.
    pub zh: String,
    /// English.
    pub en: String,
}

/// One policy: all rules that are data.
#[derive(Clone, PartialEq, Debug)]
pub struct Policy {
    /// Short name, e.g. `shanghai`. The log's manifest contains it, so that a log is not read under another
    /// policy.
    pub name: String,
    /// The label shown to people.
    pub label: Label,
    /// The telephone number of the help that pages show, if there is one.
    pub help_telephone: Option<String>,
    /// IANA time zone whose local date determines ages (R12), e.g. `Asia/Shanghai`. The host's time zone is
    /// never used.
    pub time_zone: String,
    /// Prefix of every status list's URI, e.g. `https://s.example/`; the list's id follows.
    pub status_base_uri: String,
    /// The kinds of code.
    pub kinds: Vec<KindPolicy>,
    /// The places that check codes.
    pub places: Vec<PlacePolicy>,
    /// The channels at which holders make requests.
    pub channels: Vec<ChannelPolicy>,
    /// Special groups that a channel may attest (R12).
    pub groups: Vec<String>,
    /// How old and how far ahead a phone's proof may be (R16).
    pub proof: ProofPolicy,
    /// How long records about people are kept.
    pub retention: RetentionPolicy,
}

/// One kind of code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KindPolicy {
    /// Its number; it never changes.
    pub kind: CodeKind,
    /// Its name in requests and responses, e.g. `offline`.
    pub name: String,
    /// The label shown to people.
    pub label: Label,
    /// What a reissue is called in this kind, wherever it is requested; `None` leaves it to the channel.
    pub reissue_label: Option<Label>,
    /// Validity in seconds from issue, half-open (R7, R11, R16).
    pub validity_seconds: i64,
    /// Whether a phone must show it with a fresh proof by its key (R16).
    pub device_bound: bool,
    /// Whether it is meant for paper: symbol level Q and a print sheet.
    pub on_paper: bool,
    /// What a family member may do in this kind.
    pub guardian: GuardianPolicy,
    /// The conditions of eligibility, of which one is enough; if empty, every registered holder may get one
    /// (R8).
    pub eligibility: Vec<EligibilityRule>,
}

/// What a family member may do for a holder in one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuardianPolicy {
    /// Only the holder may act.
    HolderOnly,
    /// The code belongs to a guardian: one per guardian, based on a recorded relationship (R3, R17).
    PerGuardian,
    /// The holder, or a guardian with a recorded relationship (R13).
    WithRelationship,
    /// The holder, or a guardian who holds a valid code of this kind for the holder (R9).
    WithValidCode(CodeKind),
}

/// One condition of eligibility for a kind (R12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EligibilityRule {
    /// Younger than this age in full years.
    Under(u8),
    /// This age in full years, or older.
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

/// One kind of place that checks codes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlacePolicy {
    /// Its name in requests and responses, e.g. `sentinel`.
    pub name: String,
    /// The label shown to people.
    pub label: Label,
    /// The kinds it accepts; every other kind is refused.
    pub accepts: Vec<(CodeKind, Acceptance)>,
    /// Whether the ID card alone is accepted there.
    pub accepts_id_card: bool,
    /// Whether standing is checked there (R21).
    pub standing_counts: bool,
    /// Maximum age of the knowledge for a verdict there, in milliseconds (R24).
    pub max_knowledge_age_ms: u64,
    /// Whether each scan is a registration record, durable before success is shown (R20).
    pub registers: bool,
}

impl PlacePolicy {
    /// What this place does with a kind; `None` if it refuses it.
    #[must_use]
    pub fn acceptance(&self, kind: CodeKind) -> Option<Acceptance> {
        self.accepts
            .iter()
            .find(|(accepted, _)| *accepted == kind)
            .map(|(_, acceptance)| *acceptance)
    }
}

/// An action that a holder may request at a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChannelAct {
    /// Get a code when none is valid.
    Issue,
    /// Get a new code when one is valid.
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
    /// The label shown to people.
    pub label: Label,
    /// What a reissue is called at this channel; `None` for the usual word.
    pub reissue_label: Option<Label>,
    /// The actions it allows, by kind.
    pub acts: Vec<(CodeKind, ChannelAct)>,
    /// Whether it may attest a disability certificate or a special group (R12).
    pub attests: bool,
    /// Whether actions for a person need an assertion by an identity provider.
    pub needs_assertion: bool,
}

/// Limits on the age of a phone's proof (R16).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProofPolicy {
    /// Maximum age of a proof, in seconds.
    pub max_age_seconds: i64,
    /// How far a proof may be ahead of the verifier's clock, in seconds.
    pub max_ahead_seconds: i64,
}

/// How long records about people are kept, in days. What the policy does not say is configured at each service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RetentionPolicy {
    /// Scan records.
    pub scan_days: Option<u16>,
    /// The purposes of recorded queries.
    pub query_days: Option<u16>,
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

    /// The shortest maximum age of knowledge of all places, in milliseconds (R24).
    #[must_use]
    pub fn tightest_knowledge_age_ms(&self) -> u64 {
        let ages = self.places.iter().map(|place| place.max_knowledge_age_ms);
        ages.min().unwrap_or(u64::MAX)
    }

    /// The longest validity of all kinds in seconds; a retired key must verify for that long.
    #[must_use]
    pub fn longest_validity_seconds(&self) -> i64 {
        self.kinds.iter().map(|kind| kind.validity_seconds).max().unwrap_or(0)
    }
}

impl ChannelPolicy {
    /// Whether the channel allows this action in this kind.
    #[must_use]
    pub fn may(&self, act: ChannelAct, kind: CodeKind) -> bool {
        self.acts.contains(&(kind, act))
    }
}
