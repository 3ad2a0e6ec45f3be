//! Reading a symbol from a photograph or a screenshot.
//!
//! The image is untrusted. Its size is read from the header before anything is decoded; rows are decoded into
//! one grey plane, never into colours of the whole image; the time limit is checked between steps; and a panic
//! of a decoding library becomes an error of this function and does not end the process.
//!
//! An image is tried in several variants, cheapest first: at a medium size, larger, smaller, sharpened,
//! smoothed, inverted. If it contains two different symbols, none is chosen: [`SeveralSymbols`].
//!
//! [`SeveralSymbols`]: ReadImageError::SeveralSymbols

mod binarise;
mod finder;
mod grey;
mod jpeg;
mod png;
mod variants;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use grey::GreyImage;

/// Limit of pixels of an image: more than phones' cameras produce by default.
pub const MAX_PIXELS: u64 = 40_000_000;
/// Limit of bytes of a file; a camera's JPEG of 40 megapixels has about 20 MB.
pub const MAX_BYTES: usize = 64 << 20;
/// Time after which no further step starts. Callers are promised 2 s, and the longest step takes the rest.
pub const TIME_LIMIT: Duration = Duration::from_millis(1_750);

/// Why no text was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadImageError {
    /// The bytes are not an image, or a damaged one.
    #[error("this is not an image, or it is damaged")]
    NotAnImage,
    /// An image, but neither PNG nor JPEG, or a rare variant of these.
    #[error("only PNG and JPEG images are read")]
    UnsupportedFormat,
    /// More than [`MAX_PIXELS`] or [`MAX_BYTES`].
    #[error("the image is larger than 40 megapixels or 64 MB")]
    TooLarge,
    /// No readable QR symbol was found.
    #[error("no readable QR code was found in the image")]
    NoSymbol,
    /// The image contains symbols with different texts, and the program cannot know which one is meant.
    #[error("the image shows several different QR codes; show one only")]
    SeveralSymbols,
    /// The time limit passed before all variants were tried.
    #[error("reading the image took too long; send a smaller or clearer one")]
    TimedOut,
    /// A symbol was read, but its content is not text.
    #[error("the QR code in the image does not contain text")]
    NotText,
}

/// Reads the one symbol in a PNG or JPEG file within [`TIME_LIMIT`].
///
/// It computes and blocks for up to that time: call it where blocking is allowed, and limit the number of
/// concurrent calls (each may need three times the image's pixels in bytes).
///
/// # Errors
/// [`ReadImageError`].
#[expect(
    clippy::disallowed_methods,
    reason = "a stopwatch that limits computing time, not a time used in any decision; callers with a clock of their own use read_image_within"
)]
pub fn read_image(bytes: &[u8]) -> Result<String, ReadImageError> {
    let start = Instant::now();
    read_image_within(bytes, &|| start.elapsed() > TIME_LIMIT)
}

/// Like [`read_image`], with the caller's clock: `out_of_time` is called between steps and inside long ones.
///
/// # Errors
/// [`ReadImageError`].
pub fn read_image_within(bytes: &[u8], out_of_time: &dyn Fn() -> bool) -> Result<String, ReadImageError> {
    // The closure changes nothing that outlives the call, so no inconsistent state is visible after a panic.
    let image =
        catch_unwind(AssertUnwindSafe(|| decode(bytes, out_of_time))).unwrap_or(Err(ReadImageError::NotAnImage))?;
    variants::read(&image, out_of_time)
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

/// Refuses empty and too large sizes.
fn check_size(width: u64, height: u64) -> Result<(), ReadImageError> {
    match width.checked_mul(height) {
        Some(0) => Err(ReadImageError::NotAnImage),
        Some(1..=MAX_PIXELS) => Ok(()),
        _ => Err(ReadImageError::TooLarge),
    }
}
