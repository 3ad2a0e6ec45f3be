//! A simulated camera: turns a drawn symbol into a photograph of it, deterministically for each seed.

use citycode_qr::{ReadImageError, Symbol, SymbolOptions, draw, read_image_within};

/// A small deterministic generator (SplitMix64), for tests only.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From -1 to 1.
    pub(crate) fn swing(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }
}

pub(crate) fn token(seed: u64, length: usize) -> String {
    let mut rng = Rng(seed);
    let bytes: Vec<u8> = (0..length).map(|_| rng.next() as u8).collect();
    format!("CC1:{}", base45::encode(&bytes))
}

pub(crate) fn symbol(seed: u64) -> (String, Symbol) {
    let text = token(seed, 144);
    let symbol = draw(&text, &SymbolOptions::PAPER).unwrap();
    (text, symbol)
}

/// The distortions between paper and file.
#[derive(Clone, Copy)]
pub(crate) struct Shot {
    /// Side of the square photograph in pixels.
    pub(crate) side: usize,
    /// Fraction of it that the symbol's side takes.
    pub(crate) fills: f32,
    pub(crate) turn_degrees: f32,
    /// Shortening of the far edge; 0 for none.
    pub(crate) tilt: f32,
    /// Standard deviation of the blur, in pixels.
    pub(crate) blur: f32,
    /// Half range of noise, in grey values.
    pub(crate) noise: f32,
    /// Brightness of black and white.
    pub(crate) dark: f32,
    pub(crate) light: f32,
    /// Loss of light from left to right; 0 for none.
    pub(crate) shade: f32,
    /// A round glare that overexposes part of the symbol.
    pub(crate) glare: f32,
}

impl Shot {
    pub(crate) const PLAIN: Self = Self {
        side: 900,
        fills: 0.6,
        turn_degrees: 0.0,
        tilt: 0.0,
        blur: 0.6,
        noise: 6.0,
        dark: 40.0,
        light: 215.0,
        shade: 0.0,
        glare: 0.0,
    };
}

/// The grey photograph, side × side.
pub(crate) fn photograph(symbol: &Symbol, shot: &Shot, rng: &mut Rng) -> Vec<u8> {
    let side = shot.side;
    let (sin, cos) = shot.turn_degrees.to_radians().sin_cos();
    let (dx, dy) = (rng.swing() * 0.05, rng.swing() * 0.05);
    let modules = symbol.size_with_margin() as f32;
    let mut light = vec![0.0_f32; side * side];
    for (at, value) in light.iter_mut().enumerate() {
        let mut sum = 0.0;
        // Four samples per pixel soften edges as a sensor does.
        for (sx, sy) in [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)] {
            let x = ((at % side) as f32 + sx) / side as f32 - 0.5 - dx;
            let y = ((at / side) as f32 + sy) / side as f32 - 0.5 - dy;
            let depth = 1.0 + shot.tilt * (y + 0.3 * x);
            let (x, y) = (x / depth / shot.fills, y / depth / shot.fills);
            let (u, v) = (x * cos - y * sin + 0.5, x * sin + y * cos + 0.5);
            sum += if !(0.0..1.0).contains(&u) || !(0.0..1.0).contains(&v) {
                // The table below the paper.
                0.45 + 0.1 * ((u * 23.0).sin() * (v * 17.0).cos())
            } else {
                let zone = symbol.quiet_zone() as f32;
                let (column, row) = (u * modules - zone, v * modules - zone);
                let is_dark = column >= 0.0 && row >= 0.0 && symbol.is_dark(column as u32, row as u32);
                if is_dark { 0.0 } else { 1.0 }
            };
        }
        *value = shot.dark + (shot.light - shot.dark) * sum / 4.0;
    }
    blur(&mut light, side, shot.blur);
    let glare = (
        (rng.swing() * 0.2 + 0.5) * side as f32,
        (rng.swing() * 0.2 + 0.5) * side as f32,
    );
    light
        .iter()
        .enumerate()
        .map(|(at, value)| {
            let (x, y) = ((at % side) as f32, (at / side) as f32);
            let shaded = value * (1.0 - shot.shade * x / side as f32);
            let distance = ((x - glare.0).powi(2) + (y - glare.1).powi(2)) / (side as f32 * 0.06).powi(2);
            let burnt = shaded + shot.glare * 255.0 * (-distance).exp();
            (burnt + shot.noise * rng.swing()).clamp(0.0, 255.0) as u8
        })
        .collect()
}

fn blur(light: &mut [f32], side: usize, sigma: f32) {
    let radius = (sigma * 3.0).ceil() as isize;
    let weights: Vec<f32> = (-radius..=radius)
        .map(|d| (-(d * d) as f32 / (2.0 * sigma * sigma)).exp())
        .collect();
    let total: f32 = weights.iter().sum();
    let across = |light: &[f32], step_x: isize, step_y: isize| -> Vec<f32> {
        (0..light.len())
            .map(|at| {
                let (x, y) = ((at % side) as isize, (at / side) as isize);
                let sum: f32 = (-radius..=radius)
                    .zip(&weights)
                    .map(|(d, weight)| {
                        let x = (x + d * step_x).clamp(0, side as isize - 1) as usize;
                        let y = (y + d * step_y).clamp(0, side as isize - 1) as usize;
                        light[y * side + x] * weight
                    })
                    .sum();
                sum / total
            })
            .collect()
    };
    let rows = across(light, 1, 0);
    light.copy_from_slice(&across(&rows, 0, 1));
}

pub(crate) fn as_png(pixels: &[u8], width: usize) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    let (width, height) = (width as u32, (pixels.len() / width) as u32);
    image::write_buffer_with_format(
        &mut file,
        pixels,
        width,
        height,
        image::ColorType::L8,
        image::ImageFormat::Png,
    )
    .unwrap();
    file.into_inner()
}

pub(crate) fn as_jpeg(pixels: &[u8], width: usize, quality: u8) -> Vec<u8> {
    let mut file = Vec::new();
    let rgb: Vec<u8> = pixels.iter().flat_map(|p| [*p; 3]).collect();
    let (width, height) = (width as u32, (pixels.len() / width) as u32);
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, quality)
        .encode(&rgb, width, height, image::ExtendedColorType::Rgb8)
        .unwrap();
    file
}

/// Reads a picture without a time limit: how long a busy machine takes is not what these tests check.
pub(crate) fn read_picture(picture: &[u8]) -> Result<String, ReadImageError> {
    read_image_within(picture, &|| false)
}
