//! The rows of an export agree with the audit of the same period and with the histories of codes.

use std::collections::{BTreeMap, BTreeSet};

use citycode_audit::{Audit, Observer, RowSink};
use citycode_auth::{Caller, CallerId, Role};
use citycode_domain::ids::CodeId;
use citycode_wire::proto::audit::v1::export_response::Update;
use citycode_wire::proto::audit::v1::{self as proto, daily_count::Counted};
use citycode_wire::request::HistoryQuery;

use crate::agreement::{recorded, run, whole_month};
use crate::city::City;

/// The rows of an export.
#[derive(Default, PartialEq, Debug)]
struct Rows {
    events: Vec<proto::ExportedEvent>,
    verdicts: Vec<proto::ExportedVerdict>,
    daily: Vec<proto::DailyCount>,
    /// Messages with rows that are taken before the receiver leaves.
    patience: Option<usize>,
}

impl Observer for Rows {
    fn progress(&mut self, _: proto::AuditProgress) -> bool {
        true
    }
}

#[tonic::async_trait]
impl RowSink for Rows {
    async fn rows(&mut self, rows: Update) -> bool {
        if let Some(patience) = &mut self.patience {
            let Some(left) = patience.checked_sub(1) else {
                return false;
            };
            *patience = left;
        }
        match rows {
            Update::Events(more) => self.events.extend(more.rows),
            Update::Verdicts(more) => self.verdicts.extend(more.rows),
            Update::Daily(more) => self.daily.extend(more.rows),
            Update::Progress(_) | Update::Result(_) => unreachable!("these are not rows"),
        }
        true
    }
}

async fn export(audit: &Audit, exact: bool) -> (Rows, proto::ExportSummary) {
    let mut rows = Rows::default();
    let summary = audit.export(whole_month(), exact, &mut rows).await.expect("exported");
    let sent = [rows.events.len(), rows.verdicts.len(), rows.daily.len()].map(|count| count as u64);
    assert_eq!(sent, [summary.events, summary.verdicts, summary.daily]);
    (rows, summary)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_what_the_audit_counts_and_what_histories_show() {
    let city = City::month(11).await;
    let audit = city.audit().await;
    let (rows, summary) = export(&audit, true).await;
    assert_eq!(summary.unreadable_batches, 0);
    let result = run(&audit).await;
    assert_eq!(rows.verdicts.len() as u64, result.scans);
    let agree = rows
        .verdicts
        .iter()
        .filter(|row| row.recorded == row.recomputed)
        .count();
    assert_eq!(agree as u64, result.agree);
    let mut not_recomputable = BTreeMap::new();
    for row in rows.verdicts.iter().filter(|row| row.recomputed.is_none()) {
        *not_recomputable.entry(row.not_recomputable.clone()).or_insert(0) += 1;
    }
    assert_eq!(not_recomputable, result.not_recomputable.into_iter().collect());
    let counted: u64 = rows.daily.iter().filter_map(|row| row.count).sum();
    assert_eq!(counted, summary.events + summary.verdicts, "exact counts are whole");

    // Every event of a history is among the rows, at its position and under one number of the code.
    let auditor = Caller::new(CallerId::new("test", "auditor").expect("an id"), vec![Role::Auditor]);
    let codes: BTreeSet<CodeId> = recorded(&audit)
        .await
        .iter()
        .filter_map(|record| record.scan.code_id)
        .collect();
    let mut compared = 0;
    for code_id in codes {
        let Ok(history) = audit.history(&auditor, HistoryQuery::of_code(code_id)).await else {
            continue;
        };
        let own = history
            .entries
            .iter()
            .filter(|entry| entry.code_id == Some(code_id.to_string()));
        let mut numbers = BTreeSet::new();
        for entry in own {
            let found = rows.events.iter().filter(|row| {
                (&row.position, &row.event, row.decided_at) == (&entry.position, &entry.event_type, entry.decided_at)
            });
            let found: Vec<u64> = found.filter_map(|row| row.code).collect();
            assert!(!found.is_empty(), "{entry:?}");
            if found.len() == 1 {
                numbers.extend(found);
            }
            compared += 1;
        }
        assert!(numbers.len() <= 1, "{code_id}: {numbers:?}");
    }
    assert!(compared > 50, "{compared}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_repeatable_and_names_no_code_and_no_holder() {
    let city = City::month(12).await;
    let audit = city.audit().await;
    let (rows, summary) = export(&audit, false).await;
    let (again, summary_again) = export(&audit, false).await;
    assert_eq!((&again, &summary_again), (&rows, &summary));
    let text = format!("{rows:?}");
    for record in recorded(&audit).await {
        if let Some(code_id) = record.scan.code_id {
            assert!(!text.contains(&code_id.to_string()), "{code_id}");
        }
    }
    // The last bytes of the numbers of the city's holders.
    assert!(!text.contains("a0a0a0a0a0a0a0a0") && !text.contains("160, 160, 160"));
    let small = rows
        .daily
        .iter()
        .filter(|row| row.count.is_some_and(|count| (1..10).contains(&count)));
    assert_eq!(small.count(), 0, "small counts are suppressed");
    assert!(
        rows.daily
            .iter()
            .any(|row| matches!(row.counted, Some(Counted::Verdict(_))))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_ends_when_its_receiver_leaves() {
    let city = City::month(13).await;
    let audit = city.audit().await;
    let mut rows = Rows {
        patience: Some(2),
        ..Rows::default()
    };
    let left = audit.export(whole_month(), false, &mut rows).await.expect_err("ended");
    assert_eq!(left.code().as_str(), "unavailable");
    assert!(!rows.events.is_empty() && rows.daily.is_empty());
}
