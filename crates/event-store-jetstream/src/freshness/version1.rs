//! How programs before this release prove that they are fresh, for as long as the log's minimum reader version is 1: a
//! reader publishes `<reader>.<count>`, and commits carry the numbers themselves.

use super::LOOK_EVERY;

/// Longest number, in bytes: twelve random characters, a dot, and a count.
const MAX_NUMBER_BYTES: usize = 24;
/// Numbers that one commit carries, the newest of each reader. During an upgrade few readers are left that need it, and
/// what strangers send costs each commit 1.5 KiB at most.
pub(super) const MAX_OWED: usize = 64;
/// Of the client's own generator of names: the part that is random and not counted up.
pub(super) const READER_CHARACTERS: usize = 12;

/// What a writer owes one partition.
#[derive(Debug, Default)]
pub(super) struct Owed {
    pub(super) numbers: Vec<String>,
    /// Since which look.
    pub(super) since: Option<u64>,
}

impl Owed {
    pub(super) fn owe(&mut self, reader: &str, number: &str, look: u64) {
        // Its newest question answers its older ones too.
        self.numbers.retain(|owed| reader_of(owed) != Some(reader));
        if self.numbers.len() == MAX_OWED {
            self.numbers.remove(0);
        }
        self.numbers.push(number.to_owned());
        self.since.get_or_insert(look);
    }

    pub(super) fn pay(&mut self, numbers: &[&str]) {
        self.numbers.retain(|owed| !numbers.contains(&owed.as_str()));
        if self.numbers.is_empty() {
            self.since = None;
        }
    }
}

/// How many looks fill a time; a look may come late and never early.
pub(super) fn looks_in(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis().div_ceil(LOOK_EVERY.as_millis())).unwrap_or(u64::MAX)
}

/// A number as a stranger may have sent it: the reader's part, and the whole.
pub(super) fn parse(number: &[u8]) -> Option<(&str, &str)> {
    let number = std::str::from_utf8(number)
        .ok()
        .filter(|number| number.len() <= MAX_NUMBER_BYTES)?;
    let (reader, count) = number.split_once('.')?;
    let good = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (good(reader) && good(count)).then_some((reader, number))
}

fn reader_of(number: &str) -> Option<&str> {
    number.split_once('.').map(|(reader, _)| reader)
}
