//! Tests of malicious images: the result is an error or text within the time limit, and the process survives.

use std::cell::Cell;
use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::camera::{as_jpeg, as_png, read_picture, token};
use citycode_qr::{ReadImageError, SymbolOptions, draw, read_image, read_image_within};
use proptest::prelude::*;

/// Wall time allowed here: the time limit, and the duration of one step between two checks on a busy machine.
const PATIENCE: Duration = Duration::from_secs(6);

fn good() -> (String, Vec<u8>) {
    let text = token(5, 120);
    let png = draw(&text, &SymbolOptions::SCREEN).unwrap().to_png(None).unwrap();
    (text, png)
}

fn chunk(file: &mut Vec<u8>, name: &[u8; 4], data: &[u8]) {
    file.extend_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes());
    let start = file.len();
    file.extend_from_slice(name);
    file.extend_from_slice(data);
    let mut crc = flate2::Crc::new();
    crc.update(&file[start..]);
    file.extend_from_slice(&crc.sum().to_be_bytes());
}

/// A PNG with the given size and colour type, and `filler` zero bytes as its compressed data.
fn png_claiming(width: u32, height: u32, depth: u8, color: u8, interlace: u8, filler: usize) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = Vec::new();
    header.extend_from_slice(&width.to_be_bytes());
    header.extend_from_slice(&height.to_be_bytes());
    header.extend_from_slice(&[depth, color, 0, 0, interlace]);
    chunk(&mut file, b"IHDR", &header);
    if color == 3 {
        chunk(&mut file, b"PLTE", &[255, 255, 255, 0, 0, 0]);
    }
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..filler.div_ceil(1 << 16) {
        zlib.write_all(&[0; 1 << 16]).unwrap();
    }
    chunk(&mut file, b"IDAT", &zlib.finish().unwrap());
    chunk(&mut file, b"IEND", &[]);
    file
}

fn timed(bytes: &[u8]) -> Result<String, ReadImageError> {
    let start = Instant::now();
    let read = read_image(bytes);
    assert!(start.elapsed() < PATIENCE, "took {:?}", start.elapsed());
    read
}

#[test]
fn other_bytes_and_other_formats_have_their_own_errors() {
    for bytes in [
        &b""[..],
        b"hello",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0\0\x10JFIF\0",
        b"PK\x03\x04",
    ] {
        assert_eq!(read_picture(bytes), Err(ReadImageError::NotAnImage), "{bytes:?}");
    }
    for bytes in [
        &b"GIF89a\x01\0\x01\0"[..],
        b"BM....",
        b"RIFF....WEBPVP8 ",
        b"<svg xmlns=",
        b"%PDF-1.7",
        b"\0\0\0\x18ftypheic",
    ] {
        assert_eq!(read_picture(bytes), Err(ReadImageError::UnsupportedFormat), "{bytes:?}");
    }
}

#[test]
fn giant_sizes_with_tiny_data_are_refused_from_the_header() {
    for (width, height) in [
        (u32::MAX >> 1, u32::MAX >> 1),
        (1_000_000, 1_000_000),
        (40_000_001, 1),
        (6_400, 6_400),
    ] {
        assert_eq!(
            timed(&png_claiming(width, height, 8, 6, 0, 10)),
            Err(ReadImageError::TooLarge),
            "{width}"
        );
    }
    assert_eq!(
        read_picture(&png_claiming(0, 10, 8, 0, 0, 10)),
        Err(ReadImageError::NotAnImage)
    );
    assert_eq!(read_picture(&vec![0xff; (64 << 20) + 1]), Err(ReadImageError::TooLarge));
    let mut jpeg = as_jpeg(&[0; 64], 8, 50);
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xff);
    assert_eq!(read_picture(&jpeg), Err(ReadImageError::TooLarge));
}

#[test]
fn decompression_bombs_end_within_the_time_limit() {
    // 40 megapixels of zeroes in every pixel format, and a stream far longer than the image.
    for (depth, color, interlace, bytes) in [
        (8, 6, 0, 160_000_000),
        (16, 6, 1, 320_000_000),
        (1, 0, 0, 5_000_000),
        (1, 3, 1, 5_000_000),
        (8, 0, 0, 400_000_000),
    ] {
        let bomb = png_claiming(8_000, 5_000, depth, color, interlace, bytes);
        let read = timed(&bomb);
        assert!(
            matches!(read, Err(ReadImageError::NoSymbol | ReadImageError::TimedOut)),
            "{read:?}"
        );
    }
    let long_chunk = {
        let mut file = png_claiming(8, 8, 8, 0, 0, 100);
        let end = file.len() - 12;
        let mut zlib = flate2::write::ZlibEncoder::new(b"a\0\0".to_vec(), flate2::Compression::fast());
        for _ in 0..1_000 {
            zlib.write_all(&[0; 1 << 16]).unwrap();
        }
        file.truncate(end);
        chunk(&mut file, b"zTXt", &zlib.finish().unwrap());
        chunk(&mut file, b"IEND", &[]);
        file
    };
    assert!(timed(&long_chunk).is_err());
}

#[test]
fn an_image_full_of_finder_patterns_does_not_block_the_process() {
    let pattern = [
        "11111110", "10000010", "10111010", "10111010", "10111010", "10000010", "11111110", "00000000",
    ];
    for scale in [1, 2, 3] {
        let side = 2_400;
        let pixels: Vec<u8> = (0..side * side)
            .map(|at| {
                let (x, y) = (at % side / scale % 8, at / side / scale % 8);
                if pattern[y].as_bytes()[x] == b'1' { 0 } else { 255 }
            })
            .collect();
        let read = timed(&as_png(&pixels, side));
        assert!(
            matches!(read, Err(ReadImageError::NoSymbol | ReadImageError::TimedOut)),
            "{read:?}"
        );
    }
}

