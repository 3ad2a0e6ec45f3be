//! Version 1 of freshness probes, for programs of earlier releases while the log's minimum reader version is 1: a
//! reader publishes `<reader>.<count>` as nonce, and commits carry the nonces themselves.

use super::TICK;

/// Longest nonce in bytes: twelve random characters, a dot, and a count.
const MAX_NONCE_BYTES: usize = 24;
/// Most nonces in one commit, the newest of each reader. During an upgrade few readers still need them, and a flood of
/// forged nonces adds at most 1.5 KiB to each commit.
const MAX_UNANSWERED: usize = 64;
/// The length of the random prefix in the names from the NATS client's generator, which a counter follows.
pub(super) const READER_CHARACTERS: usize = 12;

/// The nonces that a writer must answer in one partition.
#[derive(Debug, Default)]
pub(super) struct UnansweredV1 {
    pub(super) nonces: Vec<String>,
    /// The tick at which the oldest of them arrived.
    pub(super) since: Option<u64>,
}

impl UnansweredV1 {
    pub(super) fn insert(&mut self, reader: &str, nonce: &str, tick: u64) {
        // The answer to a reader's newest nonce also answers its older ones.
        self.nonces.retain(|known| reader_of(known) != Some(reader));
        if self.nonces.len() == MAX_UNANSWERED {
            self.nonces.remove(0);
        }
        self.nonces.push(nonce.to_owned());
        self.since.get_or_insert(tick);
    }

    pub(super) fn remove(&mut self, answered: &[&str]) {
        self.nonces.retain(|nonce| !answered.contains(&nonce.as_str()));
        if self.nonces.is_empty() {
            self.since = None;
        }
    }
}

/// The number of ticks in a duration, rounded up. A tick may be late but never early.
pub(super) fn ticks_in(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u64::MAX)
}

/// Parses an untrusted nonce; returns the reader's part and the whole nonce.
pub(super) fn parse(nonce: &[u8]) -> Option<(&str, &str)> {
    let nonce = std::str::from_utf8(nonce)
        .ok()
        .filter(|nonce| nonce.len() <= MAX_NONCE_BYTES)?;
    let (reader, count) = nonce.split_once('.')?;
    let valid = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (valid(reader) && valid(count)).then_some((reader, nonce))
}

fn reader_of(nonce: &str) -> Option<&str> {
    nonce.split_once('.').map(|(reader, _)| reader)
}
