//! Whom a page is about (the resident, or a relative of the session), and what the channels of these pages may do.

use citycode_domain::policy::{ChannelAct, ChannelPolicy, GuardianPolicy, KindPolicy};
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::issuer::v1::{CodeLife, CodeState, ListCodesRequest, ListCodesResponse};

use crate::caller::PageCaller;
use crate::problem_page::PageError;
use crate::session::Resident;
use crate::site::Site;

/// The person whose codes a page shows.
pub(super) struct Subject<'a> {
    pub(super) resident: &'a Resident,
    /// The number of the relative in the session, from 1; `None` for the resident.
    pub(super) relative: Option<usize>,
}

impl<'a> Subject<'a> {
    /// The resident, or the relative with this number.
    ///
    /// # Errors
    /// [`PageError::NotFound`]: the session has no such relative.
    pub(super) fn new(resident: &'a Resident, relative: Option<usize>) -> Result<Self, PageError> {
        if let Some(number) = relative
            && (number == 0 || number > resident.relatives.len())
        {
            return Err(PageError::NotFound);
        }
        Ok(Self { resident, relative })
    }

    /// ID number of the person whose codes these are.
    pub(super) fn holder(&self) -> &'a str {
        match self.relative {
            Some(number) => &self.resident.relatives[number - 1].id_number,
            None => &self.resident.id_number,
        }
    }

    /// ID number of the guardian; empty if the resident acts alone.
    pub(super) fn guardian(&self) -> &'a str {
        if self.relative.is_some() {
            &self.resident.id_number
        } else {
            ""
        }
    }

    /// Name of the person whose codes these are.
    pub(super) fn name(&self) -> &'a str {
        match self.relative {
            Some(number) => &self.resident.relatives[number - 1].name,
            None => &self.resident.name,
        }
    }

    /// The query that keeps the person in links; empty for the resident.
    pub(super) fn query(&self) -> String {
        self.relative.map(|number| format!("for={number}")).unwrap_or_default()
    }

    /// Whether this kind exists for this person: family codes only for relatives, others as the policy says.
    pub(super) fn may_have(&self, kind: &KindPolicy) -> bool {
        match (self.relative, kind.guardian) {
            (None, GuardianPolicy::PerGuardian) | (Some(_), GuardianPolicy::HolderOnly) => false,
            (None | Some(_), _) => true,
        }
    }
}

/// The channels of these pages, in the order of the policy: those at which nobody attests, because no clerk is there.
fn channels(site: &Site) -> impl Iterator<Item = &ChannelPolicy> {
    let offered = |channel: &&ChannelPolicy| !channel.needs_assertion || site.assertions.is_some();
    let unattended = site.policy.channels.iter().filter(|channel| !channel.attests);
    unattended.filter(offered)
}

/// The first channel of these pages that may do the act in this kind.
pub(super) fn channel_for<'a>(site: &'a Site, kind: &KindPolicy, act: ChannelAct) -> Option<&'a ChannelPolicy> {
    channels(site).find(|channel| channel.may(act, kind.kind))
}

/// The channel through which these pages ask.
///
/// # Errors
/// The policy has no channel for these pages.
pub(super) fn asking_channel(site: &Site) -> Result<&ChannelPolicy, PageError> {
    channels(site).next().ok_or(PageError::Forbidden)
}

/// The codes of this person that the reader may see.
///
/// # Errors
/// The issuer's problem.
pub(super) async fn codes_of(site: &Site, subject: &Subject<'_>) -> Result<Vec<CodeState>, Problem> {
    ask(site, subject, false).await.map(|answer| answer.codes)
}

/// The codes of this person, and for the resident also the standing, the times of holds, and who may act.
///
/// # Errors
/// The issuer's problem.
pub(super) async fn listed(site: &Site, subject: &Subject<'_>) -> Result<ListCodesResponse, Problem> {
    ask(site, subject, subject.relative.is_none()).await
}

/// Details cost the issuer a look at the guardians' records and the holder's history, so few pages ask for them.
async fn ask(site: &Site, subject: &Subject<'_>, details: bool) -> Result<ListCodesResponse, Problem> {
    let channel = asking_channel(site).map_err(|_| Problem::internal())?;
    let caller = PageCaller::resident(site, &subject.resident.id_number, &channel.name);
    let request = ListCodesRequest {
        channel: channel.name.clone(),
        authentication: site.authentication(&channel.name, &subject.resident.id_number)?,
        id_number: subject.holder().to_owned(),
        guardian_id_number: subject.guardian().to_owned(),
        question_id: Vec::new(),
        actionable: true,
        details,
    };
    let mut issuer = site.clients.issuer.clone();
    let answer = issuer.list_codes(site.request(&caller, request)?).await?.into_inner();
    if subject.relative.is_some() {
        require_relationship(&answer)?;
    }
    Ok(answer)
}

/// The list of a person's codes tells a relative whether she may act for the person: it is empty if she may not.
///
/// # Errors
/// `relationship_unknown`.
pub(super) fn require_relationship(answer: &ListCodesResponse) -> Result<(), Problem> {
    if answer.guardian_recorded {
        return Ok(());
    }
    Err(Problem::new(
        Code::RelationshipUnknown,
        "no relationship is recorded between the two persons",
    ))
}

/// The last code of a kind among the codes of [`codes_of`].
pub(super) fn last_of<'a>(codes: &'a [CodeState], kind: &KindPolicy, subject: &Subject<'_>) -> Option<&'a CodeState> {
    let per_guardian = kind.guardian == GuardianPolicy::PerGuardian;
    codes
        .iter()
        .rev()
        .find(|code| code.kind == kind.name && (!per_guardian || code.through_guardian == subject.relative.is_some()))
}

/// What the state of a code is called in attributes.
pub(crate) fn state_word(code: Option<&CodeState>) -> &'static str {
    match code.map(CodeState::state) {
        None | Some(CodeLife::Unspecified) => "none",
        Some(CodeLife::Valid) => "valid",
        Some(CodeLife::Suspended) => "suspended",
        Some(CodeLife::Expired) => "expired",
        Some(CodeLife::Superseded) => "superseded",
        Some(CodeLife::ReportedLost) => "reported_lost",
        Some(CodeLife::Revoked) => "revoked",
    }
}

/// The icon of a state.
pub(crate) fn state_icon(state: &str) -> &'static str {
    match state {
        "valid" => "check",
        "suspended" => "pause",
        "none" => "dash",
        "expired" => "clock",
        _ => "cross",
    }
}

/// The icon of a kind.
pub(super) fn kind_icon(kind: &KindPolicy) -> &'static str {
    match kind {
        kind if kind.guardian == GuardianPolicy::PerGuardian => "family",
        kind if kind.device_bound => "phone",
        kind if kind.on_paper => "paper",
        _ => "image",
    }
}
