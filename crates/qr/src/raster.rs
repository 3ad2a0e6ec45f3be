//! A symbol as PNG: exact modules with one bit per pixel, or eight if a caption needs soft edges.
//!
//! It is always dark on white, even on a dark page, because many readers do not look for inverted symbols.

use crate::symbol::Symbol;
use crate::typeset::{Caption, SetCaption};

const WHITE: u8 = 255;

/// Why a picture could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the PNG could not be encoded")]
pub struct RasterError(#[from] png::EncodingError);

impl Symbol {
    /// The symbol as a PNG file, with a caption below it if one is given.
    ///
    /// The same symbol and caption give the same bytes.
    ///
    /// # Errors
    /// [`RasterError`] if the encoder fails, which happens only when memory is short.
    pub fn to_png(&self, caption: Option<&Caption<'_>>) -> Result<Vec<u8>, RasterError> {
        match caption {
            None => encode(
                self.width_px(),
                self.width_px(),
                png::BitDepth::One,
                &self.packed_rows(),
            ),
            Some(caption) => {
                let set = SetCaption::under(self.width_px(), caption);
                let mut pixels = self.grey_pixels();
                pixels.extend(set.coverage().into_iter().map(|ink| WHITE - ink));
                encode(
                    self.width_px(),
                    self.width_px() + set.height_px,
                    png::BitDepth::Eight,
                    &pixels,
                )
            }
        }
    }

    /// Rows with one bit per pixel, white is 1, each row padded to whole bytes.
    fn packed_rows(&self) -> Vec<u8> {
        let row_bytes = (self.width_px() as usize).div_ceil(8);
        let mut rows = Vec::with_capacity(row_bytes * self.width_px() as usize);
        for row in 0..self.size_with_margin() {
            let mut packed = vec![0_u8; row_bytes];
            for x in 0..self.width_px() {
                if !self.is_dark_with_margin(x / self.module_px(), row) {
                    packed[(x / 8) as usize] |= 0x80 >> (x % 8);
                }
            }
            for _ in 0..self.module_px() {
                rows.extend_from_slice(&packed);
            }
        }
        rows
    }

    fn grey_pixels(&self) -> Vec<u8> {
        let width = self.width_px();
        let mut pixels = Vec::with_capacity((width * width) as usize);
        for y in 0..width {
            for x in 0..width {
                let dark = self.is_dark_with_margin(x / self.module_px(), y / self.module_px());
                pixels.push(if dark { 0 } else { WHITE });
            }
        }
        pixels
    }

    fn is_dark_with_margin(&self, column: u32, row: u32) -> bool {
        match (
            column.checked_sub(self.quiet_zone()),
            row.checked_sub(self.quiet_zone()),
        ) {
            (Some(column), Some(row)) => self.is_dark(column, row),
            _ => false,
        }
    }
}

fn encode(width: u32, height: u32, depth: png::BitDepth, pixels: &[u8]) -> Result<Vec<u8>, RasterError> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(depth);
    encoder.set_compression(png::Compression::High);
    // Rows repeat, which deflate handles well; a filter would only interfere.
    encoder.set_filter(png::Filter::NoFilter);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(file)
}
