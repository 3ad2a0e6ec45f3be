//! What requests say about people: how they were authenticated, and what a channel attests.
//!
//! The commands of this module and its siblings contain ID numbers and names, so none of them implements `Debug`.

use citycode_domain::name::PersonName;

use super::{FieldFault, InvalidRequest};
use crate::limits::METHOD;
use crate::proto::issuer::v1 as issuer;
use crate::proto::model::v1 as model;

/// How a channel authenticated the person who makes the request.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Authentication {
    /// The channel's name for the method, such as `id_card_reader`; `None` if it gives none.
    pub method: Option<String>,
    /// An identity provider's assertion, unchecked; `None` if there is none. Personal.
    pub assertion: Option<String>,
}

/// The authentication of a request; the default value if the field is absent. `method` is the field's path.
///
/// # Errors
/// A method that is too long or contains other characters than a-z, 0-9, - and _.
pub(super) fn authentication(
    method: &'static str,
    part: Option<model::Authentication>,
) -> Result<Authentication, InvalidRequest> {
    let Some(part) = part else {
        return Ok(Authentication::default());
    };
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    if part.method.len() > METHOD.max || !part.method.bytes().all(word) {
        return Err(InvalidRequest::new(method, FieldFault::Method));
    }
    Ok(Authentication {
        method: given(part.method),
        assertion: given(part.assertion),
    })
}

/// What a channel attests about a person (R12), not yet compared with the policy.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Attestation {
    /// The person has the city's disability certificate.
    pub disability: bool,
    /// The special group of the policy to which the person belongs.
    pub group: Option<String>,
}

impl From<Option<issuer::Attestation>> for Attestation {
    fn from(part: Option<issuer::Attestation>) -> Self {
        part.map_or_else(Self::default, |part| Self {
            disability: part.disability,
            group: given(part.group),
        })
    }
}

/// A person's name.
///
/// # Errors
/// Not a name in the sense of the rules.
pub(super) fn name(text: &str) -> Result<PersonName, InvalidRequest> {
    PersonName::parse(text).map_err(|invalid| InvalidRequest::new("name", FieldFault::Name(invalid)))
}

/// A text that a request may omit: protobuf has no other form for it than the empty text.
pub(super) fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}
