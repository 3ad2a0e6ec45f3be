//! Reading a day's streams in the order of their sequences, page by page.

use std::collections::BTreeSet;

use citycode_jetstream::Client;
use citycode_jetstream::api::{self, ApiError, StoredMessage};
use serde::Deserialize;
use serde_json::json;

use super::names;
use crate::{RecordsError, failed};

/// Most messages of a page. Registrations have some 200 bytes.
const PAGE_MESSAGES: usize = 4_096;
/// A page ends once it has this many bytes: the records of a chunk take some seven times as much memory.
const PAGE_BYTES: usize = 4 << 20;

/// The messages after a sequence: at least one, and some 4 MB at most beside the last one; none at the end of the stream,
/// and in a stream that does not exist. Sequences of deleted messages are skipped.
///
/// # Errors
/// [`RecordsError`] if the stream cannot be read now.
pub(super) async fn page(client: &Client, stream: &str, after: u64) -> Result<Vec<StoredMessage>, RecordsError> {
    let end = match api::stream_info(client, stream).await {
        Ok(info) => info.state.last_seq,
        Err(error) if names::is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let first = after.saturating_add(1);
    if first > end {
        return Ok(Vec::new());
    }
    let body = json!({ "seq": first, "batch": PAGE_MESSAGES, "max_bytes": PAGE_BYTES });
    let mut page = api::get_batch(client, stream, &body).await.map_err(failed)?;
    let expected = page.iter().zip(first..);
    let contiguous = expected.take_while(|(message, sequence)| message.sequence == *sequence);
    page.truncate(contiguous.count());
    if page.is_empty() {
        // The message was deleted, or the server that answered lags or lost it: only the leader can tell.
        let body = json!({ "seq": first, "next_by_subj": ">" });
        page.extend(api::get_from_leader(client, stream, &body).await.map_err(failed)?);
    }
    Ok(page)
}

/// The days that have streams, and whether each is one of registrations.
pub(super) async fn days(client: &Client) -> Result<BTreeSet<(u32, bool)>, ApiError> {
    #[derive(Deserialize)]
    struct Names {
        streams: Option<Vec<String>>,
    }
    let mut days = BTreeSet::new();
    let mut offset = 0;
    loop {
        let body = json!({ "offset": offset });
        let Names { streams } = api::ask(client, "STREAM.NAMES", &body).await?;
        let streams = streams.unwrap_or_default();
        if streams.is_empty() {
            return Ok(days);
        }
        offset += streams.len();
        days.extend(streams.iter().filter_map(|stream| names::day_of_stream(stream)));
    }
}

/// The sealed keys of a day; `None` if they are destroyed or were never created.
pub(super) async fn keys(client: &Client, day: u32) -> Result<Option<bytes::Bytes>, RecordsError> {
    let body = json!({ "last_by_subj": names::key_subject(day) });
    let key = api::get_from_leader(client, names::KEYS, &body).await.map_err(failed)?;
    Ok(key.map(|key| key.payload))
}
