//! A scan at a place.

use super::{FieldFault, InvalidRequest, MAX_CODE_BYTES};
use crate::limits::{DEVICE, SCAN_ID};
use crate::proto::verifier::v1;

/// One scan. It borrows from the message: parsing copies nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ScanRequest<'a> {
    /// Name of the place, which the policy resolves.
    pub place: &'a str,
    /// What was presented.
    pub shown: Shown<'a>,
    /// Number of the ID card that was read together with a code, unchecked. Personal.
    pub id_number: Option<&'a str>,
    /// Name of the scanning device.
    pub device: Option<&'a str>,
    /// The device's id of the scan; empty if it has none.
    pub scan_id: &'a str,
    /// The instant to judge for, in Unix seconds; `None` for now.
    pub at: Option<i64>,
    /// Whether the answer explains its reason.
    pub explain: bool,
    /// Whether staff found that the person does not match the ID card; only with a code.
    pub person_differs: bool,
}

/// What was presented at a place. Personal where it is a card: `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shown<'a> {
    /// Text of a code or presentation.
    Code(&'a str),
    /// Number of an ID card, unchecked.
    IdCard(&'a str),
}

impl core::fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Code(_) => "Code(…)",
            Self::IdCard(_) => "IdCard(…)",
        })
    }
}

/// A code that is too long is no error: no code of a city is that long, so it is read as an empty text, which a verifier
/// answers with `unreadable`.
impl<'a> TryFrom<&'a v1::VerifyRequest> for ScanRequest<'a> {
    type Error = InvalidRequest;

    fn try_from(request: &'a v1::VerifyRequest) -> Result<Self, InvalidRequest> {
        let shown = match &request.scan {
            Some(v1::verify_request::Scan::Code(text)) if text.len() > MAX_CODE_BYTES => Shown::Code(""),
            Some(v1::verify_request::Scan::Code(text)) => Shown::Code(text),
            Some(v1::verify_request::Scan::IdCard(number)) => Shown::IdCard(number),
            None => return Err(InvalidRequest::new("scan", FieldFault::Missing)),
        };
        if request.person_differs && matches!(shown, Shown::IdCard(_)) {
            return Err(InvalidRequest::new("person_differs", FieldFault::WithoutCode));
        }
        let device = request.device.as_str();
        if device.len() > DEVICE.max || !device.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidRequest::new("device", FieldFault::Device));
        }
        if request.scan_id.len() > SCAN_ID.max {
            return Err(InvalidRequest::new("scan_id", FieldFault::TooLong(SCAN_ID)));
        }
        Ok(Self {
            place: &request.place,
            shown,
            id_number: Some(request.id_number.as_str()).filter(|number| !number.is_empty()),
            device: Some(device).filter(|device| !device.is_empty()),
            scan_id: &request.scan_id,
            at: request.at,
            explain: !request.omit_explanation,
            person_differs: request.person_differs,
        })
    }
}
