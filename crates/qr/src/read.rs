//! Reading a symbol from a photograph or a screenshot.
//!
//! The image comes from a stranger. Its size is read from the header before anything is decoded, rows are
//! decoded into one grey plane (never into colours of the whole image), the clock is asked between steps,
//! and a panic of a decoding library ends in an error of this function, not in the end of the process.
//!
//! An image is looked at in several ways, cheapest first: at a middle size, larger, smaller, sharpened,
//! smoothed, inverted. What two different symbols say is never chosen between: [`SeveralSymbols`].
//!
//! [`SeveralSymbols`]: ReadImageError::SeveralSymbols

mod binarise;
mod finder;
mod grey;
mod jpeg;
mod looks;
mod png;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use grey::GreyImage;

/// Pixels that an image may have: more than any phone's camera gives by default.
pub const MAX_PIXELS: u64 = 40_000_000;
/// Bytes that a file may have; a camera's JPEG of 40 megapixels has about 20 MB.
pub const MAX_BYTES: usize = 64 << 20;
/// Time after which no further step begins. Callers are promised 2 s; the longest step takes the rest.
pub const TIME_LIMIT: Duration = Duration::from_millis(1_750);

/// Why no text was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadImageError {
    /// The bytes are no image, or a damaged one.
    #[error("this is not an image, or it is damaged")]
    NotAnImage,
    /// An image, but neither PNG nor JPEG, or of a rare kind of these.
    #[error("only PNG and JPEG images are read")]
    UnsupportedFormat,
    /// More than [`MAX_PIXELS`] or [`MAX_BYTES`].
    #[error("the image is larger than 40 megapixels or 64 MB")]
    TooLarge,
    /// No QR symbol was found that can be read.
    #[error("no readable QR code was found in the image")]
    NoSymbol,
    /// Symbols with different texts: which one is meant is not for us to guess.
    #[error("the image shows several different QR codes; show one only")]
    SeveralSymbols,
    /// The time was over before all ways of looking were tried.
    #[error("reading the image took too long; send a smaller or clearer one")]
    TimedOut,
    /// A symbol was read, but its content is not text.
    #[error("the QR code in the image does not hold text")]
    NotText,
}

/// Reads the one symbol in a PNG or JPEG file within [`TIME_LIMIT`].
///
/// Blocks and computes for up to that time: call it where blocking is allowed, and bound how many run at
/// once (each may hold three times the image's pixels in bytes).
///
/// # Errors
/// [`ReadImageError`].
#[expect(
    clippy::disallowed_methods,
    reason = "a stopwatch for a limit on computing, not a time that any decision rests on; callers with a clock of their own use read_image_within"
)]
pub fn read_image(bytes: &[u8]) -> Result<String, ReadImageError> {
    let start = Instant::now();
    read_image_within(bytes, &|| start.elapsed() > TIME_LIMIT)
}

/// As [`read_image`], with the caller's own clock: `out_of_time` is asked between steps and inside long ones.
///
/// # Errors
/// [`ReadImageError`].
pub fn read_image_within(bytes: &[u8], out_of_time: &dyn Fn() -> bool) -> Result<String, ReadImageError> {
    // Nothing that outlives the call is touched inside, so no half-changed state can be seen after a panic.
    let image =
        catch_unwind(AssertUnwindSafe(|| decode(bytes, out_of_time))).unwrap_or(Err(ReadImageError::NotAnImage))?;
    looks::read(&image, out_of_time)
}

fn decode(bytes: &[u8], out_of_time: &dyn Fn() -> bool) -> Result<GreyImage, ReadImageError> {
    if bytes.len() > MAX_BYTES {
        return Err(ReadImageError::TooLarge);
    }
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return png::decode(bytes, out_of_time);
    }
    if bytes.starts_with(b"\xff\xd8\xff") {
        return jpeg::decode(bytes, out_of_time);
    }
    let known_others: [&[u8]; 7] = [b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*", b"<svg", b"%PDF"];
    let is_heif = bytes.get(4..8) == Some(b"ftyp");
    if is_heif || known_others.iter().any(|magic| bytes.starts_with(magic)) {
        return Err(ReadImageError::UnsupportedFormat);
    }
    Err(ReadImageError::NotAnImage)
}

/// Refuses sizes of nothing and of too much.
fn check_size(width: u64, height: u64) -> Result<(), ReadImageError> {
    match width.checked_mul(height) {
        Some(0) => Err(ReadImageError::NotAnImage),
        Some(1..=MAX_PIXELS) => Ok(()),
        _ => Err(ReadImageError::TooLarge),
    }
}
