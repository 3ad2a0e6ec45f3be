//! What another policy would have decided on the recorded scans of a period.

use std::collections::BTreeMap;

use citycode_domain::policy::Policy;
use citycode_policy_file::{PolicyChange, PolicyFile, changes};
use citycode_replay::{NotRecomputable, judge_at};
use citycode_scan_records::ScanRecord;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::audit::v1 as proto;
use citycode_wire::request::Period;
use citycode_wire::verdict::reason;

use crate::explain::verdict;
use crate::history::Audit;
use crate::run::{Counts, Observer, ReplayedLog, is_scan};
use crate::suppression::{SMALLEST_SHOWN, shown, shown_of_table};

/// The kind of scans of ID cards in groups.
const ID_CARD: &str = "id_card";

/// Kind, place, and both reasons in the form of the protocol.
type Group = (String, String, i32, i32);

impl Audit {
    /// Judges the scans of a period under another policy. The caller checks who asks.
    ///
    /// # Errors
    /// `invalid_request` if the policy is not valid; as [`Audit::run`].
    pub async fn what_if(
        &self,
        policy: &str,
        period: Period,
        observer: &mut dyn Observer,
    ) -> Result<proto::WhatIfResult, Problem> {
        let other = PolicyFile::parse(policy)
            .map_err(|error| Problem::new(Code::InvalidRequest, format!("the policy is not valid: {error}")))?;
        let whole = self.whole_timeline(observer).await?;
        let log = ReplayedLog::new(whole, &self.store.layout());
        let (mut counts, mut groups) = (Counts::default(), BTreeMap::<Group, u64>::new());
        for day in self.days_of(period).await? {
            let each = |batch: &citycode_scan_records::Batch| {
                let Ok(records) = &batch.records else {
                    return counts.not("unreadable_batch");
                };
                for record in records
                    .iter()
                    .filter(|record| is_scan(record) && period.includes(record.scan.at))
                {
                    compare(record, &other.policy, &log, &mut counts, &mut groups);
                }
            };
            self.each_batch(day, each, observer).await?;
        }
        let differences = changes(&self.policy, &other.policy).into_iter().map(difference);
        Ok(proto::WhatIfResult {
            differences: differences.collect(),
            ..result(&counts, groups)
        })
    }
}

fn compare(
    record: &ScanRecord,
    other: &Policy,
    log: &ReplayedLog,
    counts: &mut Counts,
    groups: &mut BTreeMap<Group, u64>,
) {
    counts.scans += 1;
    let both = log.recompute(record).and_then(|was| {
        let would_be = judge_at(record, other, &log.timeline).map_err(NotRecomputable::name)?;
        Ok((was, would_be))
    });
    let (was, would_be) = match both {
        Ok(both) => both,
        Err(why) => return counts.not(why),
    };
    counts.recomputed += 1;
    if was.verdict == would_be.verdict {
        return;
    }
    let life = record.scan.code_id.and_then(|code_id| log.timeline.life(code_id));
    let not_in_log = record.scan.basis.and_then(|basis| basis.not_in_log);
    let kind = life.map(|life| life.kind).or(not_in_log.map(|unknown| unknown.kind));
    let kind = match kind {
        None => ID_CARD.to_owned(),
        Some(number) => {
            let named = other.kinds.iter().find(|kind| kind.kind == number);
            named.map_or_else(|| number.number().to_string(), |kind| kind.name.clone())
        }
    };
    let reasons = [was, would_be].map(|judged| verdict(judged.verdict).reason);
    let group = (kind, record.scan.place.to_string(), reasons[0], reasons[1]);
    *groups.entry(group).or_default() += 1;
}

fn difference(change: PolicyChange) -> proto::PolicyDifference {
    let PolicyChange { path, zh, en } = change;
    proto::PolicyDifference { path, zh, en }
}

fn result(counts: &Counts, groups: BTreeMap<Group, u64>) -> proto::WhatIfResult {
    let changed: u64 = groups.values().sum();
    let table = shown_of_table(&groups.values().copied().collect::<Vec<_>>());
    let by = groups
        .into_keys()
        .zip(table)
        .map(|((kind, place, was, would_be), count)| {
            let of = |value: i32| reason(value).map(|reason| verdict(reason.verdict()));
            proto::WhatIfGroup {
                kind,
                place,
                was: of(was),
                would_be: of(would_be),
                count,
            }
        });
    let not_judged = counts
        .not_recomputable
        .iter()
        .filter(|(_, count)| **count >= SMALLEST_SHOWN);
    proto::WhatIfResult {
        scans: counts.recomputed,
        changed: shown(changed),
        by: by.collect(),
        not_recomputable: not_judged.map(|(why, count)| (why.clone(), *count)).collect(),
        differences: Vec::new(),
    }
}
