//! The holder's codes before an act, and what it does to each of them.

use citycode_auth::Role;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::answer::code_life_name;
use citycode_wire::proto::issuer::v1::{CodeLife, CodeState};
use serde::{Deserialize, Serialize};

use super::super::access::Operating;
use super::super::asking::codes_of;
use super::super::confirm::Effect;
use super::super::numbers;
use super::{Act, Typed};
use crate::acts::{ActResult, Alive, Died};
use crate::frame::Frame;
use crate::site::Site;

/// The purpose for which [`Holding::seal`] seals.
const PURPOSE: &str = "ops-valid-before";
/// The roles that may list a holder's codes without a channel.
const MAY_LIST: [Role; 3] = [Role::Officer, Role::Auditor, Role::Admin];

/// The holder's codes.
pub(super) struct Holding {
    codes: Vec<CodeState>,
    /// The ids of those that belong to the guardian of the act.
    of_guardian: Vec<String>,
}

/// A code that was valid before the act.
#[derive(Serialize, Deserialize)]
pub(super) struct Before {
    code_id: String,
    kind: String,
}

/// The holder's codes; `None` if the operator may not see them.
///
/// # Errors
/// The issuer's problem; `no_valid_code` if the act needs a code and there is none.
pub(super) async fn holding(site: &Site, op: &Operating, act: Act, wanted: &Typed) -> Result<Option<Holding>, Problem> {
    let Ok(caller) = op.caller_among(&MAY_LIST) else {
        return Ok(None);
    };
    let codes = codes_of(site, &caller, &wanted.id_number, "").await?;
    let of_guardian = if wanted.guardian.is_empty() || act == Act::Relate {
        Vec::new()
    } else {
        let codes = codes_of(site, &caller, &wanted.id_number, &wanted.guardian).await?;
        codes.into_iter().map(|code| code.code_id).collect()
    };
    let holding = Holding { codes, of_guardian };
    let needs_code = matches!(act, Act::Suspend | Act::Revoke);
    if needs_code
        && !holding
            .codes
            .iter()
            .any(|code| lives(code) && holding.is_hit(code, act, wanted))
    {
        return Err(Problem::new(Code::NoValidCode, "there is no valid code of this kind"));
    }
    Ok(Some(holding))
}

/// Whether a code is valid or on hold.
fn lives(code: &CodeState) -> bool {
    matches!(code.state(), CodeLife::Valid | CodeLife::Suspended)
}

impl Holding {
    /// Whether the act changes this code.
    fn is_hit(&self, code: &CodeState, act: Act, wanted: &Typed) -> bool {
        let of_guardian = || self.of_guardian.contains(&code.code_id);
        let of_slot = || code.kind == wanted.kind && (wanted.guardian.is_empty() || of_guardian());
        match act {
            Act::Suspend | Act::Revoke => of_slot() && lives(code),
            Act::Reinstate => of_slot() && code.state() == CodeLife::Suspended,
            Act::Unrelate => code.through_guardian && of_guardian() && lives(code),
            Act::Standing | Act::Erase => lives(code),
            Act::Relate | Act::Rename => false,
        }
    }

    /// What the act will do to each code.
    pub(super) fn effects(&self, f: &Frame<'_>, act: Act, wanted: &Typed) -> Vec<Effect> {
        let effects = self.codes.iter().map(|code| {
            let state = code_life_name(code.state()).unwrap_or("none");
            let is_hit = self.is_hit(code, act, wanted);
            let effect = match act {
                _ if !is_hit => "ops-effect-none".to_owned(),
                Act::Standing => format!("ops-effect-standing-{}", wanted.standing),
                act => format!("ops-effect-{}", act.name()),
            };
            Effect {
                kind: f.kind(&code.kind),
                serial: numbers::serial(&code.code_id),
                state,
                state_text: f.t(&format!("state-{}", state.replace('_', "-"))),
                expires_at: code.expires_at,
                effect: f.t(&effect),
                is_hit,
            }
        });
        effects.collect()
    }

    /// The valid codes, for the form: the result names those that the act ended, also if it is sent again.
    pub(super) fn seal(&self, site: &Site) -> String {
        let valid = self.codes.iter().filter(|code| code.state() == CodeLife::Valid);
        let valid = valid.map(|code| Before {
            code_id: code.code_id.clone(),
            kind: code.kind.clone(),
        });
        let text = serde_json::to_vec(&valid.collect::<Vec<_>>()).unwrap_or_default();
        site.seal.seal(PURPOSE, &text, &*site.entropy)
    }
}

/// The codes that were valid at the confirmation.
pub(super) fn opened(site: &Site, sealed: &str) -> Vec<Before> {
    let text = site.seal.open(PURPOSE, sealed);
    text.and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default()
}

/// What was done: which codes stopped working, and which still work. `changed` is the code that the service named.
pub(super) async fn result(
    site: &Site,
    op: &Operating,
    f: &Frame<'_>,
    act: Act,
    wanted: &Typed,
    changed: Option<String>,
) -> ActResult {
    let after = match op.caller_among(&MAY_LIST) {
        // After an erasure nobody is registered under the number.
        Ok(caller) if act != Act::Erase => codes_of(site, &caller, &wanted.id_number, "").await.unwrap_or_default(),
        _ => Vec::new(),
    };
    let still = |code_id: &str| {
        after
            .iter()
            .any(|code| code.code_id == code_id && code.state() == CodeLife::Valid)
    };
    let ends = matches!(act, Act::Suspend | Act::Revoke | Act::Unrelate | Act::Erase);
    let mut ended = opened(site, &wanted.valid_before);
    ended.retain(|before| ends && !still(&before.code_id));
    if let Some(code_id) = changed.filter(|_| ends)
        && !ended.iter().any(|before| before.code_id == code_id)
    {
        ended.push(Before {
            code_id,
            kind: wanted.kind.clone(),
        });
    }
    let sentence = if act == Act::Suspend {
        "ops-died-suspended"
    } else {
        "ops-died"
    };
    let died = ended.into_iter().map(|before| Died {
        sentence: f.t2(
            sentence,
            ("kind", &f.kind(&before.kind)),
            ("serial", &numbers::serial(&before.code_id)),
        ),
        code_id: before.code_id,
    });
    let alive = after.iter().filter(|code| code.state() == CodeLife::Valid);
    let alive = alive.map(|code| Alive {
        kind: code.kind.clone(),
        sentence: f.t2(
            "ops-alive",
            ("kind", &f.kind(&code.kind)),
            ("time", &f.minute(&code.expires_at)),
        ),
    });
    ActResult {
        result: "done".to_owned(),
        outcome: "",
        headline: f.t1(&format!("ops-done-{}", act.name()), "kind", &f.kind(&wanted.kind)),
        died: died.collect(),
        alive: alive.collect(),
    }
}
