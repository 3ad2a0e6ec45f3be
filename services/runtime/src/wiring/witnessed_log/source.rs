//! Where the published log is read. Nothing that is read here is trusted.

use std::sync::Arc;
use std::time::Duration;

use citycode_event_store::Partition;
use citycode_log_tree::{LogFiles, LogTrees};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use tokio::runtime::Handle;

/// Time limit of one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Longest file: a tile has 8 KiB, and a checkpoint with all its cosignatures less.
const MAX_FILE_BYTES: usize = 64 << 10;

/// Where the published log is read.
pub(super) enum Source {
    /// The trees of this process.
    Here(Arc<LogTrees>),
    /// Somebody's answers over HTTP.
    There(PublishedLog),
}

impl LogFiles for Source {
    type Error = std::io::Error;

    fn witnessed(&self, partition: Partition) -> std::io::Result<Option<Vec<u8>>> {
        match self {
            Self::Here(trees) => LogFiles::witnessed(&**trees, partition),
            Self::There(log) => log.get(&format!("{partition}/witnessed")),
        }
    }

    fn tile(&self, partition: Partition, name: &str) -> std::io::Result<Option<Vec<u8>>> {
        match self {
            Self::Here(trees) => trees.tile(partition, name),
            Self::There(log) => log.get(&format!("{partition}/{name}")),
        }
    }
}

pub(super) struct PublishedLog {
    client: Client,
    url: String,
    runtime: Handle,
}

impl PublishedLog {
    /// The log that is published at an address.
    ///
    /// # Errors
    /// No client can be made.
    pub(super) fn at(url: &str) -> Result<Self, reqwest::Error> {
        Self::within(url, ANSWER_LIMIT)
    }

    /// The same with another time limit of one whole answer.
    fn within(url: &str, limit: Duration) -> Result<Self, reqwest::Error> {
        Ok(Self {
            client: Client::builder().timeout(limit).redirect(Policy::none()).build()?,
            url: url.trim_end_matches('/').to_owned(),
            runtime: Handle::current(),
        })
    }

    /// A file by its path; `None` if there is none. Blocks its thread.
    fn get(&self, path: &str) -> std::io::Result<Option<Vec<u8>>> {
        self.runtime.block_on(self.fetch(path))
    }

    async fn fetch(&self, path: &str) -> std::io::Result<Option<Vec<u8>>> {
        let failed = |error: reqwest::Error| std::io::Error::other(error.without_url().to_string());
        let request = self.client.get(format!("{}/{path}", self.url));
        let mut response = request.send().await.map_err(failed)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(std::io::Error::other(format!("it answered {status}"))),
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_FILE_BYTES {
                return Err(std::io::Error::other("a file of the log is too long"));
            }
        }
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests;
