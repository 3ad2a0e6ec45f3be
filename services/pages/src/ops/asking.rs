//! Questions that several pages ask the services.

use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::issuer::v1::{CodeState, ListCodesRequest};

use super::fields::Faults;
use crate::caller::PageCaller;
use crate::frame::Frame;
use crate::site::Site;

/// Shortest and longest purpose in characters (contract of the audit).
const PURPOSE_CHARS: std::ops::RangeInclusive<usize> = 4..=200;

/// The holder's codes as they are now; of a guardian only those that the guardian may present.
///
/// # Errors
/// The issuer's problem.
pub(super) async fn codes_of(
    site: &Site,
    caller: &PageCaller,
    id_number: &str,
    guardian: &str,
) -> Result<Vec<CodeState>, Problem> {
    let request = ListCodesRequest {
        channel: String::new(),
        authentication: None,
        id_number: id_number.to_owned(),
        guardian_id_number: guardian.to_owned(),
        question_id: Vec::new(),
        actionable: false,
        details: false,
    };
    let mut issuer = site.clients.issuer.clone();
    let answer = issuer.list_codes(site.request(caller, request)?).await?;
    Ok(answer.into_inner().codes)
}

/// A purpose as the services accept it; otherwise the fault is added to the field `purpose`.
pub(super) fn purpose(f: &Frame<'_>, typed: &str, faults: &mut Faults) -> String {
    let typed = typed.trim();
    if !PURPOSE_CHARS.contains(&typed.chars().count()) {
        faults.add("purpose", f.t("ops-purpose-length"));
    } else if citycode_wire::request::purpose(typed).is_err() {
        faults.add("purpose", f.t("ops-purpose-number"));
    }
    typed.to_owned()
}

/// A problem of a question in words.
pub(super) fn sentence(f: &Frame<'_>, problem: &Problem) -> String {
    match problem.code() {
        Code::Unavailable => f.t("ops-cannot-ask"),
        _ => f.problem(problem),
    }
}
