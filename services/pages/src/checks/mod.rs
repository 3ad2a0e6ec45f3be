//! What the pages of checkpoints (`/staff`) and gates (`/gate`) share: who scans where, the call of the verifier, and
//! the verdict as people see it.
//!
//! A page shows a code as valid only on an answer of the verifier that says so: every failure is `cannot_check`.

pub(crate) mod ask;
pub(crate) mod checkpoint;
pub(crate) mod knowledge;
pub(crate) mod scanned;
pub(crate) mod verdict;
pub(crate) mod wording;

use http::HeaderMap;

/// Whether a script asks for a part of the page only.
pub(crate) fn wants_part(headers: &HeaderMap) -> bool {
    let from_script = headers.get("x-requested-with").is_some_and(|value| value == "citycode");
    from_script || headers.contains_key("hx-request")
}
