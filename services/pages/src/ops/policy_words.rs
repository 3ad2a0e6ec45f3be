//! A policy in plain words: kinds, places and channels.

use citycode_domain::policy::{
    Acceptance, ChannelAct, ChannelPolicy, EligibilityRule, GuardianPolicy, KindPolicy, PlacePolicy, Policy,
};

use super::numbers::listed;
use crate::frame::Frame;

const DAY_SECONDS: i64 = 86_400;

/// A part of the policy.
pub(super) struct Section {
    pub(super) id: &'static str,
    pub(super) title: String,
    pub(super) items: Vec<Item>,
}

/// A kind, a place or a channel.
pub(super) struct Item {
    pub(super) name: String,
    pub(super) label: String,
    /// A sentence each.
    pub(super) lines: Vec<String>,
}

/// The parts in the order of a policy file.
pub(super) fn sections(f: &Frame<'_>, policy: &Policy) -> Vec<Section> {
    let section = |id, items: Vec<Item>| Section {
        id,
        title: f.t(&format!("ops-policy-{id}")),
        items,
    };
    vec![
        section("whole", vec![whole(f, policy)]),
        section(
            "kinds",
            policy.kinds.iter().map(|kind| of_kind(f, policy, kind)).collect(),
        ),
        section(
            "places",
            policy.places.iter().map(|place| of_place(f, policy, place)).collect(),
        ),
        section(
            "channels",
            policy
                .channels
                .iter()
                .map(|channel| of_channel(f, policy, channel))
                .collect(),
        ),
    ]
}

fn whole(f: &Frame<'_>, policy: &Policy) -> Item {
    let mut lines = vec![
        f.t1("ops-policy-zone", "zone", &policy.time_zone),
        f.t2(
            "ops-policy-proof",
            ("age", &policy.proof.max_age_seconds.to_string()),
            ("ahead", &policy.proof.max_ahead_seconds.to_string()),
        ),
    ];
    if !policy.groups.is_empty() {
        lines.push(f.t1("ops-policy-groups", "groups", &listed(f, &policy.groups)));
    }
    let days = |id: &str, days: Option<u16>| days.map(|days| f.t1(id, "days", &days.to_string()));
    lines.extend(days("ops-policy-scan-days", policy.retention.scan_days));
    lines.extend(days("ops-policy-query-days", policy.retention.query_days));
    Item {
        name: policy.name.clone(),
        label: f.label(&policy.label),
        lines,
    }
}

/// A duration in the largest unit that gives a whole number.
fn duration(f: &Frame<'_>, seconds: i64) -> String {
    let (id, number) = match seconds {
        seconds if seconds % DAY_SECONDS == 0 => ("ops-days", seconds / DAY_SECONDS),
        seconds if seconds % 3_600 == 0 => ("ops-hours", seconds / 3_600),
        seconds if seconds % 60 == 0 => ("ops-minutes", seconds / 60),
        seconds => ("ops-seconds", seconds),
    };
    f.t1(id, "number", &number.to_string())
}

fn of_kind(f: &Frame<'_>, policy: &Policy, kind: &KindPolicy) -> Item {
    let form = match kind {
        kind if kind.device_bound => "ops-kind-live",
        kind if kind.on_paper => "ops-kind-paper",
        _ => "ops-kind-image",
    };
    let guardian = match kind.guardian {
        GuardianPolicy::HolderOnly => f.t("ops-guardian-none"),
        GuardianPolicy::PerGuardian => f.t("ops-guardian-each"),
        GuardianPolicy::WithRelationship => f.t("ops-guardian-related"),
        GuardianPolicy::WithValidCode(needed) => {
            let needed = policy.kind(needed).map(|kind| f.label(&kind.label)).unwrap_or_default();
            f.t1("ops-guardian-with-code", "kind", &needed)
        }
    };
    let grounds: Vec<String> = kind.eligibility.iter().map(|rule| ground(f, *rule)).collect();
    let who = if grounds.is_empty() {
        f.t("ops-eligible-all")
    } else {
        f.t1("ops-eligible", "grounds", &listed(f, &grounds))
    };
    Item {
        name: kind.name.clone(),
        label: f.label(&kind.label),
        lines: vec![
            f.t1("ops-validity", "time", &duration(f, kind.validity_seconds)),
            f.t(form),
            who,
            guardian,
        ],
    }
}

fn ground(f: &Frame<'_>, rule: EligibilityRule) -> String {
    match rule {
        EligibilityRule::Under(age) => f.t1("ops-ground-under", "age", &age.to_string()),
        EligibilityRule::From(age) => f.t1("ops-ground-from", "age", &age.to_string()),
        EligibilityRule::Disability => f.t("ops-ground-disability"),
        EligibilityRule::Group => f.t("ops-ground-group"),
    }
}

fn of_place(f: &Frame<'_>, policy: &Policy, place: &PlacePolicy) -> Item {
    let with = |wanted: Acceptance| {
        let kinds = place.accepts.iter().filter(|(_, acceptance)| *acceptance == wanted);
        let labels = kinds
            .filter_map(|(kind, _)| policy.kind(*kind))
            .map(|kind| f.label(&kind.label));
        labels.collect::<Vec<_>>()
    };
    let mut lines = Vec::new();
    for (acceptance, id) in [
        (Acceptance::Admit, "ops-place-admits"),
        (Acceptance::AfterIdCheck, "ops-place-checks"),
    ] {
        let kinds = with(acceptance);
        if !kinds.is_empty() {
            lines.push(f.t1(id, "kinds", &listed(f, &kinds)));
        }
    }
    let or = |yes: bool, then: &str, otherwise: &str| f.t(if yes { then } else { otherwise });
    lines.push(or(place.accepts_id_card, "ops-place-card", "ops-place-no-card"));
    lines.push(or(place.standing_counts, "ops-place-standing", "ops-place-no-standing"));
    let seconds = place.max_knowledge_age_ms.div_ceil(1_000);
    lines.push(f.t1("ops-place-age", "seconds", &seconds.to_string()));
    if place.registers {
        lines.push(f.t("ops-place-registers"));
    }
    Item {
        name: place.name.clone(),
        label: f.label(&place.label),
        lines,
    }
}

fn of_channel(f: &Frame<'_>, policy: &Policy, channel: &ChannelPolicy) -> Item {
    let mut lines = Vec::new();
    for kind in &policy.kinds {
        let acts = channel.acts.iter().filter(|(of, _)| *of == kind.kind);
        let acts: Vec<String> = acts.map(|(_, act)| f.t(act_id(*act))).collect();
        if !acts.is_empty() {
            let (label, acts) = (f.label(&kind.label), listed(f, &acts));
            lines.push(f.t2("ops-channel-may", ("kind", &label), ("acts", &acts)));
        }
    }
    if lines.is_empty() {
        lines.push(f.t("ops-channel-no-codes"));
    }
    if channel.attests {
        lines.push(f.t("ops-channel-attests"));
    }
    if channel.needs_assertion {
        lines.push(f.t("ops-channel-assertion"));
    }
    Item {
        name: channel.name.clone(),
        label: f.label(&channel.label),
        lines,
    }
}

fn act_id(act: ChannelAct) -> &'static str {
    match act {
        ChannelAct::Issue => "ops-may-issue",
        ChannelAct::Reissue => "ops-may-reissue",
        ChannelAct::ReportLoss => "ops-may-loss",
        ChannelAct::Reprint => "ops-may-reprint",
    }
}
