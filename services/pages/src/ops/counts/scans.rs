//! The scans of a period by place and reason, from the daily counts of the audit service's export.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use citycode_domain::admission::{Decision, Reason};
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::audit::v1::{DailyCount, ExportRequest, daily_count, export_response};
use citycode_wire::verdict::{decision, reason};
use serde_json::json;

use crate::caller::PageCaller;
use crate::frame::Frame;
use crate::lang::Choice;
use crate::ops::numbers;
use crate::ops::streamed::{Failed, Parts, Progress};
use crate::site::Site;

const DAY_SECONDS: i64 = 86_400;

/// The question.
pub(super) struct Scans {
    pub(super) purpose: String,
    /// Unix seconds, inclusive.
    pub(super) from: i64,
    /// Unix seconds, exclusive.
    pub(super) to: i64,
}

/// The number of scans of one place, decision and reason.
struct Row {
    place: String,
    decision: &'static str,
    decided: String,
    reason: String,
    count: String,
}

#[derive(Template)]
#[template(path = "ops/scans_part.html")]
struct Told<'a> {
    f: &'a Frame<'a>,
    /// JSON for the chart; empty if there is none.
    chart: String,
    rows: Vec<Row>,
    unreadable: u64,
}

/// Sends the answer.
pub(super) async fn tell(site: &Site, choice: Choice, caller: &PageCaller, asked: Scans, parts: &Parts) {
    let f = Frame::public(site, choice, "/ops/counts");
    match ask(site, caller, asked, &f, parts).await {
        Ok(Some((counts, unreadable))) => {
            let told = Told {
                chart: chart(&f, &counts),
                rows: rows(&f, &counts),
                unreadable,
                f: &f,
            };
            parts.send(&told).await;
        }
        // The reader left.
        Ok(None) => {}
        Err(problem) => {
            parts.send(&Failed::new(&f, &problem)).await;
        }
    }
}

/// The daily counts of scans, and how many batches of records cannot be read; `None` if the reader left.
async fn ask(
    site: &Site,
    caller: &PageCaller,
    asked: Scans,
    f: &Frame<'_>,
    parts: &Parts,
) -> Result<Option<(Vec<DailyCount>, u64)>, Problem> {
    let request = ExportRequest {
        purpose: asked.purpose,
        from: asked.from,
        to: asked.to,
        exact: false,
    };
    let mut audit = site.clients.audit.clone();
    let mut updates = audit.export(site.request(caller, request)?).await?.into_inner();
    let (mut counts, mut last) = (Vec::new(), 0);
    while let Some(update) = updates.message().await? {
        match update.update {
            Some(export_response::Update::Progress(progress)) if progress.day != last => {
                last = progress.day;
                let text = f.t1("ops-progress-scans", "scans", &numbers::grouped(progress.scans));
                if !parts.send(&Progress { text }).await {
                    return Ok(None);
                }
            }
            Some(export_response::Update::Daily(daily)) => {
                let scans = daily.rows.into_iter();
                counts.extend(scans.filter(|row| matches!(row.counted, Some(daily_count::Counted::Verdict(_)))));
            }
            Some(export_response::Update::Result(summary)) => {
                return Ok(Some((counts, summary.unreadable_batches)));
            }
            _ => {}
        }
    }
    Err(Problem::new(Code::Unavailable, "the audit service sent no result"))
}

/// What a row counts: place, decision, reason.
fn verdict(row: &DailyCount) -> Option<(Decision, Reason)> {
    match &row.counted {
        Some(daily_count::Counted::Verdict(verdict)) => Some((decision(verdict.decision)?, reason(verdict.reason)?)),
        _ => None,
    }
}

/// A sum that is absent once a part of it is.
fn add(sum: &mut Option<u64>, part: Option<u64>) {
    *sum = sum.zip(part).map(|(sum, part)| sum + part);
}

fn rows(f: &Frame<'_>, counts: &[DailyCount]) -> Vec<Row> {
    let mut sums: BTreeMap<(&str, &'static str, &'static str), Option<u64>> = BTreeMap::new();
    for row in counts {
        if let Some((decision, reason)) = verdict(row) {
            let sum = sums
                .entry((&row.place, decision.name(), reason.name()))
                .or_insert(Some(0));
            add(sum, row.count);
        }
    }
    let rows = sums.into_iter().map(|((place, decision, reason), count)| Row {
        place: numbers::place(f, place),
        decision,
        decided: f.t(&format!("ops-decision-{}", decision.replace('_', "-"))),
        reason: f.t(&format!("word-{}", reason.replace('_', "-"))),
        count: numbers::count(f, count),
    });
    rows.collect()
}

/// A line for each decision over the days; days with a suppressed count have a gap.
fn chart(f: &Frame<'_>, counts: &[DailyCount]) -> String {
    let days: BTreeSet<u32> = counts.iter().map(|row| row.day).collect();
    // A line needs two days; the table has the numbers of one.
    if days.len() < 2 {
        return String::new();
    }
    let series = Decision::ALL.iter().map(|shown| {
        let values = days.iter().map(|day| {
            let of_day = counts.iter().filter(|row| row.day == *day);
            let mut sum = Some(0);
            for row in of_day.filter(|row| verdict(row).is_some_and(|(decision, _)| decision == *shown)) {
                add(&mut sum, row.count);
            }
            sum
        });
        let tone = match shown {
            Decision::Admit => "good",
            Decision::AdmitAfterIdCheck => "info",
            Decision::Refuse => "bad",
            Decision::CannotCheck => "warn",
        };
        json!({
            "label": f.t(&format!("ops-decision-{}", shown.name().replace('_', "-"))),
            "tone": tone,
            "values": values.collect::<Vec<_>>(),
        })
    });
    let chart = json!({
        "timeLabel": f.t("ops-time"),
        "zone": f.site.policy.time_zone,
        "x": days.iter().map(|day| i64::from(*day) * DAY_SECONDS).collect::<Vec<_>>(),
        "series": series.collect::<Vec<_>>(),
    });
    // Nothing in it may end the script element.
    chart.to_string().replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_with_a_suppressed_part_is_suppressed() {
        let mut sum = Some(0);
        add(&mut sum, Some(20));
        assert_eq!(sum, Some(20));
        add(&mut sum, None);
        add(&mut sum, Some(30));
        assert_eq!(sum, None);
    }
}
