//! A layer between redb and the file that stops all writes to the file after the first failed write or sync.
//!
//! After a storage failure redb fails every later operation, even reads. But reads of earlier durable data are safe,
//! and gates must continue to work. So this layer records the failure in [`FileHealth`], which the writer checks, and
//! from then on keeps redb's further writes in memory. The writer acknowledges nothing after a failure, and readers use
//! a snapshot from before it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use redb::StorageBackend;

const BLOCK: u64 = 4_096;
const BLOCK_BYTES: usize = 4_096;

/// Whether writes to the file have failed.
#[derive(Debug, Default)]
pub(crate) struct FileHealth {
    failed: AtomicBool,
    reason: Mutex<Option<String>>,
}

impl FileHealth {
    /// The first failure, if any.
    pub(crate) fn failure(&self) -> Option<String> {
        if !self.failed.load(Ordering::Acquire) {
            return None;
        }
        Some(self.reason.lock().clone().unwrap_or_else(|| "a write failed".into()))
    }

    fn fail(&self, what: &str, error: &std::io::Error) {
        self.reason
            .lock()
            .get_or_insert_with(|| format!("{what} of the log file failed: {error}"));
        self.failed.store(true, Ordering::Release);
    }
}

/// The writes after the failure, which are never stored.
#[derive(Debug, Default)]
struct Overlay {
    blocks: HashMap<u64, Box<[u8; BLOCK_BYTES]>>,
    length: u64,
}

/// The file, and the memory that replaces it for writes after a failure.
#[derive(Debug)]
pub(crate) struct GuardedFile {
    inner: Box<dyn StorageBackend>,
    health: Arc<FileHealth>,
    overlay: Mutex<Overlay>,
}

impl GuardedFile {
    pub(crate) fn new(inner: Box<dyn StorageBackend>, health: Arc<FileHealth>) -> Self {
        Self {
            inner,
            health,
            overlay: Mutex::new(Overlay::default()),
        }
    }

    fn failed(&self) -> bool {
        self.health.failed.load(Ordering::Acquire)
    }

    /// Records the first failure, and initialises the overlay's length with that of the file.
    fn fail(&self, what: &str, error: &std::io::Error) -> Result<(), std::io::Error> {
        let mut overlay = self.overlay.lock();
        if !self.failed() {
            overlay.length = self.inner.len()?;
            self.health.fail(what, error);
        }
        Ok(())
    }

    /// Reads a range of the file; bytes past its end are zero.
    fn read_file(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        let length = self.inner.len()?;
        let available = length.saturating_sub(offset).min(out.len() as u64);
        let available = usize::try_from(available).expect("at most the length of a slice");
        let (file, beyond) = out.split_at_mut(available);
        beyond.fill(0);
        if file.is_empty() {
            Ok(())
        } else {
            self.inner.read(offset, file)
        }
    }

    fn write_overlay(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        let mut overlay = self.overlay.lock();
        let end = offset.saturating_add(data.len() as u64);
        overlay.length = overlay.length.max(end);
        for (block, range, part) in block_parts(offset, data.len()) {
            let stored = match overlay.blocks.entry(block) {
                Entry::Occupied(stored) => stored.into_mut(),
                Entry::Vacant(free) => {
                    let mut base = Box::new([0; BLOCK_BYTES]);
                    self.read_file(block * BLOCK, &mut base[..])?;
                    free.insert(base)
                }
            };
            stored[range].copy_from_slice(&data[part]);
        }
        Ok(())
    }
}

/// The blocks that a range overlaps: block number, range within the block, range within the data.
fn block_parts(
    offset: u64,
    length: usize,
) -> impl Iterator<Item = (u64, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        let start = usize::try_from(at % BLOCK).expect("below a block");
        let count = (BLOCK_BYTES - start).min(length - done);
        let part = done..done + count;
        done += count;
        Some((at / BLOCK, start..start + count, part))
    })
}

impl StorageBackend for GuardedFile {
    fn len(&self) -> Result<u64, std::io::Error> {
        if self.failed() {
            Ok(self.overlay.lock().length)
        } else {
            self.inner.len()
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        if !self.failed() {
            return self.inner.read(offset, out);
        }
        self.read_file(offset, out)?;
        let overlay = self.overlay.lock();
        for (block, range, part) in block_parts(offset, out.len()) {
            if let Some(stored) = overlay.blocks.get(&block) {
                out[part].copy_from_slice(&stored[range]);
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), std::io::Error> {
        if !self.failed() {
            let Err(error) = self.inner.set_len(length) else {
                return Ok(());
            };
            self.fail("growing", &error)?;
        }
        self.overlay.lock().length = length;
        Ok(())
    }

    fn sync_data(&self) -> Result<(), std::io::Error> {
        if !self.failed()
            && let Err(error) = self.inner.sync_data()
        {
            self.fail("a sync", &error)?;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        if !self.failed() {
            let Err(error) = self.inner.write(offset, data) else {
                return Ok(());
            };
            self.fail("a write", &error)?;
        }
        self.write_overlay(offset, data)
    }

    fn close(&self) -> Result<(), std::io::Error> {
        self.inner.close()
    }
}
