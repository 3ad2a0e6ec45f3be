//! A plane of grey pixels, and the transformations that help reading.

/// Grey pixels, row by row from the top; 0 is black.
#[derive(Clone)]
pub(super) struct GreyImage {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<u8>,
}

/// Brightness of a colour (ITU-R BT.601, in 1/256).
pub(super) fn luma(r: u8, g: u8, b: u8) -> u8 {
    let sum = 77 * u32::from(r) + 150 * u32::from(g) + 29 * u32::from(b);
    u8::try_from(sum >> 8).expect("the weights add up to 256")
}

impl GreyImage {
    pub(super) fn white(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            pixels: vec![255; width * height],
        }
    }

    /// `None` if the number of pixels does not match the size.
    pub(super) fn from_pixels(width: usize, height: usize, pixels: Vec<u8>) -> Option<Self> {
        (width.checked_mul(height) == Some(pixels.len())).then_some(Self { width, height, pixels })
    }

    pub(super) fn long_side(&self) -> usize {
        self.width.max(self.height)
    }

    /// The image scaled to a long side of `side`: area means when smaller, interpolation when larger.
    pub(super) fn scaled_to(&self, side: usize) -> Self {
        let scale = |length: usize| (length * side).div_ceil(self.long_side()).max(1);
        let (width, height) = (scale(self.width), scale(self.height));
        if width > self.width || height > self.height {
            self.enlarged(width, height)
        } else {
            self.reduced(width, height)
        }
    }

    fn reduced(&self, width: usize, height: usize) -> Self {
        let mut pixels = Vec::with_capacity(width * height);
        let mut sums = vec![0_u32; width];
        for y in 0..height {
            let rows = y * self.height / height..((y + 1) * self.height).div_ceil(height);
            let row_count = rows.len();
            sums.fill(0);
            for row in rows {
                let row = &self.pixels[row * self.width..][..self.width];
                for (x, sum) in sums.iter_mut().enumerate() {
                    let columns = x * self.width / width..((x + 1) * self.width).div_ceil(width);
                    let count = columns.len() as u32;
                    *sum += row[columns].iter().map(|p| u32::from(*p)).sum::<u32>() / count;
                }
            }
            pixels.extend(sums.iter().map(|sum| (sum / row_count as u32) as u8));
        }
        Self { width, height, pixels }
    }

    fn enlarged(&self, width: usize, height: usize) -> Self {
        // Positions in 1/256 of a source pixel.
        let place = |at: usize, of: usize, source: usize| {
            let fixed = ((2 * at + 1) * source * 128 / of)
                .saturating_sub(128)
                .min((source - 1) * 256);
            (fixed / 256, (fixed % 256) as u32)
        };
        let columns: Vec<_> = (0..width).map(|x| place(x, width, self.width)).collect();
        let mut pixels = Vec::with_capacity(width * height);
        for y in 0..height {
            let (row, down) = place(y, height, self.height);
            let upper = &self.pixels[row * self.width..][..self.width];
            let lower = &self.pixels[(row + 1).min(self.height - 1) * self.width..][..self.width];
            pixels.extend(columns.iter().map(|&(column, right)| {
                let next = (column + 1).min(self.width - 1);
                let mix = |a: u8, b: u8, part: u32| u32::from(a) * (256 - part) + u32::from(b) * part;
                let (top, bottom) = (
                    mix(upper[column], upper[next], right),
                    mix(lower[column], lower[next], right),
                );
                ((top * (256 - down) + bottom * down) >> 16) as u8
            }));
        }
        Self { width, height, pixels }
    }

    /// Inverts light and dark.
    pub(super) fn inverted(&self) -> Self {
        Self {
            pixels: self.pixels.iter().map(|p| 255 - p).collect(),
            ..*self
        }
    }

    /// Adds a light margin, for a picture that is cut to the symbol's edge.
    pub(super) fn with_margin(&self, margin: usize) -> Self {
        let mut image = Self::white(self.width + 2 * margin, self.height + 2 * margin);
        for (y, row) in self.pixels.chunks_exact(self.width).enumerate() {
            image.pixels[(y + margin) * image.width + margin..][..self.width].copy_from_slice(row);
        }
        image
    }

    /// Means of squares of `2 × radius + 1` pixels per side.
    pub(super) fn smoothed(&self, radius: usize) -> Self {
        let sums = Sums::of(self);
        let mut pixels = Vec::with_capacity(self.pixels.len());
        for y in 0..self.height {
            pixels.extend((0..self.width).map(|x| sums.mean_around(x, y, radius) as u8));
        }
        Self { pixels, ..*self }
    }

    /// Doubles the difference from the environment, which reverses some blur.
    pub(super) fn sharpened(&self, radius: usize) -> Self {
        let smooth = self.smoothed(radius);
        let sharpen = |(p, mean): (&u8, &u8)| (3 * i32::from(*p) - 2 * i32::from(*mean)).clamp(0, 255) as u8;
        Self {
            pixels: self.pixels.iter().zip(&smooth.pixels).map(sharpen).collect(),
            ..*self
        }
    }
}

/// Sums over rectangles from the top left corner (an integral image).
pub(super) struct Sums {
    width: usize,
    height: usize,
    sums: Vec<u32>,
}

impl Sums {
    /// For images up to 16 million pixels, so that sums fit 32 bits; larger ones are reduced before.
    pub(super) fn of(image: &GreyImage) -> Self {
        let stride = image.width + 1;
        let mut sums = vec![0_u32; stride * (image.height + 1)];
        for (y, row) in image.pixels.chunks_exact(image.width).enumerate() {
            let mut sum = 0_u32;
            for (x, p) in row.iter().enumerate() {
                // Wrapping keeps differences correct, and only differences of small windows are used.
                sum = sum.wrapping_add(u32::from(*p));
                sums[(y + 1) * stride + x + 1] = sums[y * stride + x + 1].wrapping_add(sum);
            }
        }
        Self {
            width: image.width,
            height: image.height,
            sums,
        }
    }

    /// Mean of the pixels at most `radius` away in both directions, within the image.
    pub(super) fn mean_around(&self, x: usize, y: usize, radius: usize) -> u32 {
        let (left, top) = (x.saturating_sub(radius), y.saturating_sub(radius));
        let (right, bottom) = ((x + radius + 1).min(self.width), (y + radius + 1).min(self.height));
        let at = |x: usize, y: usize| self.sums[y * (self.width + 1) + x];
        let sum = at(right, bottom)
            .wrapping_sub(at(left, bottom))
            .wrapping_sub(at(right, top))
            .wrapping_add(at(left, top));
        sum / ((right - left) * (bottom - top)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_keeps_means_and_sizes() {
        let mut image = GreyImage::white(40, 20);
        image.pixels[..400].fill(0);
        let small = image.scaled_to(10);
        assert_eq!((small.width, small.height), (10, 5));
        assert_eq!(small.pixels[0], 0);
        assert_eq!(small.pixels[49], 255);
        let large = image.scaled_to(80);
        assert_eq!((large.width, large.height), (80, 40));
        assert_eq!((large.pixels[0], large.pixels[80 * 40 - 1]), (0, 255));
        assert_eq!(GreyImage::white(5000, 1).scaled_to(100).height, 1);
    }

    #[test]
    fn means_are_those_of_the_window() {
        let image = GreyImage::from_pixels(3, 1, vec![0, 30, 90]).unwrap();
        let sums = Sums::of(&image);
        assert_eq!(sums.mean_around(1, 0, 1), 40);
        assert_eq!(sums.mean_around(0, 0, 1), 15);
        assert_eq!(sums.mean_around(2, 0, 9), 40);
    }
}
