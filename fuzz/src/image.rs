//! An uploaded picture: the reader returns for any bytes, soon after its time limit, and reads no text from a picture
//! that is too large.

use std::cell::Cell;

use citycode_qr::read::MAX_PIXELS;
use citycode_qr::{ReadImageError, read_image_within};

/// The number of times that the reader may ask whether its time is over before the answer is yes. A small symbol is
/// read within the first hundred; a higher number would only be used for pictures without a symbol, which are slow and
/// lead the fuzzer to few new paths.
const ASKED_IN_TIME: usize = 400;
/// The number of times that it may ask afterwards: each of the nested loops asks once more when it ends. This is not
/// checked for JPEG: its decoder treats an early end as a damaged file, fills the rest, and asks for each block. There
/// the number of pixels bounds the work, and libFuzzer's limit on the time of one input detects a violation.
const ASKED_LATE: usize = 24;

/// Reads any bytes as a picture. The clock counts its calls, so that the same bytes give the same result.
///
/// A decoding library may panic, because the reader turns that into an error. libFuzzer's panic hook would end the
/// process before that, so the binary of this target removes it.
///
/// # Panics
/// If the reader continues after its time, or reads a text without any time, or from a picture with too many pixels.
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
        "the reader continued after its time"
    );
    assert!(
        read_image_within(input, &|| true).is_err(),
        "a text was read without any time"
    );
    if png_pixels(input).is_some_and(|pixels| pixels == 0 || pixels > MAX_PIXELS) {
        assert!(
            matches!(answer, Err(ReadImageError::TooLarge | ReadImageError::NotAnImage)),
            "a picture that is too large was read"
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
