//! Names of JetStream streams and their subjects.

use citycode_event_store::{BucketId, Layout, Partition, RESERVED_BUCKETS};

/// All subjects of the log begin with this.
const SUBJECT_PREFIX: &str = "cc.ev.v1.";

const STREAM_PREFIX: &str = "CC_EV_";
const TAIL_PREFIX: &str = "cc.tail.v1.";

/// `CC_EV_07`.
pub(crate) fn stream(partition: Partition) -> String {
    format!("{STREAM_PREFIX}{partition}")
}

/// `cc.ev.v1.07.*`: every bucket of a partition.
pub(crate) fn subjects(partition: Partition) -> String {
    format!("{SUBJECT_PREFIX}{partition}.*")
}

/// `cc.ev.v1.07.00ff`.
pub(crate) fn subject(bucket: BucketId) -> String {
    format!("{SUBJECT_PREFIX}{bucket}")
}

/// `cc.tail.v1.07`, on which the servers republish what a partition has stored.
pub(crate) fn tail(partition: Partition) -> String {
    format!("{TAIL_PREFIX}{partition}")
}

/// Whether this is the stream of that partition. Does not allocate, because it is called for every commit that is read.
pub(crate) fn is_stream_of(stream: &str, partition: Partition) -> bool {
    let number = stream.strip_prefix(STREAM_PREFIX);
    number.is_some_and(|number| number.len() >= 2 && number.parse() == Ok(partition.0))
}

/// Whether this is the subject of that bucket. Does not allocate, because it is called for every commit that is read.
pub(crate) fn is_subject_of(subject: &str, bucket: BucketId) -> bool {
    let parts = subject
        .strip_prefix(SUBJECT_PREFIX)
        .and_then(|rest| rest.split_once('.'));
    parts.is_some_and(|(partition, number)| {
        number.len() == 4
            && u16::from_str_radix(number, 16) == Ok(bucket.bucket)
            && partition.len() >= 2
            && partition.parse() == Ok(bucket.partition.0)
    })
}

/// The bucket with this subject; if it is not the subject of any bucket, the lowest reserved bucket, which is unused.
pub(crate) fn bucket_of_subject(subject: &str, partition: Partition, layout: &Layout) -> BucketId {
    let number = subject
        .rsplit('.')
        .next()
        .and_then(|number| u16::from_str_radix(number, 16).ok());
    let named = number.map(|bucket| BucketId { partition, bucket });
    named
        .filter(|bucket| layout.contains(*bucket) && is_subject_of(subject, *bucket))
        .unwrap_or_else(|| {
            let bucket = layout.buckets_per_partition() - RESERVED_BUCKETS;
            BucketId {
                partition,
                bucket: u16::try_from(bucket).expect("below 65,536"),
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fixed_and_a_subject_belongs_to_one_bucket() {
        let bucket = BucketId {
            partition: Partition(7),
            bucket: 0xff,
        };
        assert_eq!(stream(bucket.partition), "CC_EV_07");
        assert_eq!(subjects(bucket.partition), "cc.ev.v1.07.*");
        assert_eq!(tail(bucket.partition), "cc.tail.v1.07");
        assert!(is_stream_of("CC_EV_07", bucket.partition));
        for other in ["CC_EV_08", "CC_EV_7", "KV_CC_VAULT", ""] {
            assert!(!is_stream_of(other, bucket.partition), "{other}");
        }
        assert_eq!(subject(bucket), "cc.ev.v1.07.00ff");
        assert!(is_subject_of("cc.ev.v1.07.00ff", bucket));
        for other in [
            "cc.ev.v1.08.00ff",
            "cc.ev.v1.07.00fe",
            "cc.ev.v1.07.ff",
            "x",
            "cc.ev.v1.7.00ff",
        ] {
            assert!(!is_subject_of(other, bucket), "{other}");
        }
    }
}
