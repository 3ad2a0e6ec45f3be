//! The sections of a policy file; each is read into its part of the [`Policy`].

use citycode_domain::ids::CodeKind;
use citycode_domain::policy::{
    Acceptance, ChannelAct, ChannelPolicy, EligibilityRule, GuardianPolicy, KindPolicy, Label, PlacePolicy, Policy,
    ProofPolicy, RetentionPolicy,
};
use toml::de::DeTable;

use crate::calendar;
use crate::error::{PolicyFileError, Problem, quoted};
use crate::table::{Section, Value, nearest};

/// Limit of places and of channels; a city has a handful. It bounds the checks.
const MAX_PLACES: usize = 64;
/// Limit of special groups.
const MAX_GROUPS: usize = 64;
/// Limit of eligibility conditions of one kind, and of actions of a channel in one kind.
const MAX_GROUNDS: usize = 16;
/// Maximum length of a name in characters; names occur in metric labels and file names.
const MAX_NAME_CHARS: usize = 32;
/// Maximum length of a label in characters; it must fit on a wallet card.
const MAX_LABEL_CHARS: usize = 64;
/// Maximum length of the base of status list URIs in bytes; every code contains it, and a code on paper has 170
/// bytes.
const MAX_BASE_URI_BYTES: usize = 40;
/// Longest retention in days: a hundred years.
const MAX_RETENTION_DAYS: i64 = 36_500;
/// The word for the resident ID card in a place's `accepts`; no kind may have this name.
const ID_CARD: &str = "id_card";

type Parsed<T> = Result<T, PolicyFileError>;

/// Reads the whole file.
pub(crate) fn policy(text: &str, table: &DeTable<'_>) -> Parsed<Policy> {
    let known = [
        "name",
        "label",
        "help_telephone",
        "time_zone",
        "status_base_uri",
        "groups",
        "proof",
        "retention",
        "kinds",
        "places",
        "channels",
    ];
    let file = Section::new(text, "", 0, table, Some(&known))?;
    let groups = file.optional("groups").map_or(Ok(Vec::new()), groups)?;
    let kinds_value = file.required("kinds")?;
    let kinds = kinds(kinds_value)?;
    let channels = channels(file.required("channels")?, &kinds)?;
    check_attestations(kinds_value, &kinds, &groups, &channels)?;
    Ok(Policy {
        name: name(file.required("name")?)?,
        label: label(file.required("label")?)?,
        help_telephone: file.optional("help_telephone").map(telephone).transpose()?,
        time_zone: time_zone(file.required("time_zone")?)?,
        status_base_uri: base_uri(file.required("status_base_uri")?)?,
        places: places(file.required("places")?, &kinds)?,
        kinds,
        channels,
        groups,
        proof: proof(file.required("proof")?)?,
        retention: file
            .optional("retention")
            .map_or(Ok(RetentionPolicy::default()), retention)?,
    })
}

/// A telephone number as people dial it: digits, with spaces, hyphens and a plus sign.
fn telephone(value: &Value<'_>) -> Parsed<String> {
    let text = value.string()?;
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let others = text.chars().all(|c| c.is_ascii_digit() || matches!(c, ' ' | '-' | '+'));
    if !others || !(2..=20).contains(&digits) || text.len() > MAX_NAME_CHARS {
        return Err(value.problem(Problem::Telephone));
    }
    Ok(text.to_owned())
}

/// Files of earlier releases have no such section.
fn retention(value: &Value<'_>) -> Parsed<RetentionPolicy> {
    let section = value.section(Some(&["scan_days", "query_days"]))?;
    let days = |key| {
        let days = section.optional(key).map(|days| days.number(1, MAX_RETENTION_DAYS));
        let days = days.transpose()?;
        Ok(days.map(|days| u16::try_from(days).expect("within the limit")))
    };
    Ok(RetentionPolicy {
        scan_days: days("scan_days")?,
        query_days: days("query_days")?,
    })
}

fn proof(value: &Value<'_>) -> Parsed<ProofPolicy> {
    let section = value.section(Some(&["max_age", "max_ahead"]))?;
    // A proof has whole seconds; beyond an hour a screenshot would be sufficient.
    Ok(ProofPolicy {
        max_age_seconds: section.required("max_age")?.duration_seconds("1s", "1h")?,
        max_ahead_seconds: section.required("max_ahead")?.duration_seconds("0s", "5min")?,
    })
}

