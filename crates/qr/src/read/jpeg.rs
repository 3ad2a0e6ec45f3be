//! Decoding JPEG to grey; only the luma plane is needed.

use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};

use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use super::grey::{GreyImage, luma};
use super::{ReadImageError, check_size};

/// Limit of pixels over all scans of a progressive image: each scan processes the whole image, however few
/// bytes it has. Cameras write 10 scans; 12 of 40 megapixels still decode within the time limit.
const MAX_SCANNED_PIXELS: u64 = 12 * super::MAX_PIXELS;
/// Limit of scans, also for small images.
const MAX_SCANS: u64 = 64;
/// Maximum side; the format's own limit.
const MAX_SIDE: usize = 65_535;

pub(super) fn decode(bytes: &[u8], out_of_time: &dyn Fn() -> bool) -> Result<GreyImage, ReadImageError> {
    let options = DecoderOptions::default()
        .set_max_width(MAX_SIDE)
        .set_max_height(MAX_SIDE)
        .set_strict_mode(false);
    let mut headers = JpegDecoder::new_with_options(Cursor::new(bytes), options);
    headers.decode_headers().map_err(|error| refuse(&error))?;
    let (width, height) = headers.dimensions().ok_or(ReadImageError::NotAnImage)?;
    check_size(width as u64, height as u64)?;
    let wanted = match headers.input_colorspace() {
        Some(ColorSpace::Luma | ColorSpace::YCbCr) => ColorSpace::Luma,
        Some(_) => ColorSpace::RGB,
        None => return Err(ReadImageError::NotAnImage),
    };
    let scans = (MAX_SCANNED_PIXELS / (width as u64 * height as u64)).clamp(1, MAX_SCANS);
    let scans = usize::try_from(scans).expect("at most 64");
    let options = options.jpeg_set_max_scans(scans).jpeg_set_out_colorspace(wanted);
    let source = UntilOutOfTime {
        bytes: Cursor::new(bytes),
        out_of_time,
    };
    let decoded = JpegDecoder::new_with_options(source, options).decode();
    if out_of_time() {
        return Err(ReadImageError::TimedOut);
    }
    let decoded = decoded.map_err(|error| refuse(&error))?;
    let pixels = match wanted {
        ColorSpace::Luma => decoded,
        _ => decoded.as_chunks().0.iter().map(|&[r, g, b]| luma(r, g, b)).collect(),
    };
    GreyImage::from_pixels(width, height, pixels).ok_or(ReadImageError::NotAnImage)
}

fn refuse(error: &DecodeErrors) -> ReadImageError {
    match error {
        DecodeErrors::Unsupported(_) => ReadImageError::UnsupportedFormat,
        DecodeErrors::LargeDimensions(_) => ReadImageError::TooLarge,
        _ => ReadImageError::NotAnImage,
    }
}

/// The file's bytes, which end when the time limit passes.
struct UntilOutOfTime<'a> {
    bytes: Cursor<&'a [u8]>,
    out_of_time: &'a dyn Fn() -> bool,
}

impl UntilOutOfTime<'_> {
    fn check(&self) -> io::Result<()> {
        if (self.out_of_time)() {
            Err(io::Error::from(io::ErrorKind::TimedOut))
        } else {
            Ok(())
        }
    }
}

impl Read for UntilOutOfTime<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.bytes.read(into)
    }
}

impl BufRead for UntilOutOfTime<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.bytes.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.bytes.consume(amount);
    }
}

impl Seek for UntilOutOfTime<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.bytes.seek(to)
    }
}
