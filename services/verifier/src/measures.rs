//! The metrics of a verifier. Their handles are stored, because looking one up by name costs more than a scan.

use std::sync::OnceLock;
use std::time::Duration;

use citycode_domain::admission::{Decision, Reason, Verdict};
use metrics::{Counter, Histogram};

/// The handles of one verifier, obtained at the first scan; the recorder must be installed before.
#[derive(Default)]
pub(crate) struct Measures(OnceLock<Handles>);

struct Handles {
    seconds: Histogram,
    scans: [(Decision, Counter); Decision::ALL.len()],
    unknown: Counter,
    alarms: Counter,
}

impl Measures {
    /// Counts a scan.
    pub(crate) fn count(&self, verdict: Verdict, took: Duration) {
        let handles = self.0.get_or_init(Handles::new);
        handles.seconds.record(took.as_secs_f64());
        if let Some((_, scans)) = handles.scans.iter().find(|(decision, _)| *decision == verdict.decision) {
            scans.increment(1);
        }
        if verdict.reason == Reason::UnknownCode {
            handles.unknown.increment(1);
            handles.alarms.increment(1);
        }
    }
}

impl Handles {
    fn new() -> Self {
        let scans = |decision: Decision| {
            let counter = metrics::counter!("citycode_verifier_scans_total", "decision" => decision.name());
            (decision, counter)
        };
        Self {
            seconds: metrics::histogram!("citycode_verifier_scan_seconds"),
            scans: Decision::ALL.map(scans),
            unknown: metrics::counter!("citycode_verifier_unknown_codes_total"),
            alarms: metrics::counter!("citycode_verifier_alarms_total"),
        }
    }
}
