//! The names of event streams.

use citycode_domain::ids::HolderId;
use citycode_event_store::{Partition, StreamName};

/// The stream of signing keys.
///
/// # Panics
/// Never: the name is valid.
#[must_use]
pub fn keys_stream() -> StreamName {
    StreamName::new("keys").expect("a valid stream name")
}

/// The stream of policies that services adopted.
///
/// # Panics
/// Never: the name is valid.
#[must_use]
pub fn policies_stream() -> StreamName {
    StreamName::new("policies").expect("a valid stream name")
}

/// The stream of digests of scan records.
///
/// # Panics
/// Never: the name is valid.
#[must_use]
pub fn scan_batches_stream() -> StreamName {
    StreamName::new("scan-batches").expect("a valid stream name")
}

/// The stream of digests of the stream of queries.
///
/// # Panics
/// Never: the name is valid.
#[must_use]
pub fn query_digests_stream() -> StreamName {
    StreamName::new("query-digests").expect("a valid stream name")
}

const HOLDER_PREFIX: &str = "holder-";

/// The stream of a holder: `holder-` and 32 hex digits.
#[must_use]
pub fn holder_stream(holder: HolderId) -> StreamName {
    StreamName::new(&format!("{HOLDER_PREFIX}{holder}")).expect("39 bytes of the alphabet")
}

/// The holder of a stream; `None` for system streams.
#[must_use]
pub fn holder_of(stream: &StreamName) -> Option<HolderId> {
    stream.as_str().strip_prefix(HOLDER_PREFIX).and_then(HolderId::from_hex)
}

/// The stream of index leases of a partition: `lease-` and the partition in decimal.
#[must_use]
pub fn lease_stream(partition: Partition) -> StreamName {
    StreamName::new(&format!("lease-{:02}", partition.0)).expect("at most 11 bytes of the alphabet")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holders_stream_name_round_trips_and_other_names_have_no_holder() {
        let holder = HolderId([0xAB; 16]);
        assert_eq!(holder_of(&holder_stream(holder)), Some(holder));
        assert_eq!(holder_of(&lease_stream(Partition(3))), None);
        assert_eq!(lease_stream(Partition(3)).as_str(), "lease-03");
        assert_eq!(holder_of(&StreamName::new("holder-12").expect("a name")), None);
    }
}
