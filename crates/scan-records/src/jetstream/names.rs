//! Names of streams and subjects, and the bucket of a scan.

use citycode_jetstream::api;

/// The stream of the days' keys.
pub(crate) const KEYS: &str = "CC_SCAN_KEYS";
pub(crate) const ALL_KEYS: &str = "cc.scankey.v1.*";
const SCANS: &str = "CC_SCANS_";
const REGISTERED: &str = "CC_REGISTERED_";

pub(crate) fn key_subject(day: u32) -> String {
    format!("cc.scankey.v1.{day}")
}

pub(crate) fn day_of_key(subject: &str) -> Option<u32> {
    subject.strip_prefix("cc.scankey.v1.")?.parse().ok()
}

/// The stream of a day's ordinary scans.
pub(crate) fn scans(day: u32) -> String {
    format!("{SCANS}{day}")
}

pub(crate) fn scans_subjects(day: u32) -> String {
    format!("cc.scan.v1.{day}.*")
}

/// Each writer has its own subject.
pub(crate) fn scans_subject(day: u32, writer: &str) -> String {
    format!("cc.scan.v1.{day}.{writer}")
}

/// The stream of a day's registrations.
pub(crate) fn registered(day: u32) -> String {
    format!("{REGISTERED}{day}")
}

pub(crate) fn registered_subjects(day: u32) -> String {
    format!("cc.reg.v1.{day}.*")
}

pub(crate) fn registered_subject(day: u32, bucket: u16) -> String {
    format!("cc.reg.v1.{day}.{bucket:04x}")
}

/// The bucket of a message in the stream of a day's registrations.
pub(crate) fn bucket_of_subject(subject: &str) -> Option<u16> {
    u16::from_str_radix(subject.rsplit('.').next()?, 16).ok()
}

/// The day of a stream, and whether it is one of registrations; `None` for other streams.
pub(crate) fn day_of_stream(stream: &str) -> Option<(u32, bool)> {
    let number = |digits: &str| digits.parse().ok();
    match (stream.strip_prefix(SCANS), stream.strip_prefix(REGISTERED)) {
        (Some(day), _) => Some((number(day)?, false)),
        (_, Some(day)) => Some((number(day)?, true)),
        _ => None,
    }
}

/// The bucket of a scan on each day: (device, scan id) hashed, the same at all verifiers.
pub(crate) fn bucket_of(identity: &[u8], buckets: u32) -> u16 {
    let mut hasher = blake3::Hasher::new_derive_key("citycode scan bucket v1");
    hasher.update(identity);
    let hash = hasher.finalize();
    let number = u32::from_be_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"));
    (number & (buckets - 1)) as u16
}

/// The identity of a scan: device and scan id, unambiguously encoded.
pub(crate) fn identity_of(device: &str, scan_id: &str) -> Vec<u8> {
    let mut bytes = b"citycode scan v1 ".to_vec();
    bytes.extend_from_slice(&(device.len() as u64).to_be_bytes());
    bytes.extend_from_slice(device.as_bytes());
    bytes.extend_from_slice(scan_id.as_bytes());
    bytes
}

/// Whether the error says that the stream does not exist.
pub(crate) fn is_absent(error: &api::ApiError) -> bool {
    error.has_code(api::code::STREAM_NOT_FOUND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_streams_and_subjects_read_back() {
        assert_eq!(day_of_stream(&scans(20_417)), Some((20_417, false)));
        assert_eq!(day_of_stream(&registered(20_417)), Some((20_417, true)));
        assert_eq!(day_of_stream(KEYS), None);
        assert_eq!(day_of_stream("CC_EV_00"), None);
        assert_eq!(day_of_key(&key_subject(20_417)), Some(20_417));
        assert_eq!(bucket_of_subject(&registered_subject(20_417, 0xabc)), Some(0xabc));
    }

    #[test]
    fn device_and_scan_id_are_unambiguous_and_fill_the_buckets() {
        assert_ne!(identity_of("ab", "c"), identity_of("a", "bc"));
        let used: std::collections::BTreeSet<u16> = (0..200)
            .map(|scan| bucket_of(&identity_of("desk-1", &scan.to_string()), 16))
            .collect();
        assert_eq!(used, (0..16).collect());
    }
}
