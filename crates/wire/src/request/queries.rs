//! Questions about the stream of queries.

use super::InvalidRequest;
use super::audit::purpose;
use super::person::{Authentication, authentication, given};
use crate::proto::audit::v1::ListQueriesRequest;
use crate::proto::issuer::v1::ListQueriesAboutRequest;

/// Most queries that are returned at once.
pub const MAX_QUERIES: usize = 500;

/// Asks for a part of the stream of queries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListQueriesQuery {
    /// Why the caller asks.
    pub purpose: Option<String>,
    /// The first sequence.
    pub from: u64,
    /// Most entries, from 1 to [`MAX_QUERIES`].
    pub limit: usize,
}

impl TryFrom<&ListQueriesRequest> for ListQueriesQuery {
    type Error = InvalidRequest;

    fn try_from(request: &ListQueriesRequest) -> Result<Self, InvalidRequest> {
        let limit = match usize::try_from(request.limit) {
            Ok(limit @ 1..=MAX_QUERIES) => limit,
            _ => MAX_QUERIES,
        };
        Ok(Self {
            purpose: optional_purpose(&request.purpose)?,
            from: request.from,
            limit,
        })
    }
}

/// Asks who looked at a person.
#[derive(Clone, PartialEq, Eq)]
pub struct ListQueriesAboutQuery {
    /// Why the caller asks; `None` if the request names no purpose.
    pub purpose: Option<String>,
    /// The channel; `None` if the request names none.
    pub channel: Option<String>,
    /// How the person was authenticated.
    pub authentication: Authentication,
    /// The person's ID number, unchecked. Personal.
    pub id_number: String,
}

impl TryFrom<ListQueriesAboutRequest> for ListQueriesAboutQuery {
    type Error = InvalidRequest;

    fn try_from(request: ListQueriesAboutRequest) -> Result<Self, InvalidRequest> {
        Ok(Self {
            purpose: optional_purpose(&request.purpose)?,
            channel: given(request.channel),
            authentication: authentication("authentication.method", request.authentication)?,
            id_number: request.id_number,
        })
    }
}

fn optional_purpose(text: &str) -> Result<Option<String>, InvalidRequest> {
    match text.trim() {
        "" => Ok(None),
        text => purpose(text).map(|purpose| Some(purpose.to_owned())),
    }
}
