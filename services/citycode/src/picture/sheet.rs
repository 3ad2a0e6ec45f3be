//! The texts of a print sheet.

use citycode_qr::{Label, LabelledValue, Section, SheetContent, SheetDate};
use jiff::Timestamp;

use super::IssuedCode;
use crate::policy_view::{PolicyView, Words};

/// The content of the sheet for this code.
pub(super) fn content(code: &IssuedCode, policy: &PolicyView) -> SheetContent {
    let kind = policy.kind(&code.kind);
    let both = |time: &str| {
        Label::new(
            policy.local(time, "%Y年%-m月%-d日 %H:%M"),
            policy.local(time, "%-d %B %Y, %H:%M"),
        )
    };
    let present_with = if kind.on_paper {
        Label::new("须与身份证一并出示", "Show it together with the resident ID card")
    } else {
        Label::default()
    };
    SheetContent {
        token: code.token.clone(),
        issuer: label(&policy.label),
        kind: label(&kind.label),
        name_label: Label::new("姓名", "Name"),
        masked_name: code.masked_name.clone().unwrap_or_default(),
        expiry: LabelledValue {
            label: Label::new("有效期至", "Valid until"),
            value: both(&code.expires_at),
        },
        issued: LabelledValue {
            label: Label::new("签发时间", "Issued"),
            value: both(&code.issued_at),
        },
        serial_label: Label::new("编号", "Serial"),
        serial: code.code_id.to_uppercase().replace('-', ""),
        present_with,
        sections: sections(),
        footer: Label::new(
            "重新打印不会改变有效期。",
            "Printing it again does not change its validity.",
        ),
        date: date(&code.issued_at, policy),
    }
}

fn sections() -> Vec<Section> {
    vec![
        Section {
            heading: Label::new("遗失怎么办", "If it is lost"),
            lines: vec![
                Label::new(
                    "请本人或家属到办理渠道挂失，无需出示本码。",
                    "Report it where it was issued; you or your family may, without this sheet.",
                ),
                Label::new(
                    "挂失或补领后，本码立即失效。",
                    "Once reported or reissued, this sheet is void at once.",
                ),
            ],
        },
        Section {
            heading: Label::new("使用说明", "How to use it"),
            lines: vec![Label::new(
                "请勿涂改二维码，勿交他人使用。",
                "Do not mark the symbol; do not lend it.",
            )],
        },
    ]
}

fn label(words: &Words) -> Label {
    Label::new(words.zh.clone(), words.en.clone())
}

/// The day of issue in the policy's zone; an unparsable time yields a date that the printer refuses.
fn date(issued_at: &str, policy: &PolicyView) -> SheetDate {
    let none = SheetDate {
        year: 0,
        month: 0,
        day: 0,
    };
    issued_at.parse::<Timestamp>().map_or(none, |time| {
        let day = time.to_zoned_datetime(policy.zone()).date();
        SheetDate {
            year: u16::try_from(day.year()).unwrap_or(0),
            month: u8::try_from(day.month()).unwrap_or(0),
            day: u8::try_from(day.day()).unwrap_or(0),
        }
    })
}
