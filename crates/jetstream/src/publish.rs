//! One publish, and the meaning of its answer.
//!
//! | answer | meaning |
//! |---|---|
//! | acknowledged | written, now or (duplicate) earlier |
//! | 10071 | refused: the expectation does not hold |
//! | no responders, 10008, 10009, 10163, 10164, 10167 | not written; a retry may soon succeed |
//! | for a batch 10176, 10201, 10210 | not written; a retry may soon succeed |
//! | 10158 | unknown: an earlier attempt is in flight; retry with the same bytes |
//! | 10023, 10028, 10047, 10054, 10076, 10109, 10118 | not written; a retry will not soon succeed |
//! | no answer | unknown; retry with the same bytes within 15 s |
//! | anything else, including a failed store (10077) | unknown |

use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use serde::Deserialize;

use crate::api::{self, ApiError, code};

/// The outcome of a publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// The message was written, with this sequence.
    Written(u64),
    /// A message with this id already has this sequence; the caller must check whether it is the same message.
    Known(u64),
    /// The expectation does not hold.
    WrongRevision,
    /// The message was not written; a retry may soon succeed.
    NotNow(String),
    /// An attempt with this message id is in flight, from any client. The outcome is unknown; retry with the same
    /// bytes.
    InFlight(String),
    /// The message was not written.
    Refused(String),
    /// The outcome is unknown; retry with the same bytes. The message id and the expectation prevent a second write.
    Unanswered,
    /// The outcome is unknown.
    Unknown(String),
}

#[derive(Deserialize)]
struct Ack {
    seq: u64,
    #[serde(default)]
    duplicate: bool,
}

/// Publishes once and classifies the answer. For the server to check an expectation, even 0, the headers must contain
/// it.
pub async fn publish(client: &Client, subject: String, headers: HeaderMap, bytes: Bytes) -> Published {
    let answer = api::request_within(api::ATTEMPT, client, subject, Some(headers), bytes).await;
    classify(answer.and_then(|message| api::parse(&message.payload)))
}

fn classify(answer: Result<Ack, ApiError>) -> Published {
    match answer {
        Ok(Ack { seq, duplicate: false }) => Published::Written(seq),
        Ok(Ack { seq, duplicate: true }) => Published::Known(seq),
        Err(error) => classify_error(&error),
    }
}

/// The outcome of a publish that failed with `error`.
#[must_use]
pub fn classify_error(error: &ApiError) -> Published {
    match error {
        ApiError::NoResponders => Published::NotNow(error.to_string()),
        ApiError::Refused { code, .. } => match *code {
            code::WRONG_LAST_SEQUENCE => Published::WrongRevision,
            code::DUPLICATE_IN_FLIGHT => Published::InFlight(error.to_string()),
            code::CLUSTER_NOT_AVAILABLE
            | code::CLUSTER_NOT_LEADER
            | code::LAST_SEQUENCE_NOT_READY
            | code::WRITE_IN_FLIGHT
            | code::BATCH_INCOMPLETE
            | code::BATCH_HAS_DUPLICATE
            | code::TOO_MANY_BATCHES
            | code::TOO_MANY_REQUESTS => Published::NotNow(error.to_string()),
            code::INSUFFICIENT_RESOURCES
            | code::MEMORY_RESOURCES_EXCEEDED
            | code::STORAGE_RESOURCES_EXCEEDED
            | code::MESSAGE_TOO_LARGE
            | code::JETSTREAM_NOT_ENABLED
            | code::STREAM_SEALED
            | code::STREAM_OFFLINE => Published::Refused(error.to_string()),
            _ => Published::Unknown(error.to_string()),
        },
        ApiError::TimedOut => Published::Unanswered,
        error => Published::Unknown(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u64) -> Published {
        let body = format!(r#"{{"error":{{"code":400,"err_code":{code},"description":"x"}},"stream":"S","seq":0}}"#);
        classify(api::parse(body.as_bytes()))
    }

    #[test]
    fn every_error_code_determines_the_outcome() {
        assert_eq!(refused(10_071), Published::WrongRevision);
        assert!(matches!(refused(10_158), Published::InFlight(_)));
        for code in [10_008, 10_009, 10_163, 10_164, 10_167, 10_176, 10_201, 10_210] {
            assert!(matches!(refused(code), Published::NotNow(_)), "{code}");
        }
        for code in [10_023, 10_028, 10_047, 10_054, 10_076, 10_109, 10_118] {
            assert!(matches!(refused(code), Published::Refused(_)), "{code}");
        }
        for code in [10_077, 10_001, 99_999] {
            assert!(matches!(refused(code), Published::Unknown(_)), "{code}");
        }
    }

    #[test]
    fn no_answer_and_invalid_answers_are_unknown_and_no_responders_is_not_written() {
        assert_eq!(classify(Err(ApiError::TimedOut)), Published::Unanswered);
        assert!(matches!(classify(api::parse(b"{")), Published::Unknown(_)));
        assert!(matches!(classify(Err(ApiError::NoResponders)), Published::NotNow(_)));
    }
}