fn kinds(value: &Value<'_>) -> Parsed<Vec<KindPolicy>> {
    let section = value.section(None)?;
    let entries = section.entries(usize::from(CodeKind::MAX))?;
    if entries.is_empty() {
        return Err(section.problem(Problem::Empty));
    }
    let mut kinds: Vec<KindPolicy> = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let read = kind(key, value)?;
        if let Some(earlier) = kinds.iter().find(|earlier| earlier.kind == read.kind) {
            let by = earlier.name.clone();
            return Err(value
                .section(None)?
                .required("number")?
                .problem(Problem::NumberTaken { by }));
        }
        kinds.push(read);
    }
    // A guardian rule may name a kind that is defined later in the file, so the rules are read after all names.
    for (index, (_, value)) in entries.iter().enumerate() {
        let guardian = guardian(value.section(None)?.required("guardian")?, &kinds)?;
        kinds[index].guardian = guardian;
    }
    for (_, value) in entries {
        check_guardian_rule(value.section(None)?.required("guardian")?, &kinds)?;
    }
    Ok(kinds)
}

fn kind(key: &str, value: &Value<'_>) -> Parsed<KindPolicy> {
    check_name(key, value)?;
    if key == ID_CARD {
        return Err(value.at_key(Problem::ReservedName));
    }
    let section = value.section(Some(&[
        "number",
        "label",
        "reissue_label",
        "validity",
        "device_bound",
        "on_paper",
        "guardian",
        "eligibility",
    ]))?;
    let number = section.required("number")?.number(1, i64::from(CodeKind::MAX))?;
    let kind = u8::try_from(number)
        .ok()
        .and_then(CodeKind::new)
        .expect("the number was checked to be from 1 to 15");
    Ok(KindPolicy {
        kind,
        name: key.to_owned(),
        label: label(section.required("label")?)?,
        reissue_label: section.optional("reissue_label").map(label).transpose()?,
        // Ten years, because a signing key must verify for that long.
        validity_seconds: section.required("validity")?.duration_seconds("1s", "3650d")?,
        device_bound: section.flag("device_bound")?,
        on_paper: section.flag("on_paper")?,
        guardian: GuardianPolicy::HolderOnly,
        eligibility: section.optional("eligibility").map_or(Ok(Vec::new()), eligibility)?,
    })
}

fn guardian(value: &Value<'_>, kinds: &[KindPolicy]) -> Parsed<GuardianPolicy> {
    if value.is_table() {
        let section = value.section(Some(&["valid_code"]))?;
        let needed = section.required("valid_code")?;
        return Ok(GuardianPolicy::WithValidCode(
            kind_named(needed, needed.string()?, kinds)?.kind,
        ));
    }
    value.word(&[
        ("holder_only", GuardianPolicy::HolderOnly),
        ("per_guardian", GuardianPolicy::PerGuardian),
        ("with_relationship", GuardianPolicy::WithRelationship),
    ])
}

fn check_guardian_rule(value: &Value<'_>, kinds: &[KindPolicy]) -> Parsed<()> {
    if let GuardianPolicy::WithValidCode(needed) = guardian(value, kinds)? {
        let needed = kinds
            .iter()
            .find(|kind| kind.kind == needed)
            .expect("guardian() took the kind from this list");
        if needed.guardian != GuardianPolicy::PerGuardian {
            let kind = needed.name.clone();
            return Err(value.problem(Problem::NotPerGuardian { kind }));
        }
    }
    Ok(())
}

fn eligibility(value: &Value<'_>) -> Parsed<Vec<EligibilityRule>> {
    let mut rules = Vec::new();
    for entry in value.list(MAX_GROUNDS)? {
        let rule = ground(&entry)?;
        push_once(&mut rules, rule, &entry, entry.string()?)?;
    }
    Ok(rules)
}

