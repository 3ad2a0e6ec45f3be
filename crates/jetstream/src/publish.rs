//! One publish, and what its answer means.
//!
//! | answer | what is known |
//! |---|---|
//! | acknowledged | written, here or (duplicate) before |
//! | 10071 | refused: the expectation does not hold |
//! | nobody listens, 10008, 10009, 10163, 10164, 10167; of a batch 10176, 10201, 10210 | not written, and a moment later it may be taken |
//! | 10158 | unknown: an earlier attempt is under way; the same bytes are sent again |
//! | 10023, 10028, 10047, 10054, 10076, 10109, 10118 | not written, and it will not be soon |
//! | no answer | unknown, and the same bytes are sent again within 15 s |
//! | anything else, a failed store (10077) among it | unknown |

use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use serde::Deserialize;

use crate::api::{self, ApiError, code};

/// What a publish came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// It stands there.
    Written(u64),
    /// A message of this id stands there; what it says must be looked at.
    Known(u64),
    /// What was expected does not hold.
    WrongRevision,
    /// Not written; worth another try soon.
    NotNow(String),
    /// An attempt with this message id is under way already, whoever sent it: nobody knows yet, and the same bytes may be
    /// sent again.
    InFlight(String),
    /// Not written.
    Refused(String),
    /// Nobody knows, and the same bytes may be sent again: the message id and the expectation keep them from being
    /// written twice.
    Unanswered,
    /// Nobody knows.
    Unknown(String),
}

#[derive(Deserialize)]
struct Ack {
    seq: u64,
    #[serde(default)]
    duplicate: bool,
}

/// Publishes once, and judges what comes back. Send an expectation, 0 too, where the server is to check one: without
/// it, it checks nothing.
pub async fn publish(client: &Client, subject: String, headers: HeaderMap, bytes: Bytes) -> Published {
    let answer = api::request_within(api::ATTEMPT, client, subject, Some(headers), bytes).await;
    judge(answer.and_then(|message| api::parse(&message.payload)))
}

fn judge(answer: Result<Ack, ApiError>) -> Published {
    match answer {
        Ok(Ack { seq, duplicate: false }) => Published::Written(seq),
        Ok(Ack { seq, duplicate: true }) => Published::Known(seq),
        Err(error) => judge_error(&error),
    }
}

/// What is known after an answer that acknowledges nothing.
#[must_use]
pub fn judge_error(error: &ApiError) -> Published {
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
        judge(api::parse(body.as_bytes()))
    }

    #[test]
    fn every_error_code_says_what_is_known() {
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
    fn no_answer_and_garbage_are_unknown_and_no_listener_is_not_written() {
        assert_eq!(judge(Err(ApiError::TimedOut)), Published::Unanswered);
        assert!(matches!(judge(api::parse(b"{")), Published::Unknown(_)));
        assert!(matches!(judge(Err(ApiError::NoResponders)), Published::NotNow(_)));
    }
}
