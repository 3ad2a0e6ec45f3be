//! Converts a stream of lines to a gRPC stream and its answers to lines, one for each line, in order. Lines that
//! cannot be sent are answered here, in order. With backpressure: reading stops while answers are not read.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use citycode_auth::token_expired;
use citycode_service_kit::problem::{Outcome, Problem};
use futures::{Stream, StreamExt as _};
use http::header::CONTENT_TYPE;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tracing::Instrument as _;

use crate::answer::invalid;
use crate::lines::{Interrupted, Line, Lines};

/// Maximum number of lines that were read and are not yet answered: as many as an import processes concurrently.
const IN_FLIGHT: usize = 1_024;
/// Bytes of them. Rows of an import have some 150 bytes, so that this many do not slow one down; without this bound a
/// client that reads no answers would make 1,024 of the longest lines wait, 64 MB.
const BYTES_IN_FLIGHT: usize = 512 << 10;
/// Minimum size for which a line counts: its message and its answer take memory too.
const LEAST_BYTES: usize = 256;
/// Maximum number of ready answers that are sent in one write.
const ANSWERS_IN_ONE_WRITE: usize = 64;

/// The result of reading a line, and its share of [`BYTES_IN_FLIGHT`].
struct Slot {
    /// The answer, if it was given here. Otherwise the line was sent, and the stream's next answer belongs to it.
    answered: Option<Vec<u8>>,
    _bytes: Option<OwnedSemaphorePermit>,
}

/// The lines in progress.
pub(crate) struct InProgress {
    slots: mpsc::Receiver<Slot>,
}

/// Reads lines in a separate task, which ends with the body or when the answers are dropped. `read` converts a line
/// to a message, or returns the answer to a line that cannot be sent. `first` is sent before all lines and has no
/// answer. When `expired` completes, no more lines are read, and the last answer gives the reason.
pub(crate) fn send_lines<M: Send + 'static>(
    mut lines: Lines,
    first: Option<M>,
    expired: impl Future<Output = ()> + Send + 'static,
    mut read: impl FnMut(Line) -> Result<M, Vec<u8>> + Send + 'static,
) -> (impl Stream<Item = M> + Send + 'static, InProgress) {
    let (slot_sender, slots) = mpsc::channel(IN_FLIGHT);
    let (sender, messages) = mpsc::channel(IN_FLIGHT);
    let bytes_left = Arc::new(Semaphore::new(BYTES_IN_FLIGHT));
    let reading = async move {
        if let Some(first) = first
            && sender.send(first).await.is_err()
        {
            return;
        }
        let mut expired = std::pin::pin!(expired);
        loop {
            let line = tokio::select! {
                biased;
                () = &mut expired => {
                    // Lines that were sent are still answered, then this is the last answer.
                    let last = Slot {
                        answered: Some(problem_line(&token_expired())),
                        _bytes: None,
                    };
                    let _ = slot_sender.send(last).await;
                    return;
                }
                line = lines.next() => line,
            };
            let Some(line) = line else { return };
            let interrupted = line.is_err();
            let bytes = line.as_ref().map_or(0, Line::bytes).max(LEAST_BYTES);
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            let Ok(reserved) = Arc::clone(&bytes_left).acquire_many_owned(bytes).await else {
                return;
            };
            let (answered, message) = match line.map_err(interrupted_answer).and_then(&mut read) {
                Ok(message) => (None, Some(message)),
                Err(answer) => (Some(answer), None),
            };
            let slot = Slot {
                answered,
                _bytes: Some(reserved),
            };
            if slot_sender.send(slot).await.is_err() {
                return;
            }
            if let Some(message) = message
                && sender.send(message).await.is_err()
            {
                return;
            }
            if interrupted {
                return;
            }
        }
    };
    tokio::spawn(reading.in_current_span());
    (ReceiverStream::new(messages), InProgress { slots })
}

impl InProgress {
    /// The answers as newline-delimited JSON. If the gRPC stream fails, the last line is `{"problem":…}`.
    pub(crate) fn answer<A: Send + 'static>(
        self,
        answers: Streaming<A>,
        render: impl Fn(A) -> Result<Vec<u8>, Problem> + Send + 'static,
    ) -> Response {
        let state = Some((self.slots, answers, render));
        let lines = futures::stream::unfold(state, |state| async move {
            let (mut slots, mut answers, render) = state?;
            // Its share is released once the answer is there.
            let slot = slots.recv().await?;
            let line = match slot.answered {
                Some(line) => Ok(line),
                None => match answers.message().await {
                    Ok(Some(answer)) => render(answer),
                    Ok(None) => Err(unanswered(Problem::internal())),
                    Err(status) => Err(unanswered(Problem::from(status))),
                },
            };
            match line {
                Ok(line) => Some((line, Some((slots, answers, render)))),
                Err(problem) => Some((problem_line(&problem), None)),
            }
        });
        let lines: Pin<Box<dyn Stream<Item = Vec<u8>> + Send>> = Box::pin(lines);
        let writes = lines
            .ready_chunks(ANSWERS_IN_ONE_WRITE)
            .map(|lines| Ok::<_, Infallible>(joined(&lines)));
        ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(writes)).into_response()
    }
}

/// The last answer if the body is interrupted: its unfinished line is lost. A connected sender sees why the answers
/// end.
fn interrupted_answer(Interrupted: Interrupted) -> Vec<u8> {
    problem_line(&invalid("the lines were interrupted: the body could not be read to its end").of_change())
}

/// The problem that ends a stream: lines without an answer may have been executed, unless its outcome is `not_done`.
fn unanswered(problem: Problem) -> Problem {
    let outcome = problem.outcome().unwrap_or(Outcome::Unknown);
    problem.with_outcome(outcome)
}

/// `{"problem":…}`.
pub(crate) fn problem_line(problem: &Problem) -> Vec<u8> {
    serde_json::to_vec(&serde_json::json!({ "problem": problem })).expect("a problem is strings and numbers")
}

fn joined(lines: &[Vec<u8>]) -> Bytes {
    let mut out = Vec::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
    for line in lines {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.into()
}
