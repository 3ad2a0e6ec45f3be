//! A picture from a stranger: an answer for any bytes, soon after the clock says that the time is over, and none for
//! a picture over the limit.

use std::cell::Cell;

use citycode_qr::read::MAX_PIXELS;
use citycode_qr::{ReadImageError, read_image_within};

/// Questions to the clock before the time is over. A small symbol is read within the first hundred; more would be
/// looks at pictures that show nothing, which are slow and teach the fuzzer little.
const ASKED_IN_TIME: usize = 400;
/// Questions that may follow: every loop on the way out asks once more, none goes on. Not held for JPEG, whose
/// decoder takes an early end for a damaged file and fills the rest, asking for each block: there the pixels of
/// the picture are the bound, and libFuzzer's own limit on the time of one input is what watches it.
const ASKED_LATE: usize = 24;

/// Reads any bytes as a picture, with a clock that counts, so that the same bytes give the same answer.
///
/// A decoding library may panic, as long as its room turns that into an error: the binary of this target takes off
/// libFuzzer's hook, which would end the process before that.
///
/// # Panics
/// When the reading goes on after its time, a text comes although there was no time at all, or from too many pixels.
pub fn run(input: &[u8]) {
    let asked = Cell::new(0_usize);
    let clock = || {
        asked.set(asked.get() + 1);
        asked.get() > ASKED_IN_TIME
    };
    let answer = read_image_within(input, &clock);
    let is_jpeg = input.starts_with(b"\xff\xd8\xff");
    assert!(
        is_jpeg || asked.get() <= ASKED_IN_TIME + ASKED_LATE,
        "went on after its time"
    );
    assert!(
        read_image_within(input, &|| true).is_err(),
        "a text without any time to read it"
    );
    if png_pixels(input).is_some_and(|pixels| pixels == 0 || pixels > MAX_PIXELS) {
        assert!(
            matches!(answer, Err(ReadImageError::TooLarge | ReadImageError::NotAnImage)),
            "a picture over the limit"
        );
    }
}

/// The number of pixels that a PNG's first chunk announces (W3C PNG §11.2.1).
fn png_pixels(bytes: &[u8]) -> Option<u64> {
    let rest = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR")?;
    let (width, rest) = rest.split_first_chunk()?;
    let (height, _) = rest.split_first_chunk()?;
    Some(u64::from(u32::from_be_bytes(*width)) * u64::from(u32::from_be_bytes(*height)))
}
