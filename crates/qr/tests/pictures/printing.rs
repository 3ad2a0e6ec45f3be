//! Tests of the sheet: it is always legible, deterministic, and messages contain no personal data.

use citycode_qr::{
    FontChoice, FontError, Fonts, Label, LabelledValue, PrintError, PrintNotice, Section, SheetContent, SheetDate,
    print_sheet,
};

fn content() -> SheetContent {
    let label = |en: &str| Label::new("", en);
    SheetContent {
        token: format!("CC1:{}", "A1B2C3".repeat(36)),
        issuer: label("City"),
        kind: label("Offline code"),
        name_label: label("Name"),
        masked_name: String::from("J*** S****"),
        expiry: LabelledValue {
            label: label("Valid until"),
            value: label("27 February 2023"),
        },
        issued: LabelledValue::default(),
        serial_label: label("Serial"),
        serial: String::from("AB12CD34"),
        present_with: label("Show it together with your ID card"),
        sections: vec![Section {
            heading: label("If it is lost"),
            lines: vec![label("Report it at any kiosk.")],
        }],
        footer: label("Keep it dry."),
        date: SheetDate {
            year: 2022,
            month: 8,
            day: 31,
        },
    }
}

#[test]
fn the_same_content_gives_the_same_bytes() {
    let fonts = Fonts::built_in();
    let first = print_sheet(&content(), &fonts).unwrap();
    assert!(first.pdf.starts_with(b"%PDF-"));
    assert_eq!(first, print_sheet(&content(), &Fonts::built_in()).unwrap());
    let other_day = SheetContent {
        date: SheetDate {
            year: 2022,
            month: 9,
            day: 1,
        },
        ..content()
    };
    assert_ne!(first.pdf, print_sheet(&other_day, &fonts).unwrap().pdf);
}

#[test]
fn without_a_chinese_font_english_is_printed_and_the_notice_says_what_to_install() {
    let chinese = SheetContent {
        kind: Label::new("离线随申码", "Offline code"),
        masked_name: String::from("张*三"),
        ..content()
    };
    let printed = print_sheet(&chinese, &Fonts::built_in()).unwrap();
    assert_eq!(printed.notices.len(), 1);
    assert!(printed.notices[0].to_string().contains("fonts-wqy-microhei"));
    let no_english = SheetContent {
        kind: Label::new("离线随申码", ""),
        ..content()
    };
    assert!(matches!(
        print_sheet(&no_english, &Fonts::built_in()),
        Err(PrintError::MissingGlyph { field: "the kind" })
    ));
}

#[test]
fn a_character_in_no_font_is_never_printed_as_an_empty_box() {
    // A private-use character represents a rare character of a name; U+10FFFD is in no font.
    let rare = SheetContent {
        masked_name: String::from("\u{10FFFD}*"),
        ..content()
    };
    let fonts = Fonts::load(&FontChoice::Search).unwrap();
    let printed = print_sheet(&rare, &fonts).unwrap();
    let expected = if fonts.have_chinese() {
        PrintNotice::NameMaskedFurther
    } else {
        PrintNotice::Font(fonts.notice().unwrap())
    };
    assert_eq!(printed.notices, [expected]);
    let plain = SheetContent {
        masked_name: String::from("**"),
        ..content()
    };
    assert_eq!(printed.pdf, print_sheet(&plain, &fonts).unwrap().pdf);
}

#[test]
fn texts_that_do_not_fit_are_an_error_and_not_truncated() {
    let long = SheetContent {
        present_with: Label::new("", "word ".repeat(3_000)),
        ..content()
    };
    assert!(matches!(
        print_sheet(&long, &Fonts::built_in()),
        Err(PrintError::DoesNotFit { .. })
    ));
    let wide = SheetContent {
        serial_label: Label::new("", "W".repeat(400)),
        ..content()
    };
    assert!(matches!(
        print_sheet(&wide, &Fonts::built_in()),
        Err(PrintError::DoesNotFit { .. })
    ));
}

#[test]
fn modules_never_fall_under_three_quarters_of_a_millimetre() {
    let large = SheetContent {
        token: "A".repeat(1_500),
        ..content()
    };
    assert!(matches!(
        print_sheet(&large, &Fonts::built_in()),
        Err(PrintError::SymbolTooLarge { .. })
    ));
    let odd = SheetContent {
        token: String::from("lower"),
        ..content()
    };
    assert!(matches!(
        print_sheet(&odd, &Fonts::built_in()),
        Err(PrintError::Symbol(_))
    ));
}

#[test]
fn an_invalid_date_is_refused() {
    for (year, month, day) in [(2022, 13, 1), (2022, 0, 1), (2022, 1, 32), (0, 1, 1)] {
        let sheet = SheetContent {
            date: SheetDate { year, month, day },
            ..content()
        };
        assert!(matches!(
            print_sheet(&sheet, &Fonts::built_in()),
            Err(PrintError::InvalidDate)
        ));
    }
}

#[test]
fn a_configured_font_that_is_missing_is_named() {
    let choice = FontChoice::File("/nowhere/font.ttc".into());
    let error = Fonts::load(&choice).unwrap_err();
    assert!(matches!(error, FontError::Unreadable { .. }));
    assert!(error.to_string().contains("/nowhere/font.ttc"));
}

#[test]
fn debug_output_contains_no_personal_data() {
    let sheet = SheetContent {
        masked_name: String::from("Marked"),
        serial: String::from("9SERIAL9"),
        ..content()
    };
    let shown = format!("{sheet:?} {:?}", print_sheet(&sheet, &Fonts::built_in()));
    for personal in ["Marked", "9SERIAL9", "A1B2C3"] {
        assert!(!shown.contains(personal));
    }
}
