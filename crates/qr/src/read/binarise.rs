//! Converting grey to black and white, with a global threshold or a local one.

use rxing::common::BitMatrix;

use super::grey::{GreyImage, Sums};

/// The pixels darker than Otsu's threshold, which separates the histogram best into two parts.
pub(super) fn by_histogram(image: &GreyImage) -> Option<BitMatrix> {
    let mut histogram = [0_u64; 256];
    for p in &image.pixels {
        histogram[usize::from(*p)] += 1;
    }
    let threshold = otsu(&histogram);
    matrix(image, |x, y| image.pixels[y * image.width + x] <= threshold)
}

fn otsu(histogram: &[u64; 256]) -> u8 {
    let total: u64 = histogram.iter().sum();
    let total_sum: f64 = histogram
        .iter()
        .enumerate()
        .map(|(value, count)| value as f64 * *count as f64)
        .sum();
    let (mut best, mut threshold) = (-1.0_f64, 127_u8);
    let (mut below, mut below_sum) = (0_u64, 0.0_f64);
    for (value, count) in (0_u8..=255).zip(histogram) {
        below += count;
        below_sum += f64::from(value) * *count as f64;
        let above = total - below;
        if below == 0 || above == 0 {
            continue;
        }
        let gap = below_sum / below as f64 - (total_sum - below_sum) / above as f64;
        let between = below as f64 * above as f64 * gap * gap;
        if between > best {
            (best, threshold) = (between, value);
        }
    }
    threshold
}

/// The pixels darker than their environment (Bradley and Roth, 2007), which tolerates shadows and glare.
pub(super) fn by_surroundings(image: &GreyImage, radius: usize) -> Option<BitMatrix> {
    /// A pixel must be this many grey values darker than the mean, so that plain paper does not become noise.
    const CONTRAST: u32 = 5;
    let sums = Sums::of(image);
    matrix(image, |x, y| {
        u32::from(image.pixels[y * image.width + x]) + CONTRAST < sums.mean_around(x, y, radius)
    })
}

fn matrix(image: &GreyImage, is_dark: impl Fn(usize, usize) -> bool) -> Option<BitMatrix> {
    let (width, height) = (u32::try_from(image.width).ok()?, u32::try_from(image.height).ok()?);
    let mut matrix = BitMatrix::new(width, height).ok()?;
    for y in 0..height {
        for x in 0..width {
            if is_dark(x as usize, y as usize) {
                matrix.set(x, y);
            }
        }
    }
    Some(matrix)
}
