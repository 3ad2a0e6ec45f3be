//! Names of streams and subjects.

use citycode_event_store::{BucketId, Partition};

/// All subjects of the log begin with this.
const SUBJECT_PREFIX: &str = "cc.ev.v1.";

/// `CC_EV_07`.
pub(crate) fn stream(partition: Partition) -> String {
    format!("CC_EV_{partition}")
}

/// `cc.ev.v1.07.*`: every bucket of a partition.
pub(crate) fn subjects(partition: Partition) -> String {
    format!("{SUBJECT_PREFIX}{partition}.*")
}

/// `cc.ev.v1.07.00ff`.
pub(crate) fn subject(bucket: BucketId) -> String {
    format!("{SUBJECT_PREFIX}{bucket}")
}

/// Whether this is the subject of that bucket. Does not allocate: every commit that is read passes here.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_design_and_a_subject_is_of_one_bucket() {
        let bucket = BucketId {
            partition: Partition(7),
            bucket: 0xff,
        };
        assert_eq!(stream(bucket.partition), "CC_EV_07");
        assert_eq!(subjects(bucket.partition), "cc.ev.v1.07.*");
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
