//! `citycode audit state`.

use clap::Args;
use serde_json::Value;

use super::{Purpose, long_answer};
use crate::commands::{Session, body, maybe};
use citycode_terminal::failure::Failure;
use citycode_terminal::output::Format;

/// Flags of `audit state`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  citycode audit state --as-of 2026-05-03T08:14:00+08:00\n\nCounts under ten are hidden, and with them others that would reveal them, unless --exact."
)]
#[group(skip)]
pub(super) struct StateArgs {
    /// The instant.
    #[arg(long, value_name = "RFC3339")]
    as_of: jiff::Timestamp,
    /// Show small counts too.
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    purpose: Purpose,
}

pub(super) async fn run(session: &Session, args: &StateArgs) -> Result<(), Failure> {
    let request = body(&[
        ("as_of", Some(Value::from(args.as_of.to_string()))),
        ("exact", Some(Value::from(args.exact))),
        ("purpose", maybe(args.purpose.given())),
    ]);
    let result = long_answer(session, "/api/v1/audit/state", &request).await?;
    if session.output.format != Format::Table {
        return session.output.object(&result);
    }
    let at = result.get("as_of").and_then(Value::as_str).unwrap_or_default();
    let at = session.calendar().await.local_time(at);
    session.output.lines(&told(&result, &at))
}

/// The counts as lines.
fn told(result: &Value, at: &str) -> String {
    let number = |of: &Value, name: &str| match of.get(name).and_then(Value::as_u64) {
        Some(number) => number.to_string(),
        None => "未公开 hidden".to_owned(),
    };
    let word = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut lines = vec![format!(
        "截至 as of {at}  已签发 codes issued: {}",
        number(result, "codes")
    )];
    for group in result.get("by").and_then(Value::as_array).into_iter().flatten() {
        let state = word(group, "state");
        lines.push(format!(
            "{:<10} {} {state:<14} {}",
            word(group, "kind"),
            in_chinese(&state),
            number(group, "count")
        ));
    }
    lines.join("\n")
}

/// A state in Chinese, with the spaces that make all of them four characters wide.
fn in_chinese(state: &str) -> &'static str {
    match state {
        "valid" => "有效\u{3000}\u{3000}",
        "suspended" => "已暂停\u{3000}",
        "expired" => "已过期\u{3000}",
        "superseded" => "已被取代",
        "reported_lost" => "已挂失\u{3000}",
        "revoked" => "已注销\u{3000}",
        _ => "\u{3000}\u{3000}\u{3000}\u{3000}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn counts_are_told_in_both_languages_and_hidden_ones_say_so() {
        let result = json!({"as_of": "2026-05-03T00:14:00Z", "codes": 51, "by": [
            {"kind": "offline", "state": "valid", "count": 40},
            {"kind": "offline", "state": "reported_lost"},
        ]});
        let told = told(&result, "2026-05-03 08:14");
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines[0], "截至 as of 2026-05-03 08:14  已签发 codes issued: 51");
        assert!(lines[1].contains("有效") && lines[1].ends_with("40"), "{told}");
        assert!(
            lines[2].contains("已挂失") && lines[2].ends_with("未公开 hidden"),
            "{told}"
        );
    }
}
