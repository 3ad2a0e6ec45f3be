//! Chunks of scan records: a stored chunk is read in bounded memory or refused, and what is read can be written again.

use citycode_scan_records::{read_chunk, write_chunk};

/// The day of the chunk.
const DAY: u32 = 19_235;

/// Reads any bytes as a chunk.
///
/// # Panics
/// If records are read that are others after they were written, or if there are more of them than bytes.
pub fn run(input: &[u8]) {
    let Ok(records) = read_chunk(DAY, input) else {
        return;
    };
    assert!(records.len() <= input.len(), "every record has bytes");
    let written = write_chunk(&records);
    let again = read_chunk(DAY, &written).expect("what was written is read");
    assert!(again == records, "{records:?} became {again:?}");
}