#[test]
fn truncated_files_are_errors_at_every_length() {
    let (text, png) = good();
    let pixels = image::load_from_memory(&png).unwrap().into_luma8();
    let jpeg = as_jpeg(&pixels, pixels.width() as usize, 80);
    assert_eq!(read_picture(&jpeg), Ok(text.clone()));
    for length in (0..png.len()).step_by(37) {
        assert_ne!(
            read_picture(&png[..length.min(png.len() / 2)]),
            Ok(text.clone()),
            "{length}"
        );
    }
    // Half a JPEG decodes to half an image; no length may cause harm or a wrong text.
    for length in (0..jpeg.len()).step_by(jpeg.len() / 25) {
        if let Ok(read) = timed(&jpeg[..length]) {
            assert_eq!(read, text);
        }
    }
}

#[test]
fn every_kind_of_png_pixel_is_read() {
    let (text, png) = good();
    let image = image::load_from_memory(&png).unwrap();
    for (name, image) in [
        ("16 bit grey", image::DynamicImage::from(image.to_luma16())),
        ("grey with alpha", image.to_luma_alpha8().into()),
        ("rgb", image.to_rgb8().into()),
        ("rgba", image.to_rgba8().into()),
        ("16 bit rgba", image.to_rgba16().into()),
    ] {
        let mut file = std::io::Cursor::new(Vec::new());
        image.write_to(&mut file, image::ImageFormat::Png).unwrap();
        assert_eq!(read_picture(file.get_ref()).as_deref(), Ok(text.as_str()), "{name}");
    }
    // Black on transparent is read as black on white.
    let mut clear = image.to_rgba8();
    for pixel in clear.pixels_mut() {
        pixel.0 = [0, 0, 0, 255 - pixel.0[0]];
    }
    let mut file = std::io::Cursor::new(Vec::new());
    image::DynamicImage::from(clear)
        .write_to(&mut file, image::ImageFormat::Png)
        .unwrap();
    assert_eq!(read_picture(file.get_ref()), Ok(text));
}

#[test]
fn palettes_and_animations_are_read() {
    let (text, png) = good();
    let grey = image::load_from_memory(&png).unwrap().into_luma8();
    let (width, height) = grey.dimensions();
    let write = |animated: bool| {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width, height);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_palette(vec![250, 250, 240, 10, 20, 60]);
        if animated {
            encoder.set_animated(2, 0).unwrap();
        }
        let mut writer = encoder.write_header().unwrap();
        let pixels: Vec<u8> = grey.iter().map(|p| u8::from(*p < 128)).collect();
        writer.write_image_data(&pixels).unwrap();
        if animated {
            writer.write_image_data(&vec![0; pixels.len()]).unwrap();
        }
        writer.finish().unwrap();
        file
    };
    assert_eq!(read_picture(&write(false)).as_ref(), Ok(&text));
    assert_eq!(read_picture(&write(true)), Ok(text), "the first image is read");
}

#[test]
fn after_the_time_limit_the_error_is_timed_out() {
    let (text, png) = good();
    assert_eq!(read_image_within(&png, &|| true), Err(ReadImageError::TimedOut));
    assert_eq!(read_image_within(&png, &|| false), Ok(text));
    // A clock that ends after any number of checks never yields a wrong text.
    let noise: Vec<u8> = (0_u32..300 * 300)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let noise = as_png(&noise, 300);
    for ticks in 0..40 {
        let left: Cell<u32> = Cell::new(ticks);
        let read = read_image_within(&noise, &|| left.replace(left.get().saturating_sub(1)) == 0);
        assert!(matches!(read, Err(ReadImageError::TimedOut | ReadImageError::NoSymbol)));
    }
}

#[test]
fn a_symbol_of_bytes_is_not_text() {
    let drawn = fast_qr::QRBuilder::new(vec![0_u8, 1, 2, 3, 250, 251, 252])
        .mode(fast_qr::Mode::Byte)
        .build()
        .unwrap();
    let side = (drawn.size + 8) * 6;
    let pixels: Vec<u8> = (0..side * side)
        .map(|at| {
            let (x, y) = (at % side / 6, at / side / 6);
            let inside = (4..drawn.size + 4).contains(&x) && (4..drawn.size + 4).contains(&y);
            if inside && drawn[y - 4][x - 4].value() { 0 } else { 255 }
        })
        .collect();
    assert_eq!(read_picture(&as_png(&pixels, side)), Err(ReadImageError::NotText));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn damaged_files_yield_the_text_or_an_error(
        jpeg: bool,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let (text, png) = good();
        let mut file = png;
        if jpeg {
            let pixels = image::load_from_memory(&file).unwrap().into_luma8();
            file = as_jpeg(&pixels, pixels.width() as usize, 60);
        }
        for (place, byte) in damage {
            let place = place.index(file.len());
            file[place] = byte;
        }
        if let Ok(read) = timed(&file) {
            prop_assert_eq!(read, text);
        }
    }

    #[test]
    fn random_bytes_after_a_magic_number_are_an_error(jpeg: bool, bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let magic: &[u8] = if jpeg { b"\xff\xd8\xff\xdb" } else { b"\x89PNG\r\n\x1a\n" };
        prop_assert!(timed(&[magic, &bytes].concat()).is_err());
    }
}
