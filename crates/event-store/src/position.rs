//! The identity of a log, and a position in all of its partitions.

use std::fmt;

use citycode_log_position::{Partition, Position, Sequence};

/// The identity of a log: 16 random bytes, drawn when the log is created. A client that finds another identity stops.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogId(pub [u8; 16]);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogId({self})")
    }
}

/// A position in the whole log: for each partition the last sequence that it includes. As the start of a subscription
/// it is exclusive.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogPosition {
    sequences: Vec<Sequence>,
}

/// Why bytes are not a [`LogPosition`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes are not a log position: version 1, a count of partitions, and eight bytes for each")]
pub struct LogPositionInvalid(usize);

const LOG_POSITION_VERSION: u8 = 1;

impl LogPosition {
    /// Before the first commit of a log with this number of partitions.
    pub fn start(partitions: u16) -> Self {
        Self {
            sequences: vec![Sequence::START; usize::from(partitions)],
        }
    }

    /// From one sequence for each partition, in order.
    pub fn from_sequences(sequences: Vec<Sequence>) -> Self {
        Self { sequences }
    }

    /// The number of partitions.
    pub fn partitions(&self) -> usize {
        self.sequences.len()
    }

    /// The last included sequence of `partition`; [`Sequence::START`] for a partition that this position lacks.
    pub fn sequence(&self, partition: Partition) -> Sequence {
        self.sequences
            .get(usize::from(partition.0))
            .copied()
            .unwrap_or(Sequence::START)
    }

    /// Sets the sequence of one partition. Ignores a partition that this position lacks.
    pub fn set(&mut self, partition: Partition, sequence: Sequence) {
        if let Some(slot) = self.sequences.get_mut(usize::from(partition.0)) {
            *slot = sequence;
        }
    }

    /// Whether this position includes the message at `position`.
    pub fn includes(&self, position: Position) -> bool {
        position.sequence <= self.sequence(position.partition)
    }

    /// Whether this position includes everything that `other` includes (with the same number of partitions).
    pub fn reaches(&self, other: &Self) -> bool {
        self.sequences.len() == other.sequences.len()
            && self
                .sequences
                .iter()
                .zip(&other.sequences)
                .all(|(mine, theirs)| mine >= theirs)
    }

    /// Each partition with its sequence, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Partition, Sequence)> + '_ {
        (0u16..)
            .zip(&self.sequences)
            .map(|(number, sequence)| (Partition(number), *sequence))
    }

    /// The number of included messages in all partitions together.
    pub fn commits(&self) -> u64 {
        self.sequences
            .iter()
            .fold(0, |sum, sequence| sum.saturating_add(sequence.0))
    }

    /// Encoding: `version u8 = 1`, `count u16`, then `count` × `sequence u64`, all big-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let count = u16::try_from(self.sequences.len()).expect("a layout has at most 256 partitions");
        let mut bytes = Vec::with_capacity(3 + self.sequences.len() * 8);
        bytes.push(LOG_POSITION_VERSION);
        bytes.extend_from_slice(&count.to_be_bytes());
        for sequence in &self.sequences {
            bytes.extend_from_slice(&sequence.0.to_be_bytes());
        }
        bytes
    }

    /// The inverse of [`LogPosition::to_bytes`]; refuses other versions, truncated and trailing bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LogPositionInvalid> {
        let invalid = LogPositionInvalid(bytes.len());
        let [LOG_POSITION_VERSION, high, low, rest @ ..] = bytes else {
            return Err(invalid);
        };
        let count = usize::from(u16::from_be_bytes([*high, *low]));
        let (chunks, trailing) = rest.as_chunks::<8>();
        if chunks.len() != count || !trailing.is_empty() {
            return Err(invalid);
        }
        Ok(Self {
            sequences: chunks
                .iter()
                .map(|chunk| Sequence(u64::from_be_bytes(*chunk)))
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_position_bytes_are_golden_and_truncation_is_refused() {
        let position = LogPosition::from_sequences(vec![Sequence(1), Sequence(0x0102_0304_0506_0708)]);
        let bytes = position.to_bytes();
        assert_eq!(bytes, [1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(LogPosition::from_bytes(&bytes), Ok(position));
        for length in 0..bytes.len() {
            assert!(LogPosition::from_bytes(&bytes[..length]).is_err(), "{length} bytes");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(LogPosition::from_bytes(&longer).is_err());
        let mut other_version = bytes;
        other_version[0] = 2;
        assert!(LogPosition::from_bytes(&other_version).is_err());
    }

    #[test]
    fn a_position_reaches_another_only_if_every_partition_does() {
        let low = LogPosition::from_sequences(vec![Sequence(1), Sequence(5)]);
        let mut high = low.clone();
        high.set(Partition(1), Sequence(6));
        assert!(high.reaches(&low) && !low.reaches(&high));
        assert!(high.includes(Position {
            partition: Partition(1),
            sequence: Sequence(6)
        }));
        assert!(!low.includes(Position {
            partition: Partition(1),
            sequence: Sequence(6)
        }));
        assert_eq!(high.commits(), 7);
        assert!(!LogPosition::start(3).reaches(&low));
    }
}
