//! Log lines about what clients do, at most one in ten seconds each: an attack must not fill the disk with its own
//! report.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Between two lines of the same text.
const PAUSE: Duration = Duration::from_secs(10);

/// Lines that were written, and how many were left out since.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    lines: Mutex<HashMap<&'static str, (Instant, u64)>>,
}

impl Throttle {
    /// Writes a warning, unless the same one was written a moment ago.
    #[expect(
        clippy::disallowed_methods,
        reason = "the runtime's timer, for the rate of log lines alone"
    )]
    pub(super) fn warn(&self, text: &'static str) {
        let now = Instant::now();
        let mut lines = self.lines.lock();
        let left_out = match lines.get_mut(text) {
            Some((at, left_out)) if now.saturating_duration_since(*at) < PAUSE => {
                *left_out += 1;
                return;
            }
            Some((_, left_out)) => *left_out,
            None => 0,
        };
        lines.insert(text, (now, 0));
        drop(lines);
        tracing::warn!(left_out, "{text}");
    }
}