fn ground(value: &Value<'_>) -> Parsed<EligibilityRule> {
    let word = value.string()?;
    let known = ["under:AGE", "from:AGE", "disability", "group"];
    let (ground, age) = match word.split_once(':') {
        Some((ground, age)) => (ground, Some(age)),
        None => (word, None),
    };
    let age = match age {
        None => None,
        // Ages below 1 and above 150 are not useful.
        Some(digits) => Some(
            Some(digits)
                .filter(|digits| !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit()))
                .and_then(|digits| digits.parse::<u8>().ok())
                .filter(|age| (1..=150).contains(age))
                .ok_or_else(|| {
                    value.problem(Problem::NumberBounds {
                        least: 1,
                        greatest: 150,
                    })
                })?,
        ),
    };
    match (ground, age) {
        ("under", Some(age)) => Ok(EligibilityRule::Under(age)),
        ("from", Some(age)) => Ok(EligibilityRule::From(age)),
        ("disability", None) => Ok(EligibilityRule::Disability),
        ("group", None) => Ok(EligibilityRule::Group),
        _ => Err(value.unknown_word(word, &known)),
    }
}

/// Conditions that a channel must attest need a channel that attests, and conditions on groups need groups.
fn check_attestations(
    value: &Value<'_>,
    kinds: &[KindPolicy],
    groups: &[String],
    channels: &[ChannelPolicy],
) -> Parsed<()> {
    let attested = channels.iter().any(|channel| channel.attests);
    let section = value.section(None)?;
    for kind in kinds {
        let by_group = kind.eligibility.contains(&EligibilityRule::Group);
        let by_word = by_group || kind.eligibility.contains(&EligibilityRule::Disability);
        let problem = if by_group && groups.is_empty() {
            Problem::NoGroups
        } else if by_word && !attested {
            Problem::NoChannelAttests
        } else {
            continue;
        };
        let entry = section.required(&kind.name)?.section(None)?;
        return Err(entry.required("eligibility")?.problem(problem));
    }
    Ok(())
}

fn places(value: &Value<'_>, kinds: &[KindPolicy]) -> Parsed<Vec<PlacePolicy>> {
    let section = value.section(None)?;
    let entries = section.entries(MAX_PLACES)?;
    if entries.is_empty() {
        return Err(section.problem(Problem::Empty));
    }
    entries.iter().map(|(key, value)| place(key, value, kinds)).collect()
}

fn place(key: &str, value: &Value<'_>, kinds: &[KindPolicy]) -> Parsed<PlacePolicy> {
    check_name(key, value)?;
    let section = value.section(Some(&[
        "label",
        "accepts",
        "max_knowledge_age",
        "standing_counts",
        "registers",
    ]))?;
    let accepted = section.required("accepts")?.section(None)?;
    let mut accepts = Vec::new();
    let mut accepts_id_card = false;
    for (name, value) in accepted.entries(usize::from(CodeKind::MAX) + 1)? {
        if *name == ID_CARD {
            value.word(&[("admit", ())])?;
            accepts_id_card = true;
            continue;
        }
        let kind = kind_named(value, name, kinds)?.kind;
        let acceptance = value.word(&[
            ("admit", Acceptance::Admit),
            ("after_id_check", Acceptance::AfterIdCheck),
        ])?;
        accepts.push((kind, acceptance));
    }
    // Below 100 ms no network could keep up; beyond a week the knowledge would be meaningless.
    let age = section.required("max_knowledge_age")?.duration_ms("100ms", "7d")?;
    Ok(PlacePolicy {
        name: key.to_owned(),
        label: label(section.required("label")?)?,
        accepts,
        accepts_id_card,
        standing_counts: section.flag("standing_counts")?,
        max_knowledge_age_ms: u64::try_from(age).expect("durations are not negative"),
        registers: section.flag("registers")?,
    })
}

fn channels(value: &Value<'_>, kinds: &[KindPolicy]) -> Parsed<Vec<ChannelPolicy>> {
    let section = value.section(None)?;
    let entries = section.entries(MAX_PLACES)?;
    if entries.is_empty() {
        return Err(section.problem(Problem::Empty));
    }
    entries.iter().map(|(key, value)| channel(key, value, kinds)).collect()
}

