//! What a witness remembers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};

use super::Remembered;
use crate::tree::TreeHead;

/// The memory of a witness. It must survive everything: a witness whose memory went back cosigns forks.
pub trait WitnessMemory {
    /// Why the memory cannot be read or written.
    type Error: std::error::Error + Send + Sync + 'static;

    /// What was cosigned last for a log; `None` if nothing ever was.
    fn last(&self, origin: &str) -> Result<Option<Remembered>, Self::Error>;

    /// Replaces what is remembered of a log, if the size that is remembered (0 if nothing is) is still `expected`.
    /// Compares and writes atomically, and returns only once it is durable. The inner error is the size that is
    /// remembered instead.
    fn replace(&self, origin: &str, expected: u64, next: Remembered) -> Result<Result<(), u64>, Self::Error>;
}

/// A memory that ends with its process; for tests.
#[derive(Debug, Default)]
pub struct MemoryOfOneProcess(Mutex<BTreeMap<String, Remembered>>);

impl WitnessMemory for MemoryOfOneProcess {
    type Error = Infallible;

    fn last(&self, origin: &str) -> Result<Option<Remembered>, Infallible> {
        let logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(logs.get(origin).cloned())
    }

    fn replace(&self, origin: &str, expected: u64, next: Remembered) -> Result<Result<(), u64>, Infallible> {
        let mut logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let current = logs
            .get(origin)
            .map_or(TreeHead::EMPTY, |remembered| remembered.head)
            .size;
        if current != expected {
            return Ok(Err(current));
        }
        logs.insert(origin.to_owned(), next);
        Ok(Ok(()))
    }
}
