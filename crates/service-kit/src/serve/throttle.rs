//! Log lines about clients, each at most once in ten seconds, so that an attack does not fill the disk with log lines.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Pause between two lines with the same text.
const PAUSE: Duration = Duration::from_secs(10);

/// For each line: when it was last written, and how many were left out since.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    lines: Mutex<HashMap<&'static str, (Instant, u64)>>,
}

impl Throttle {
    /// Writes a warning, unless the same one was written a moment ago.
    #[expect(
        clippy::disallowed_methods,
        reason = "the runtime's timer, used only for the rate of log lines"
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
