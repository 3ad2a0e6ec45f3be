//! Tests of drawing: versions and levels that the formats promise, exact modules, clear errors.

use crate::camera::{read_picture, token};
use citycode_qr::{Caption, DrawError, Fonts, Level, SymbolOptions, draw};
use proptest::prelude::*;

#[test]
fn paper_tokens_have_the_versions_that_the_formats_promise() {
    for (cwt_bytes, version) in [(144, 10), (170, 11)] {
        let symbol = draw(&token(1, cwt_bytes), &SymbolOptions::PAPER).unwrap();
        assert_eq!(
            (symbol.version(), symbol.level()),
            (version, Level::Q),
            "{cwt_bytes} bytes"
        );
        assert_eq!(symbol.size(), 17 + 4 * u32::from(version));
    }
}

#[test]
fn texts_outside_the_alphanumeric_set_are_refused_with_their_place() {
    for (text, position) in [
        ("CC1:ab", 4),
        ("CC1:A,B", 5),
        ("码", 0),
        ("CC1:\n", 4),
        ("A\u{0}", 1),
        ("ſ", 0),
    ] {
        assert_eq!(
            draw(text, &SymbolOptions::SCREEN),
            Err(DrawError::NotAlphanumeric { position }),
            "{text:?}"
        );
    }
    assert_eq!(draw("", &SymbolOptions::SCREEN), Err(DrawError::Empty));
}

#[test]
fn the_longest_text_of_a_level_is_drawn_and_one_more_is_refused() {
    // ISO/IEC 18004, table 7: version 40 holds 3,391 alphanumeric characters at M and 2,420 at Q.
    for (options, longest) in [(SymbolOptions::SCREEN, 3_391), (SymbolOptions::PAPER, 2_420)] {
        assert_eq!(draw(&"A".repeat(longest), &options).unwrap().version(), 40);
        let too_long = draw(&"A".repeat(longest + 1), &options);
        assert_eq!(too_long, Err(DrawError::TooLong { length: longest + 1 }));
    }
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    for (module_px, quiet_zone) in [(0, 4), (65, 4), (u32::MAX, 4), (5, 3), (5, 17), (5, u32::MAX)] {
        let options = SymbolOptions {
            level: Level::M,
            module_px,
            quiet_zone,
        };
        assert!(matches!(
            draw("CC1:A", &options),
            Err(DrawError::OptionOutOfRange { .. })
        ));
    }
}

#[test]
fn a_png_has_exact_modules_with_a_white_margin_and_is_small() {
    let symbol = draw(
        &token(2, 144),
        &SymbolOptions {
            module_px: 5,
            ..SymbolOptions::SCREEN
        },
    )
    .unwrap();
    let png = symbol.to_png(None).unwrap();
    assert!(png.len() < 2_000, "{} bytes", png.len());
    let image = image::load_from_memory(&png).unwrap().into_luma8();
    assert_eq!(image.dimensions(), (symbol.width_px(), symbol.width_px()));
    for (x, y, pixel) in image.enumerate_pixels() {
        let dark = match ((x / 5).checked_sub(4), (y / 5).checked_sub(4)) {
            (Some(column), Some(row)) => symbol.is_dark(column, row),
            _ => false,
        };
        assert_eq!(pixel.0[0], if dark { 0 } else { 255 }, "{x} {y}");
    }
    assert_eq!(png, symbol.to_png(None).unwrap(), "deterministic");
}

#[test]
fn small_symbols_are_enlarged_to_what_a_screen_needs() {
    let symbol = draw(
        "CC1:A",
        &SymbolOptions {
            level: Level::M,
            module_px: 1,
            quiet_zone: 4,
        },
    )
    .unwrap();
    assert!(symbol.width_px() >= 240);
}

#[test]
fn an_svg_holds_no_script_link_or_font_and_escapes_its_caption() {
    let symbol = draw(&token(3, 144), &SymbolOptions::SCREEN).unwrap();
    let fonts = Fonts::built_in();
    let caption = Caption {
        text: "<script>&\"",
        ascii: "",
        fonts: &fonts,
    };
    let svg = symbol.to_svg(Some(&caption));
    for forbidden in ["<script", "href", "<text", "font", "style="] {
        assert!(!svg.contains(forbidden), "{forbidden}");
    }
    assert!(svg.contains("&lt;script&gt;&amp;"));
    assert!(symbol.to_svg(None).len() < 12_000);
}

#[test]
fn a_caption_is_inside_the_picture_below_the_symbol() {
    let symbol = draw(&token(4, 144), &SymbolOptions::SCREEN).unwrap();
    let fonts = Fonts::built_in();
    for text in ["valid until 2022-09-30", "", "word ".repeat(80).as_str()] {
        let png = symbol
            .to_png(Some(&Caption {
                text,
                ascii: "",
                fonts: &fonts,
            }))
            .unwrap();
        let image = image::load_from_memory(&png).unwrap().into_luma8();
        assert_eq!(image.width(), symbol.width_px());
        let below = image
            .rows()
            .skip(symbol.width_px() as usize)
            .flatten()
            .filter(|pixel| pixel.0[0] < 100)
            .count();
        assert_eq!(below > 0, !text.is_empty(), "{text}");
    }
}

#[test]
fn no_debug_output_shows_a_token() {
    let symbol = draw("CC1:SECRET", &SymbolOptions::SCREEN).unwrap();
    assert!(!format!("{symbol:?}").contains("SECRET"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn every_drawn_symbol_is_read_back(text in "[0-9A-Z $%*+./:-]{1,400}", paper: bool) {
        let options = if paper { SymbolOptions::PAPER } else { SymbolOptions::SCREEN };
        let png = draw(&text, &options).unwrap().to_png(None).unwrap();
        prop_assert_eq!(read_picture(&png), Ok(text));
    }

    #[test]
    fn any_text_is_drawn_or_refused_without_panic(text in "\\PC{0,50}") {
        let is_in_set = |c: char| c.is_ascii_digit() || c.is_ascii_uppercase() || " $%*+-./:".contains(c);
        let drawn = draw(&text, &SymbolOptions::SCREEN);
        prop_assert_eq!(drawn.is_ok(), !text.is_empty() && text.chars().all(is_in_set));
    }
}
