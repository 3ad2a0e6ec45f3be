//! `citycode doctor`: diagnoses a setup.

use citycode_service_kit::problem::Code;
use reqwest::StatusCode;
use serde_json::json;

use super::{DONE, Session};
use citycode_terminal::failure::Failure;

/// With a greater clock difference, live codes are refused.
const MAX_CLOCK_DIFFERENCE_SECONDS: i64 = 5;

pub(crate) async fn run(session: &Session) -> Result<u8, Failure> {
    let mut findings: Vec<(String, bool, String)> = Vec::new();
    match session.client.status("/health/ready").await {
        Ok((status, date)) => {
            let (ok, finding) = server(session, status).await;
            findings.push(("server".into(), ok, finding));
            let theirs = date
                .and_then(|date| jiff::fmt::rfc2822::parse(&date).ok())
                .map(|date| date.timestamp().as_second());
            if let Some(theirs) = theirs {
                let difference = session.clock.now().0 - theirs;
                let ok = difference.abs() <= MAX_CLOCK_DIFFERENCE_SECONDS;
                findings.push((
                    "clock".into(),
                    ok,
                    format!("this machine's clock differs by {difference} s"),
                ));
            }
        }
        Err(failure) => findings.push(("server".into(), false, failure.line())),
    }
    let (direct, finding) = session.client.route().finding(session.client.server());
    findings.push(("proxy".into(), direct, finding));
    let (accepted, finding) = token(session).await;
    findings.push(("token".into(), accepted, finding));
    let fonts = citycode_qr::Fonts::load(&citycode_qr::FontChoice::Search);
    let (ok, finding) = match &fonts {
        Ok(fonts) => (
            fonts.notice().is_none(),
            fonts
                .notice()
                .map_or("a font with Chinese characters was found".into(), |notice| {
                    notice.to_string()
                }),
        ),
        Err(error) => (false, error.to_string()),
    };
    findings.push(("fonts".into(), ok, finding));
    let all_ok = findings.iter().all(|(_, ok, _)| *ok);
    let entries: Vec<_> = findings
        .iter()
        .map(|(what, ok, finding)| json!({ "check": what, "ok": ok, "finding": finding }))
        .collect();
    let rows = findings
        .iter()
        .map(|(what, ok, finding)| vec![what.clone(), if *ok { "ok" } else { "WRONG" }.into(), finding.clone()]);
    session.output.list(
        &json!({ "checks": entries }),
        &entries,
        &["check", "", "finding"],
        rows.collect(),
    )?;
    Ok(if all_ok { DONE } else { 1 })
}

/// A distributed portal serves its health endpoints on a management port that callers do not reach. If the health
/// endpoint is not found, this requests the policy instead, which needs no authentication.
async fn server(session: &Session, health: StatusCode) -> (bool, String) {
    let server = session.client.server();
    if health != StatusCode::NOT_FOUND {
        return (health.is_success(), format!("{server} answers {health}"));
    }
    match session.client.status("/api/v1/policy").await {
        Ok((status, _)) if status.is_success() => {
            let finding = format!("{server} answers; its health endpoints are on its management port");
            (true, finding)
        }
        Ok((status, _)) => (false, format!("{server} is not a citycode server: it answers {status}")),
        Err(failure) => (false, failure.line()),
    }
}

/// Tries the token with an empty request: a valid token gets `invalid_request`, an invalid one is refused earlier.
async fn token(session: &Session) -> (bool, String) {
    if session.client.token().is_none() {
        let advice = "no access token: give --token, or run on the machine and as the user of `citycode up`";
        return (false, advice.into());
    }
    match session.client.post("/api/v1/history", &json!({}), None).await {
        Err(failure) if failure.code() != Code::InvalidRequest.as_str() => (false, failure.line()),
        _ => (true, "the server accepts the access token".into()),
    }
}
