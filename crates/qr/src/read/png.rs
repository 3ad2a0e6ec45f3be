//! Decoding PNG to grey, row by row: palettes, 16 bits, alpha, interlacing; of an animation, the default image.

use png::{BitDepth, ColorType, DecodingError, Transformations};

use super::grey::{GreyImage, luma};
use super::{ReadImageError, check_size};

/// Memory limit of the decoder's own buffers and chunks; rows of 40 megapixels in one line fit.
const DECODER_BYTES: usize = 400 << 20;
/// Rows between two checks of the time limit.
const ROWS_PER_LOOK: u32 = 32;

pub(super) fn decode(bytes: &[u8], out_of_time: &dyn Fn() -> bool) -> Result<GreyImage, ReadImageError> {
    let mut decoder = png::Decoder::new_with_limits(std::io::Cursor::new(bytes), png::Limits { bytes: DECODER_BYTES });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let header = decoder.read_header_info().map_err(refuse)?;
    let (width, height) = (header.width, header.height);
    check_size(u64::from(width), u64::from(height))?;
    let mut reader = decoder.read_info().map_err(refuse)?;
    let (color, depth) = reader.output_color_type();
    if depth != BitDepth::Eight {
        return Err(ReadImageError::UnsupportedFormat);
    }
    let mut image = GreyImage::white(width as usize, height as usize);
    let mut row_of_grey = Vec::with_capacity(width as usize);
    let mut rows = 0_u32;
    while let Some(row) = reader.next_interlaced_row().map_err(refuse)? {
        rows = rows.wrapping_add(1);
        if rows.is_multiple_of(ROWS_PER_LOOK) && out_of_time() {
            return Err(ReadImageError::TimedOut);
        }
        to_grey(row.data(), color, &mut row_of_grey);
        match row.interlace() {
            png::InterlaceInfo::Null(_) => {
                let start = (rows - 1) as usize * width as usize;
                image.pixels[start..][..width as usize].copy_from_slice(&row_of_grey[..width as usize]);
            }
            png::InterlaceInfo::Adam7(pass) => {
                png::expand_interlaced_row(&mut image.pixels, width as usize, &row_of_grey, pass, 8);
            }
        }
    }
    Ok(image)
}

/// The grey values of a row's pixels, with transparent ones over white.
fn to_grey(row: &[u8], color: ColorType, grey: &mut Vec<u8>) {
    grey.clear();
    match color {
        ColorType::Grayscale | ColorType::Indexed => grey.extend_from_slice(row),
        ColorType::GrayscaleAlpha => {
            grey.extend(row.as_chunks().0.iter().map(|&[value, alpha]| over_white(value, alpha)));
        }
        ColorType::Rgb => grey.extend(row.as_chunks().0.iter().map(|&[r, g, b]| luma(r, g, b))),
        ColorType::Rgba => {
            grey.extend(
                row.as_chunks()
                    .0
                    .iter()
                    .map(|&[r, g, b, alpha]| over_white(luma(r, g, b), alpha)),
            );
        }
    }
}

fn over_white(value: u8, alpha: u8) -> u8 {
    let (value, alpha) = (u16::from(value), u16::from(alpha));
    u8::try_from((value * alpha + 255 * (255 - alpha)) / 255).expect("a mean of two bytes is a byte")
}

fn refuse(error: DecodingError) -> ReadImageError {
    match error {
        DecodingError::LimitsExceeded => ReadImageError::TooLarge,
        DecodingError::IoError(_) | DecodingError::Format(_) | DecodingError::Parameter(_) => {
            ReadImageError::NotAnImage
        }
    }
}
