//! Reads newline-delimited JSON without holding more than one line. LF, CR and CR LF end a line: JSON has no bare
//! carriage return inside a value.

use axum::body::{Body, BodyDataStream, Bytes};
use bytes::BytesMut;
use citycode_service_kit::problem::Problem;
use futures::StreamExt as _;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::answer::invalid;

/// Longest line in bytes: more than a scan needs whose every character is escaped. Longer lines are skipped and
/// answered with a problem.
pub(crate) const MAX_LINE_BYTES: usize = 64 << 10;

/// The lines of a body.
pub(crate) struct Lines {
    body: BodyDataStream,
    buffer: BytesMut,
    /// Bytes at the start of `buffer` that contain no line end.
    searched: usize,
    /// Inside a line that is too long, whose beginning was discarded.
    skipping: bool,
    ended: bool,
}

/// One line that is not empty.
pub(crate) enum Line {
    /// Its bytes, possibly with the line end.
    Text(Bytes),
    /// Longer than [`MAX_LINE_BYTES`].
    TooLong,
}

impl Line {
    /// Its size in memory.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::TooLong => 0,
        }
    }
}

/// The body was interrupted.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl Lines {
    /// The lines of this body.
    ///
    /// # Errors
    /// `invalid_request` if the content type is another one.
    pub(crate) fn of(headers: &HeaderMap, body: Body) -> Result<Self, Problem> {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        match kind.as_deref() {
            Some("application/x-ndjson" | "application/ndjson" | "application/jsonl") => {}
            _ => return Err(invalid("the content type is not application/x-ndjson")),
        }
        Ok(Self {
            body: body.into_data_stream(),
            buffer: BytesMut::new(),
            searched: 0,
            skipping: false,
            ended: false,
        })
    }

    /// The next line; `None` at the end. Empty lines are skipped, and the last one needs no line end.
    pub(crate) async fn next(&mut self) -> Option<Result<Line, Interrupted>> {
        loop {
            while let Some(line) = self.take_line() {
                if let Some(line) = self.judged(line) {
                    return Some(Ok(line));
                }
            }
            if self.buffer.len() > MAX_LINE_BYTES {
                self.buffer.clear();
                self.searched = 0;
                self.skipping = true;
            }
            if self.ended {
                let rest = self.buffer.split();
                self.searched = 0;
                return self.judged(rest).map(Ok);
            }
            match self.body.next().await {
                None => self.ended = true,
                Some(Ok(chunk)) => self.buffer.extend_from_slice(&chunk),
                Some(Err(_)) => return Some(Err(Interrupted)),
            }
        }
    }

    /// The part of the buffer up to and including the next line end, if there is one.
    fn take_line(&mut self) -> Option<BytesMut> {
        let found = self.buffer[self.searched..]
            .iter()
            .position(|byte| matches!(byte, b'\n' | b'\r'));
        match found {
            Some(at) => {
                let line = self.buffer.split_to(self.searched + at + 1);
                self.searched = 0;
                Some(line)
            }
            None => {
                self.searched = self.buffer.len();
                None
            }
        }
    }

    fn judged(&mut self, line: BytesMut) -> Option<Line> {
        if std::mem::take(&mut self.skipping) || line.len() > MAX_LINE_BYTES {
            return Some(Line::TooLong);
        }
        (!line.trim_ascii().is_empty()).then(|| Line::Text(line.freeze()))
    }
}
