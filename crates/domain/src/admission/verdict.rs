//! Decisions, reasons and verdicts, with their names in the API.

/// What the place does with the person.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Decision {
    /// Admits the person.
    Admit,
    /// Admits the person after staff have checked the ID card.
    AdmitAfterIdCheck,
    /// Refuses the person.
    Refuse,
    /// Cannot decide, and says so. It must never be displayed as valid (R24).
    CannotCheck,
}

/// The reason for a decision. The order is that of R23: the first reason that applies is reported.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[expect(
    missing_docs,
    reason = "each is explained to people, in both languages, by `explain`"
)]
pub enum Reason {
    Unreadable,
    BadSignature,
    ClockUntrusted,
    NotYetValid,
    Expired,
    KindNotAcceptedHere,
    Superseded,
    ReportedLost,
    Revoked,
    TooStale,
    UnknownCode,
    Suspended,
    StandingRed,
    StandingYellow,
    MissingProof,
    StaleProof,
    IdCheckRequired,
    IdMismatch,
    DoubleUse,
    Ok,
}

/// The result of judging a scan.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Verdict {
    /// What the place does.
    pub decision: Decision,
    /// The reason for it.
    pub reason: Reason,
}

impl Decision {
    /// Every decision.
    pub const ALL: [Self; 4] = [Self::Admit, Self::AdmitAfterIdCheck, Self::Refuse, Self::CannotCheck];

    /// The name in API responses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::AdmitAfterIdCheck => "admit_after_id_check",
            Self::Refuse => "refuse",
            Self::CannotCheck => "cannot_check",
        }
    }
}

impl Reason {
    /// Every reason, in the order of R23.
    pub const ALL: [Self; 20] = [
        Self::Unreadable,
        Self::BadSignature,
        Self::ClockUntrusted,
        Self::NotYetValid,
        Self::Expired,
        Self::KindNotAcceptedHere,
        Self::Superseded,
        Self::ReportedLost,
        Self::Revoked,
        Self::TooStale,
        Self::UnknownCode,
        Self::Suspended,
        Self::StandingRed,
        Self::StandingYellow,
        Self::MissingProof,
        Self::StaleProof,
        Self::IdCheckRequired,
        Self::IdMismatch,
        Self::DoubleUse,
        Self::Ok,
    ];

    /// The name in API responses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unreadable => "unreadable",
            Self::BadSignature => "bad_signature",
            Self::ClockUntrusted => "clock_untrusted",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
            Self::KindNotAcceptedHere => "kind_not_accepted_here",
            Self::Superseded => "superseded",
            Self::ReportedLost => "reported_lost",
            Self::Revoked => "revoked",
            Self::TooStale => "too_stale",
            Self::UnknownCode => "unknown_code",
            Self::Suspended => "suspended",
            Self::StandingRed => "standing_red",
            Self::StandingYellow => "standing_yellow",
            Self::MissingProof => "missing_proof",
            Self::StaleProof => "stale_proof",
            Self::IdCheckRequired => "id_check_required",
            Self::IdMismatch => "id_mismatch",
            Self::DoubleUse => "double_use",
        }
    }

    /// The verdict that follows from this reason.
    #[must_use]
    pub const fn verdict(self) -> Verdict {
        let decision = match self {
            Self::Ok => Decision::Admit,
            Self::IdCheckRequired => Decision::AdmitAfterIdCheck,
            Self::TooStale | Self::ClockUntrusted => Decision::CannotCheck,
            _ => Decision::Refuse,
        };
        Verdict { decision, reason: self }
    }
}
