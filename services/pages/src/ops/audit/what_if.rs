//! What another policy would have decided about the scans of a period.

use askama::Template;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::audit::v1::{WhatIfRequest, WhatIfResult, what_if_response};

use super::explained::{decided, not_recomputable};
use crate::caller::PageCaller;
use crate::frame::Frame;
use crate::lang::{Choice, Language};
use crate::ops::numbers;
use crate::ops::streamed::{Failed, Parts, Progress};
use crate::site::Site;

/// The question.
pub(super) struct Asked {
    pub(super) purpose: String,
    /// The text of the other policy.
    pub(super) policy: String,
    /// Unix seconds, inclusive.
    pub(super) from: i64,
    /// Unix seconds, exclusive.
    pub(super) to: i64,
}

/// Scans that would have been decided in another way.
struct Row {
    kind: String,
    place: String,
    was: String,
    would_be: String,
    count: String,
}

#[derive(Template)]
#[template(path = "ops/what_if_part.html")]
struct Told<'a> {
    f: &'a Frame<'a>,
    period: String,
    scans: String,
    changed: String,
    differences: Vec<String>,
    rows: Vec<Row>,
    /// Reasons and numbers of scans that were not judged.
    skipped: Vec<(String, String)>,
}

/// Sends the answer.
pub(super) async fn tell(site: &Site, choice: Choice, caller: &PageCaller, asked: Asked, parts: &Parts) {
    let f = Frame::public(site, choice, "/ops/audit");
    let period = f.t2(
        "ops-period",
        ("from", &f.minute(&asked.from)),
        ("to", &f.minute(&asked.to)),
    );
    match ask(site, caller, asked, &f, parts).await {
        Ok(Some(result)) => {
            parts.send(&told(&f, period, &result)).await;
        }
        // The reader left.
        Ok(None) => {}
        Err(problem) => {
            parts.send(&Failed::new(&f, &problem)).await;
        }
    }
}

/// The result; `None` if the reader left.
async fn ask(
    site: &Site,
    caller: &PageCaller,
    asked: Asked,
    f: &Frame<'_>,
    parts: &Parts,
) -> Result<Option<WhatIfResult>, Problem> {
    let request = WhatIfRequest {
        purpose: asked.purpose,
        policy: asked.policy,
        from: asked.from,
        to: asked.to,
    };
    let mut audit = site.clients.audit.clone();
    let mut updates = audit.what_if(site.request(caller, request)?).await?.into_inner();
    let mut last = 0;
    while let Some(update) = updates.message().await? {
        match update.update {
            Some(what_if_response::Update::Result(result)) => return Ok(Some(result)),
            Some(what_if_response::Update::Progress(progress)) if progress.day != last => {
                last = progress.day;
                let text = f.t1("ops-progress-scans", "scans", &numbers::grouped(progress.scans));
                if !parts.send(&Progress { text }).await {
                    return Ok(None);
                }
            }
            _ => {}
        }
    }
    Err(Problem::new(Code::Unavailable, "the audit service sent no result"))
}

fn told<'a>(f: &'a Frame<'a>, period: String, result: &WhatIfResult) -> Told<'a> {
    let words = |verdict| decided(f, verdict).map(|decided| decided.text).unwrap_or_default();
    let rows = result.by.iter().map(|group| Row {
        kind: numbers::kind(f, &group.kind),
        place: numbers::place(f, &group.place),
        was: words(group.was.as_ref()),
        would_be: words(group.would_be.as_ref()),
        count: numbers::count(f, group.count),
    });
    let differences = result.differences.iter().map(|difference| match f.language() {
        Language::Chinese => difference.zh.clone(),
        Language::English => difference.en.clone(),
    });
    let skipped = result.not_recomputable.iter();
    let mut skipped: Vec<_> = skipped
        .map(|(why, count)| (not_recomputable(f, why), numbers::grouped(*count)))
        .collect();
    skipped.sort();
    Told {
        period,
        scans: numbers::grouped(result.scans),
        changed: numbers::count(f, result.changed),
        differences: differences.collect(),
        rows: rows.collect(),
        skipped,
        f,
    }
}
