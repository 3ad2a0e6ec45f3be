//! Sheets and receipts as HTML, which a browser prints on A4, on a wallet card, or on a roll of 80 mm.

use askama::Template;
use citycode_domain::policy::KindPolicy;
use citycode_qr::{SymbolOptions, draw, group_serial};
use citycode_service_kit::problem::Problem;
use citycode_wire::proto::issuer::v1::IssuedCode;
use uuid::Uuid;

use crate::frame::Frame;
use crate::kiosk::settings::PrintFormat;
use crate::when;

/// Hex digits of a command id that a receipt shows: enough to find the act in the log.
const NUMBER_DIGITS: usize = 16;

/// The sheet of a code. Its date is a part of its own, because it is printed in the largest type.
#[derive(Template)]
#[template(path = "paper/sheet.html")]
pub(crate) struct Sheet<'a> {
    f: &'a Frame<'a>,
    format: &'static str,
    code_id: &'a str,
    kind: String,
    holder: &'a str,
    /// The day of the expiry, in two parts between which a line may break.
    day: [String; 2],
    time: String,
    /// The symbol as SVG.
    symbol: String,
    on_paper: bool,
    serial: String,
}

impl<'a> Sheet<'a> {
    /// The sheet of this code.
    ///
    /// # Errors
    /// The symbol cannot be drawn.
    pub(crate) fn new(
        f: &'a Frame<'a>,
        kind: &KindPolicy,
        code: &'a IssuedCode,
        format: PrintFormat,
    ) -> Result<Self, Problem> {
        let symbol = draw(&code.token, &SymbolOptions::PAPER).map_err(failed)?;
        let [first, second, time] = when::parts(code.expires_at, &f.site.zone, f.language());
        Ok(Self {
            format: format.word(),
            code_id: &code.code_id,
            kind: f.label(&kind.label),
            holder: code.masked_name.as_deref().unwrap_or_default(),
            day: [first, second],
            time,
            symbol: symbol.to_svg(None),
            on_paper: kind.on_paper,
            serial: group_serial(&code.code_id.to_uppercase()),
            f,
        })
    }

    /// The element `.sheet`.
    ///
    /// # Errors
    /// It cannot be rendered.
    pub(crate) fn html(&self) -> Result<String, Problem> {
        self.render().map_err(failed)
    }

    fn is_a4(&self) -> bool {
        self.format == PrintFormat::A4.word()
    }

    fn is_card(&self) -> bool {
        self.format == PrintFormat::Card.word()
    }
}

/// A receipt: number, time and kind of an act. It contains nothing personal.
pub(crate) struct Receipt {
    pub(crate) act: String,
    pub(crate) kind: String,
    pub(crate) number: String,
    pub(crate) time: String,
}

#[derive(Template)]
#[template(path = "paper/receipt.html")]
struct ReceiptSheet<'a> {
    f: &'a Frame<'a>,
    format: &'static str,
    receipt: &'a Receipt,
}

impl Receipt {
    /// The receipt of an act on a code of this kind.
    pub(crate) fn new(f: &Frame<'_>, (act, kind): (&str, &str), command_id: Uuid, at: i64) -> Self {
        let id = command_id.simple().to_string().to_uppercase();
        Self {
            act: f.t(&format!("receipt-{act}")),
            kind: kind.to_owned(),
            number: group_serial(id.get(..NUMBER_DIGITS).unwrap_or_default()),
            time: f.minute(&at),
        }
    }

    /// Time and number as a sentence for the screen.
    pub(crate) fn line(&self, f: &Frame<'_>) -> String {
        f.t2("receipt-line", ("time", &self.time), ("number", &self.number))
    }

    /// The receipt as the element `.sheet`.
    ///
    /// # Errors
    /// It cannot be rendered.
    pub(crate) fn html(&self, f: &Frame<'_>, format: PrintFormat) -> Result<String, Problem> {
        let sheet = ReceiptSheet {
            f,
            format: format.word(),
            receipt: self,
        };
        sheet.render().map_err(failed)
    }
}

fn failed(error: impl std::fmt::Display) -> Problem {
    tracing::error!(%error, "a sheet could not be made");
    Problem::internal()
}
