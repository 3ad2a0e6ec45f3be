//! The moment of the past that a question is about.

use citycode_service_kit::problem::Problem;
use citycode_wire::proto::audit::v1 as proto;
use citycode_wire::proto::audit::v1::as_of::Until;
use citycode_wire::proto::model::v1::Position;
use citycode_wire::request::purpose;

use crate::answer::{instant, invalid};

/// A moment, and why somebody asks about it.
pub(super) struct Past {
    pub(super) as_of: proto::AsOf,
    pub(super) purpose: String,
}

impl Past {
    /// From the fields `as_of` and `purpose` of a body; `None` if the question is about the present.
    ///
    /// # Errors
    /// `invalid_request` if the moment or the purpose is none.
    pub(super) fn of(as_of: Option<&str>, why: Option<String>) -> Result<Option<Self>, Problem> {
        let Some(as_of) = as_of else {
            return Ok(None);
        };
        let why = why.unwrap_or_default();
        // Before anybody is looked up.
        purpose(&why).map_err(|fault| Problem::invalid_request(&fault))?;
        Ok(Some(Self {
            as_of: moment(as_of)?,
            purpose: why,
        }))
    }
}

/// A time as in RFC 3339, or a position of the log as `PARTITION/SEQUENCE`.
fn moment(text: &str) -> Result<proto::AsOf, Problem> {
    let until = match text.split_once('/') {
        Some((partition, sequence)) => Until::Position(Position {
            partition: number(partition)?,
            sequence: number(sequence)?,
        }),
        None => Until::Instant(instant("as_of", text)?),
    };
    Ok(proto::AsOf { until: Some(until) })
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, Problem> {
    // `parse` alone would accept a sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.ok_or_else(|| invalid("as_of is neither a time as in RFC 3339 nor a position PARTITION/SEQUENCE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_a_position() {
        let until = |text: &str| moment(text).map(|as_of| as_of.until).ok().flatten();
        assert_eq!(until("2022-11-01T08:00:00+08:00"), Some(Until::Instant(1_667_260_800)));
        let position = Position {
            partition: 3,
            sequence: 17,
        };
        assert_eq!(until("03/17"), Some(Until::Position(position)));
        for text in [
            "",
            "3/",
            "/17",
            "-3/17",
            "3/+17",
            "3/17/1",
            "yesterday",
            "3/99999999999999999999",
        ] {
            assert_eq!(until(text), None, "{text}");
        }
    }

    #[test]
    fn a_moment_of_the_past_needs_a_purpose_and_the_present_needs_none() {
        let past = |as_of, why: Option<&str>| Past::of(as_of, why.map(str::to_owned)).map(|past| past.is_some());
        assert!(matches!(past(None, None), Ok(false)));
        assert!(matches!(past(Some("1/2"), Some("complaint 17")), Ok(true)));
        assert!(past(Some("1/2"), None).is_err() && past(Some("1/2"), Some("no")).is_err());
    }
}
