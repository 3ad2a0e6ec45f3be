//! Saving the register to a snapshot file and loading it.
//!
//! ```text
//! sections = "tail" tails{partitions}
//!            "hold" chunk* 0:u32
//!            "frgn" …                                     since format 3; see `foreign`
//! tails    = count:u32 ( bucket:u16 revision:u64 hash:32 )*   ascending by bucket
//! chunk    = length:u32 entry+                                 at most 2^26 bytes; a longer entry is not written
//! entry    = as in an arena's page                             each holder once
//! ```
//! Dependents of guardians are not written, because they follow from the dependents' entries.

use std::io::{Read, Write};

use citycode_log_position::{BucketTail, CommitHash, Revision};

use super::HolderRegister;
use super::arena::first_entry;
use super::packing::Packed;
use super::partition::PartitionTails;
use crate::foreign::{self, ForeignMessages};
use crate::snapshot::{
    FORMAT_WITHOUT_TREES, Header, Input, LoadError, LogIdentity, Output, ProjectionKind, SaveError, read_header,
    write_header,
};

const TAILS: [u8; 4] = *b"tail";
const HOLDERS: [u8; 4] = *b"hold";

/// A chunk is written when it has this many bytes, which suits the checksum.
const CHUNK_BYTES: usize = 64 * 1024;
/// Maximum length of a chunk: enough for a million slots of one holder, while no holder has a hundred.
const MAX_CHUNK_BYTES: usize = 1 << 26;

impl HolderRegister {
    /// Writes a snapshot as of the last folded commits. Folding waits, and decisions that need a tail may wait
    /// too, so `out` must be fast, such as a file that is synchronised afterwards.
    ///
    /// # Errors
    /// [`SaveError`].
    pub fn save(&self, identity: &LogIdentity, out: impl Write) -> Result<(), SaveError> {
        // All locks are held to the end: points, tails and holders must be consistent.
        let partitions: Vec<_> = self.partitions.iter().map(|tails| tails.read()).collect();
        let mut out = Output::new(out);
        let points: Vec<_> = partitions.iter().map(|tails| tails.point).collect();
        let kind = (ProjectionKind::Register, FORMAT_WITHOUT_TREES);
        write_header(&mut out, kind, identity, &points)?;
        out.put(&TAILS)?;
        for tails in &partitions {
            let sorted = tails.sorted();
            let count = u32::try_from(sorted.len()).expect("buckets have 16 bits");
            out.put(&count.to_le_bytes())?;
            for (bucket, tail) in sorted {
                out.put(&bucket.to_le_bytes())?;
                out.put(&tail.revision.to_raw().to_le_bytes())?;
                out.put(&tail.hash.0)?;
            }
        }
        out.put(&HOLDERS)?;
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        for shard in &self.shards {
            for entry in shard.read().live_entries() {
                if !chunk.is_empty() && chunk.len() + entry.len() > CHUNK_BYTES {
                    put_chunk(&mut out, &mut chunk)?;
                }
                chunk.extend_from_slice(entry);
            }
        }
        if !chunk.is_empty() {
            put_chunk(&mut out, &mut chunk)?;
        }
        out.put(&0u32.to_le_bytes())?;
        out.put(&foreign::SECTION)?;
        for tails in &partitions {
            tails.foreign.save(&mut out)?;
        }
        out.finish()
    }

    /// Loads a snapshot of this log; folding continues after the points of the register.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(identity: &LogIdentity, input: impl Read) -> Result<Self, LoadError> {
        let mut input = Input::new(input);
        let Header { format, points } = read_header(&mut input, ProjectionKind::Register, identity)?;
        let register = Self::new(identity.partitions);
        input.expect_section(TAILS)?;
        for (partition, point) in register.partitions.iter().zip(points) {
            let mut tails = partition.write();
            tails.point = point;
            load_tails(&mut input, &mut tails)?;
        }
        input.expect_section(HOLDERS)?;
        let mut chunk = Vec::new();
        let mut packed = Packed::default();
        loop {
            match input.u32()? as usize {
                0 => break,
                len if len > MAX_CHUNK_BYTES => {
                    return Err(LoadError::Damaged("a chunk is too long"));
                }
                len => input.take_vec(len, &mut chunk)?,
            }
            register.load_chunk(&chunk, &mut packed)?;
        }
        if format >= 3 {
            input.expect_section(foreign::SECTION)?;
            for partition in &register.partitions {
                partition.write().foreign = ForeignMessages::load(&mut input)?;
            }
        }
        input.finish()?;
        register.find_orphaned();
        Ok(register)
    }

    fn load_chunk(&self, mut chunk: &[u8], packed: &mut Packed) -> Result<(), LoadError> {
        while !chunk.is_empty() {
            let entry = first_entry(chunk).ok_or(LoadError::Damaged("a holder is cut short"))?;
            let (whole, rest) = chunk.split_at(entry.len);
            chunk = rest;
            // Every holder is unpacked, so that a later read cannot meet invalid bytes.
            packed
                .unpack(entry.body)
                .ok_or(LoadError::Damaged("a holder cannot be unpacked"))?;
            for guardian in &packed.state.guardians {
                self.dependents.add(*guardian, entry.holder);
            }
            if !self.shard(entry.holder).write().restore(entry.holder, whole) {
                return Err(LoadError::Damaged("a holder occurs twice"));
            }
        }
        Ok(())
    }
}

fn put_chunk<W: Write>(out: &mut Output<W>, chunk: &mut Vec<u8>) -> Result<(), SaveError> {
    let len = u32::try_from(chunk.len()).expect("a chunk has at most MAX_CHUNK_BYTES");
    out.put(&len.to_le_bytes())?;
    out.put(chunk)?;
    chunk.clear();
    Ok(())
}

fn load_tails<R: Read>(input: &mut Input<R>, tails: &mut PartitionTails) -> Result<(), LoadError> {
    let mut last = None;
    for _ in 0..input.u32()? {
        let bucket = u16::from_le_bytes(input.array()?);
        if last.replace(bucket).is_some_and(|last| last >= bucket) {
            return Err(LoadError::Damaged("buckets are not in ascending order"));
        }
        let tail = BucketTail {
            revision: Revision::from_raw(input.u64()?),
            hash: CommitHash(input.array()?),
        };
        tails.set(bucket, tail);
    }
    Ok(())
}
