//! The fold of one day's registrations: for each bucket its last sequence and whether it is closed, and for
//! each registration four bytes of its name and its sequence. This takes eight bytes each, or twice that after
//! a list has just grown.

use crate::jetstream::message::{Message, Name};

/// A day's registrations, as far as they were read.
pub(crate) struct Fold {
    buckets: Vec<Bucket>,
    /// The last message up to which everything was read.
    read: u64,
}

#[derive(Default, Clone)]
struct Bucket {
    tail: u64,
    closed: bool,
    /// A part of the name, and the sequence.
    registrations: Vec<(u32, u32)>,
}

impl Fold {
    pub(crate) fn new(buckets: u32) -> Self {
        Self {
            buckets: vec![Bucket::default(); buckets as usize],
            read: 0,
        }
    }

    /// The last message up to which everything was read.
    pub(crate) fn read(&self) -> u64 {
        self.read
    }

    /// Folds the next message of the stream; returns false if one is missing before it.
    pub(crate) fn follow(&mut self, bucket: u16, sequence: u64, message: &Message<'_>) -> bool {
        if sequence <= self.read {
            return true;
        }
        if sequence != self.read + 1 {
            return false;
        }
        self.read = sequence;
        self.see(bucket, sequence, message);
        true
    }

    /// Folds a message that is known to be its bucket's next one: this process wrote it, or it arrived in
    /// order.
    pub(crate) fn see(&mut self, bucket: u16, sequence: u64, message: &Message<'_>) {
        let Some(bucket) = self.buckets.get_mut(usize::from(bucket)) else {
            return;
        };
        if sequence <= bucket.tail {
            return;
        }
        bucket.tail = sequence;
        match message {
            Message::Registration { name, .. } => {
                // Four billion registrations per day would be 170 scans per person.
                let sequence = u32::try_from(sequence).unwrap_or(u32::MAX);
                bucket.registrations.push((part(name), sequence));
            }
            Message::Closed => bucket.closed = true,
            Message::Unknown => {}
        }
    }

    /// The last known sequence of the bucket.
    pub(crate) fn tail(&self, bucket: u16) -> u64 {
        self.bucket(bucket).map_or(0, |bucket| bucket.tail)
    }

    /// Whether the bucket continues in the next day.
    pub(crate) fn is_closed(&self, bucket: u16) -> bool {
        self.bucket(bucket).is_some_and(|bucket| bucket.closed)
    }

    /// Sequences that may be the registration of this name: nearly always none or one.
    pub(crate) fn places(&self, bucket: u16, name: &Name) -> Vec<u64> {
        let wanted = part(name);
        let registrations = self.bucket(bucket).map(|bucket| bucket.registrations.as_slice());
        let found = registrations.into_iter().flatten().filter(|(part, _)| *part == wanted);
        found.map(|(_, sequence)| u64::from(*sequence)).collect()
    }

    fn bucket(&self, bucket: u16) -> Option<&Bucket> {
        self.buckets.get(usize::from(bucket))
    }
}

fn part(name: &Name) -> u32 {
    u32::from_be_bytes(*name.first_chunk().expect("a name has 16 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(number: u8) -> Vec<u8> {
        Message::Registration {
            name: &[number; 16],
            sealed: &[0; 40],
        }
        .encode()
    }

    #[test]
    fn a_message_that_this_process_wrote_is_not_counted_again_when_read() {
        let mut fold = Fold::new(4);
        let (one, two) = (registration(1), registration(2));
        assert!(fold.follow(1, 1, &Message::read(&one)));
        fold.see(2, 2, &Message::read(&two));
        assert_eq!((fold.tail(1), fold.tail(2), fold.read()), (1, 2, 1));
        assert!(fold.follow(2, 2, &Message::read(&two)));
        assert!(fold.follow(2, 2, &Message::read(&two)), "read again");
        assert_eq!(fold.read(), 2);
        assert_eq!(fold.places(2, &[2; 16]), [2]);
        assert_eq!(fold.places(2, &[1; 16]), [] as [u64; 0]);
        assert_eq!(fold.places(1, &[1; 16]), [1]);
    }

    #[test]
    fn a_gap_is_detected_and_a_closed_bucket_stays_closed() {
        let mut fold = Fold::new(4);
        assert!(!fold.follow(0, 2, &Message::Closed), "the first is missing");
        assert!(fold.follow(0, 1, &Message::Closed));
        assert!(fold.is_closed(0) && !fold.is_closed(1));
        assert!(
            fold.follow(1, 2, &Message::Unknown),
            "it changes the tail and is not a registration"
        );
        assert_eq!(fold.tail(1), 2);
        assert!(fold.follow(900, 3, &Message::Closed), "of an unknown bucket");
    }
}
