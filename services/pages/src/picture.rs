//! Codes as images for a screen and as sheets for paper.

use citycode_domain::policy::KindPolicy;
use citycode_qr::{Caption, Label, LabelledValue, Section, SheetContent, SheetDate, SymbolOptions, draw, print_sheet};
use citycode_service_kit::problem::Problem;
use citycode_wire::proto::issuer::v1::IssuedCode;

use crate::frame::Frame;
use crate::lang::Language;
use crate::site::Site;
use crate::when;

/// The code as SVG, for a page.
pub(crate) fn svg(_: &Frame<'_>, kind: &KindPolicy, code: &IssuedCode) -> Result<String, Problem> {
    let symbol = draw(&code.token, &options(kind)).map_err(failed)?;
    Ok(symbol.to_svg(None))
}

/// The code as PNG, to be saved: below the symbol are its kind, its expiry and, in a demo, that it is one.
pub(crate) fn png(site: &Site, kind: &KindPolicy, code: &IssuedCode) -> Result<Vec<u8>, Problem> {
    let symbol = draw(&code.token, &options(kind)).map_err(failed)?;
    let until = |language| when::minute(code.expires_at, &site.zone, language);
    let (text, ascii) = (
        format!("{}\n{} 前有效", kind.label.zh, until(Language::Chinese)),
        format!("{}\nvalid until {}", kind.label.en, until(Language::English)),
    );
    let (text, ascii) = if site.is_demo() {
        (format!("演示，无效 DEMO\n{text}"), format!("DEMO\n{ascii}"))
    } else {
        (text, ascii)
    };
    let caption = Caption {
        text: &text,
        ascii: &ascii,
        fonts: &site.fonts,
    };
    symbol.to_png(Some(&caption)).map_err(failed)
}

/// The print sheet as PDF (A4).
pub(crate) fn sheet(site: &Site, kind: &KindPolicy, code: &IssuedCode) -> Result<Vec<u8>, Problem> {
    let content = content(site, kind, code);
    print_sheet(&content, &site.fonts)
        .map(|sheet| sheet.pdf)
        .map_err(failed)
}

fn options(kind: &KindPolicy) -> SymbolOptions {
    if kind.on_paper {
        SymbolOptions::PAPER
    } else {
        SymbolOptions::SCREEN
    }
}

fn content(site: &Site, kind: &KindPolicy, code: &IssuedCode) -> SheetContent {
    let both = |seconds| {
        let minute = |language| when::minute(seconds, &site.zone, language);
        Label::new(minute(Language::Chinese), minute(Language::English))
    };
    let words = |id: &str| {
        let get = |language| site.words.get(language, id, &[]);
        Label::new(get(Language::Chinese), get(Language::English))
    };
    let label = |label: &citycode_domain::policy::Label| Label::new(label.zh.clone(), label.en.clone());
    SheetContent {
        token: code.token.clone(),
        issuer: label(&site.policy.label),
        kind: label(&kind.label),
        name_label: words("sheet-name"),
        masked_name: code.masked_name.clone().unwrap_or_default(),
        expiry: LabelledValue {
            label: words("sheet-valid-until"),
            value: both(code.expires_at),
        },
        issued: LabelledValue {
            label: words("sheet-issued"),
            value: both(code.issued_at),
        },
        serial_label: words("sheet-serial"),
        serial: code.code_id.to_uppercase(),
        present_with: if kind.on_paper {
            words("sheet-present-with")
        } else {
            Label::default()
        },
        sections: vec![
            Section {
                heading: words("sheet-loss"),
                lines: vec![words("sheet-loss-where"), words("sheet-loss-effect")],
            },
            Section {
                heading: words("sheet-use"),
                lines: vec![words("sheet-use-text")],
            },
        ],
        footer: if site.is_demo() {
            words("demo-banner")
        } else {
            words("sheet-footer")
        },
        date: date(site, code.issued_at),
    }
}

/// The day of issue in the policy's zone; a time outside the calendar yields a date that the printer refuses.
fn date(site: &Site, issued_at: i64) -> SheetDate {
    let day = jiff::Timestamp::from_second(issued_at).map(|time| site.zone.to_datetime(time).date());
    let parts = day.ok().and_then(|day| {
        Some(SheetDate {
            year: u16::try_from(day.year()).ok()?,
            month: u8::try_from(day.month()).ok()?,
            day: u8::try_from(day.day()).ok()?,
        })
    });
    parts.unwrap_or(SheetDate {
        year: 0,
        month: 0,
        day: 0,
    })
}

fn failed(error: impl std::fmt::Display) -> Problem {
    tracing::error!(%error, "a code could not be drawn");
    Problem::internal()
}