fn channel(key: &str, value: &Value<'_>, kinds: &[KindPolicy]) -> Parsed<ChannelPolicy> {
    check_name(key, value)?;
    let section = value.section(Some(&["label", "reissue_label", "acts", "attests", "needs_assertion"]))?;
    let mut acts = Vec::new();
    if let Some(value) = section.optional("acts") {
        for (name, value) in value.section(None)?.entries(usize::from(CodeKind::MAX))? {
            let kind = kind_named(value, name, kinds)?.kind;
            acts.extend(channel_acts(value)?.into_iter().map(|act| (kind, act)));
        }
    }
    Ok(ChannelPolicy {
        name: key.to_owned(),
        label: label(section.required("label")?)?,
        reissue_label: section.optional("reissue_label").map(label).transpose()?,
        acts,
        attests: section.flag("attests")?,
        needs_assertion: section.flag("needs_assertion")?,
    })
}

fn channel_acts(value: &Value<'_>) -> Parsed<Vec<ChannelAct>> {
    let words = [
        ("issue", ChannelAct::Issue),
        ("reissue", ChannelAct::Reissue),
        ("loss", ChannelAct::ReportLoss),
        ("reprint", ChannelAct::Reprint),
    ];
    let mut acts = Vec::new();
    for entry in value.list(MAX_GROUNDS)? {
        push_once(&mut acts, entry.word(&words)?, &entry, entry.string()?)?;
    }
    if acts.contains(&ChannelAct::Reissue) && !acts.contains(&ChannelAct::Issue) {
        return Err(value.problem(Problem::ReissueWithoutIssue));
    }
    Ok(acts)
}

fn groups(value: &Value<'_>) -> Parsed<Vec<String>> {
    let mut groups = Vec::new();
    for entry in value.list(MAX_GROUPS)? {
        let group = name(&entry)?;
        push_once(&mut groups, group, &entry, entry.string()?)?;
    }
    Ok(groups)
}

fn push_once<T: PartialEq>(list: &mut Vec<T>, item: T, at: &Value<'_>, word: &str) -> Parsed<()> {
    if list.contains(&item) {
        return Err(at.problem(Problem::Twice { word: quoted(word) }));
    }
    list.push(item);
    Ok(())
}

fn kind_named<'k>(value: &Value<'_>, name: &str, kinds: &'k [KindPolicy]) -> Parsed<&'k KindPolicy> {
    kinds.iter().find(|kind| kind.name == name).ok_or_else(|| {
        value.at_key(Problem::UnknownKind {
            name: quoted(name),
            nearest: nearest(name, kinds.iter().map(|kind| &kind.name)),
        })
    })
}

fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME_CHARS
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_')
}

fn check_name(key: &str, value: &Value<'_>) -> Parsed<()> {
    if is_name(key) {
        Ok(())
    } else {
        Err(value.at_key(Problem::NotAName))
    }
}

fn name(value: &Value<'_>) -> Parsed<String> {
    let text = value.string()?;
    if is_name(text) {
        Ok(text.to_owned())
    } else {
        Err(value.problem(Problem::NotAName))
    }
}

fn label(value: &Value<'_>) -> Parsed<Label> {
    let section = value.section(Some(&["zh", "en"]))?;
    let words = |key| {
        let value = section.required(key)?;
        let text = value.string()?;
        let seen = !text.trim().is_empty() && !text.chars().any(char::is_control);
        if seen && text.chars().count() <= MAX_LABEL_CHARS {
            Ok(text.to_owned())
        } else {
            Err(value.problem(Problem::NotALabel))
        }
    };
    Ok(Label {
        zh: words("zh")?,
        en: words("en")?,
    })
}

fn time_zone(value: &Value<'_>) -> Parsed<String> {
    let text = value.string()?;
    // The zone data match names in any case. The log's manifest contains the text, so only the canonical
    // spelling is accepted.
    if calendar::zone(text).is_some() && calendar::zone_names().any(|name| name == text) {
        return Ok(text.to_owned());
    }
    Err(value.problem(Problem::UnknownTimeZone {
        name: quoted(text),
        nearest: nearest(text, calendar::zone_names()),
    }))
}

fn base_uri(value: &Value<'_>) -> Parsed<String> {
    let text = value.string()?;
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-._~/:[]".contains(&c);
    let fits = rest.is_some_and(|rest| {
        rest.len() > 1
            && !rest.starts_with('/')
            && rest.ends_with('/')
            && rest.bytes().all(plain)
            && text.len() <= MAX_BASE_URI_BYTES
    });
    if fits {
        Ok(text.to_owned())
    } else {
        Err(value.problem(Problem::NotABaseUri))
    }
}
