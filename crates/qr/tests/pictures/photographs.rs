//! Tests that photographs and screenshots are read, and always exactly as they were drawn.

use crate::camera::{Rng, Shot, as_jpeg, as_png, photograph, read_picture, symbol, token};
use citycode_qr::{Caption, Fonts, Level, ReadImageError, SymbolOptions, draw};

/// Reads shots of one kind under several seeds; returns how many were read. A wrong text fails at once.
fn read_of(shots: u64, quality: u8, shot: impl Fn(&mut Rng) -> Shot) -> u64 {
    let mut read = 0;
    for seed in 0..shots {
        let (text, symbol) = symbol(seed);
        let mut rng = Rng(seed ^ 0xABCD);
        let shot = shot(&mut rng);
        let pixels = photograph(&symbol, &shot, &mut rng);
        match read_picture(&as_jpeg(&pixels, shot.side, quality)) {
            Ok(seen) => {
                assert_eq!(seen, text, "seed {seed}");
                read += 1;
            }
            Err(error) => eprintln!("seed {seed}: {error}"),
        }
    }
    read
}

#[test]
fn upright_photographs_are_all_read() {
    assert_eq!(read_of(8, 80, |_| Shot::PLAIN), 8);
}

#[test]
fn turned_photographs_are_read_at_any_angle() {
    let read = read_of(12, 70, |rng| Shot {
        turn_degrees: 180.0 * rng.swing(),
        ..Shot::PLAIN
    });
    assert!(read >= 12, "{read} of 12");
}

#[test]
fn tilted_photographs_are_read() {
    let read = read_of(10, 70, |rng| Shot {
        tilt: 0.5 * rng.swing(),
        turn_degrees: 20.0 * rng.swing(),
        side: 1200,
        ..Shot::PLAIN
    });
    assert!(read >= 9, "{read} of 10");
}

#[test]
fn blurred_and_noisy_photographs_are_read() {
    let read = read_of(10, 40, |rng| Shot {
        blur: 2.2 + 0.4 * rng.swing(),
        noise: 20.0,
        turn_degrees: 10.0 * rng.swing(),
        ..Shot::PLAIN
    });
    assert!(read >= 9, "{read} of 10");
}

#[test]
fn dim_photographs_with_shadow_are_read() {
    let read = read_of(10, 60, |rng| Shot {
        dark: 60.0,
        light: 110.0,
        shade: 0.6,
        noise: 4.0,
        turn_degrees: 15.0 * rng.swing(),
        ..Shot::PLAIN
    });
    assert!(read >= 9, "{read} of 10");
}

#[test]
fn photographs_with_glare_are_mostly_read() {
    let read = read_of(10, 60, |rng| Shot {
        glare: 0.9,
        turn_degrees: 15.0 * rng.swing(),
        ..Shot::PLAIN
    });
    assert!(read >= 8, "{read} of 10");
}

#[test]
fn a_small_symbol_in_a_large_photograph_is_read() {
    let read = read_of(2, 75, |_| Shot {
        side: 3600,
        fills: 0.08,
        blur: 0.8,
        ..Shot::PLAIN
    });
    assert_eq!(read, 2);
}

#[test]
fn screenshots_are_read_at_any_scale_with_caption_and_dark_mode() {
    let text = token(7, 144);
    let fonts = Fonts::built_in();
    let caption = Caption {
        text: "valid until 2022-09-30",
        ascii: "",
        fonts: &fonts,
    };
    for level in [Level::M, Level::Q] {
        for module_px in [1, 2, 3, 4, 7, 12] {
            let symbol = draw(
                &text,
                &SymbolOptions {
                    level,
                    module_px,
                    quiet_zone: 4,
                },
            )
            .unwrap();
            assert!(symbol.width_px() >= 240);
            assert_eq!(
                read_picture(&symbol.to_png(None).unwrap()).as_deref(),
                Ok(text.as_str()),
                "{module_px}"
            );
            assert_eq!(
                read_picture(&symbol.to_png(Some(&caption)).unwrap()).as_deref(),
                Ok(text.as_str())
            );
        }
    }
    let symbol = draw(&text, &SymbolOptions::SCREEN).unwrap();
    let mut pixels = image::load_from_memory(&symbol.to_png(None).unwrap())
        .unwrap()
        .into_luma8();
    let side = pixels.width() as usize;
    // Scaled by a fractional factor, as on a phone's screen.
    let scaled = image::imageops::resize(&pixels, 311, 311, image::imageops::FilterType::Triangle);
    assert_eq!(read_picture(&as_png(&scaled, 311)).as_deref(), Ok(text.as_str()));
    image::imageops::colorops::invert(&mut pixels);
    assert_eq!(
        read_picture(&as_png(&pixels, side)).as_deref(),
        Ok(text.as_str()),
        "inverted"
    );
    let cut = image::imageops::crop_imm(&pixels, 24, 24, side as u32 - 48, side as u32 - 48).to_image();
    assert_eq!(
        read_picture(&as_png(&cut, side - 48)).as_deref(),
        Ok(text.as_str()),
        "inverted, without margin"
    );
}

#[test]
fn two_different_symbols_are_refused_and_the_same_twice_is_not() {
    let pictures: Vec<_> = [3_u64, 4]
        .map(|seed| draw(&token(seed, 144), &SymbolOptions::SCREEN).unwrap())
        .iter()
        .map(|symbol| {
            image::load_from_memory(&symbol.to_png(None).unwrap())
                .unwrap()
                .into_luma8()
        })
        .collect();
    let beside = |left: &image::GrayImage, right: &image::GrayImage| {
        let mut both = image::GrayImage::new(left.width() + right.width(), left.height());
        image::imageops::replace(&mut both, left, 0, 0);
        image::imageops::replace(&mut both, right, i64::from(left.width()), 0);
        as_png(&both, both.width() as usize)
    };
    assert_eq!(
        read_picture(&beside(&pictures[0], &pictures[1])),
        Err(ReadImageError::SeveralSymbols)
    );
    assert_eq!(read_picture(&beside(&pictures[0], &pictures[0])), Ok(token(3, 144)));
}

#[test]
fn a_photograph_without_a_symbol_is_an_error() {
    let mut rng = Rng(1);
    let noise: Vec<u8> = (0..500 * 500).map(|_| rng.next() as u8).collect();
    assert_eq!(read_picture(&as_jpeg(&noise, 500, 60)), Err(ReadImageError::NoSymbol));
    assert_eq!(read_picture(&as_png(&[255; 64], 8)), Err(ReadImageError::NoSymbol));
    assert_eq!(read_picture(&as_png(&[0; 1], 1)), Err(ReadImageError::NoSymbol));
}
