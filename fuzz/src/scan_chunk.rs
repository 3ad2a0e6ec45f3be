//! Chunks of scan records: any bytes are the records of a day or an error. A chunk is read by an audit after its seal was
//! opened, and its writer may be a verifier that was taken over.

use citycode_scan_records::{DAY_SECONDS, day_of, read_chunk, write_chunk};

/// Parses any bytes as a chunk; the first two are the day.
///
/// # Panics
/// If a record is not of the day, or if records that were parsed are not the same after they were encoded again.
pub fn run(input: &[u8]) {
    let Some((day, chunk)) = input.split_first_chunk() else {
        return;
    };
    let day = u32::from(u16::from_be_bytes(*day));
    let Ok(records) = read_chunk(day, chunk) else {
        return;
    };
    assert!(records.len() <= chunk.len(), "a record without bytes");
    for record in &records {
        assert_eq!(day_of(record.scan.at), Ok(day), "a record of another day");
        assert!(record.scan.at >= i64::from(day) * DAY_SECONDS);
    }
    let encoded = write_chunk(&records);
    assert_eq!(read_chunk(day, &encoded).as_deref(), Ok(&records[..]), "other records");
    assert_eq!(write_chunk(&records), encoded, "another encoding of the same records");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_chunks_of_both_versions() {
        for (name, count) in [("version_1", 2), ("version_2", 3)] {
            let path = format!("{}/seeds/scan_chunk/{name}", env!("CARGO_MANIFEST_DIR"));
            let seed = std::fs::read(path).expect("a seed");
            assert_eq!(
                read_chunk(20_000, &seed[2..]).map(|records| records.len()),
                Ok(count),
                "{name}"
            );
        }
    }
}
