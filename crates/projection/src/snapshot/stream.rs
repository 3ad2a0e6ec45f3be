//! Buffered reading and writing with a running checksum.

use std::io::{self, Read, Write};

use super::{LoadError, SaveError};

/// Large enough that BLAKE3 uses all of the processor's lanes and that system calls for reads are rare.
pub(super) const BUFFER_BYTES: usize = 256 * 1024;
pub(super) const CHECKSUM_BYTES: usize = 32;
const END: [u8; 4] = *b"end.";

/// Writes a snapshot.
pub(crate) struct Output<W> {
    inner: W,
    buffer: Vec<u8>,
    hasher: blake3::Hasher,
}

impl<W: Write> Output<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self {
            inner,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            hasher: blake3::Hasher::new(),
        }
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), SaveError> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.drain()?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn drain(&mut self) -> Result<(), SaveError> {
        self.hasher.update(&self.buffer);
        self.inner.write_all(&self.buffer).map_err(SaveError::Io)?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the end and the checksum, and flushes. The caller must make it durable.
    pub(crate) fn finish(mut self) -> Result<(), SaveError> {
        self.put(&END)?;
        self.drain()?;
        let checksum = self.hasher.finalize();
        self.inner
            .write_all(checksum.as_bytes())
            .and_then(|()| self.inner.flush())
            .map_err(SaveError::Io)
    }
}

/// Reads a snapshot.
pub(crate) struct Input<R> {
    inner: R,
    buffer: Box<[u8]>,
    /// Bytes of the buffer that are hashed.
    hashed: usize,
    /// Bytes of the buffer that are consumed.
    taken: usize,
    /// Bytes of the buffer that are filled.
    filled: usize,
    hasher: blake3::Hasher,
}

impl<R: Read> Input<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            hashed: 0,
            taken: 0,
            filled: 0,
            hasher: blake3::Hasher::new(),
        }
    }

    /// Hashes the bytes consumed since the last call. The checksum itself is consumed after this.
    fn hash_taken(&mut self) {
        self.hasher.update(&self.buffer[self.hashed..self.taken]);
        self.hashed = self.taken;
    }

    /// Refills the empty buffer; returns false at the end of the source.
    fn refill(&mut self) -> Result<bool, LoadError> {
        self.hash_taken();
        (self.hashed, self.taken, self.filled) = (0, 0, 0);
        loop {
            // Once the buffer is full, this reads zero bytes.
            match self.inner.read(&mut self.buffer[self.filled..]) {
                Ok(0) => break,
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(LoadError::Io(error)),
            }
        }
        Ok(self.filled > 0)
    }

    /// Reads exactly as many bytes as `out` is long.
    pub(crate) fn take(&mut self, mut out: &mut [u8]) -> Result<(), LoadError> {
        while !out.is_empty() {
            if self.taken == self.filled && !self.refill()? {
                return Err(LoadError::Truncated);
            }
            let count = out.len().min(self.filled - self.taken);
            let (now, later) = out.split_at_mut(count);
            now.copy_from_slice(&self.buffer[self.taken..self.taken + count]);
            self.taken += count;
            out = later;
        }
        Ok(())
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], LoadError> {
        let mut bytes = [0; N];
        self.take(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, LoadError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, LoadError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Reads this many bytes into `out`, whose memory grows only with bytes that really arrive.
    pub(crate) fn take_vec(&mut self, len: usize, out: &mut Vec<u8>) -> Result<(), LoadError> {
        out.clear();
        while out.len() < len {
            let start = out.len();
            out.resize(len.min(start + BUFFER_BYTES), 0);
            self.take(&mut out[start..])?;
        }
        Ok(())
    }

    /// Reads a section's tag, which must be this one.
    pub(crate) fn expect_section(&mut self, tag: [u8; 4]) -> Result<(), LoadError> {
        if self.array()? == tag {
            Ok(())
        } else {
            Err(LoadError::Damaged("a section is missing or out of order"))
        }
    }

    /// Reads the end, verifies the checksum, and checks that nothing follows.
    pub(crate) fn finish(mut self) -> Result<(), LoadError> {
        self.expect_section(END)?;
        self.hash_taken();
        let expected = self.hasher.finalize();
        // The checksum itself is not hashed: `expected` is final before it is read.
        let found: [u8; CHECKSUM_BYTES] = self.array()?;
        if expected != blake3::Hash::from_bytes(found) {
            return Err(LoadError::ChecksumMismatch);
        }
        if self.taken < self.filled || self.refill()? {
            return Err(LoadError::Damaged("there are bytes after the checksum"));
        }
        Ok(())
    }
}
