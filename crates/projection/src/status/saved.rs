//! The status projection as a snapshot file.
//!
//! ```text
//! sections  = "key." fingerprint-key:16
//!             "time" retired-through:i64 alarm-count:u64
//!             "list" count:u32 list*                       ascending by id
//!             "hold" count:u64 ( holder:16 standing:u8 )*  not green; ascending by holder; 1 yellow, 2 red
//! list      = id:u32 count:u32 ( number:u32 block:14592 )* ascending by number
//! block     = 228 lines of 16 u32: entry i of a line is bits 28 i to 28 i + 27 of its 512, low bits first
//! ```
//! Fingerprints are worth nothing without the key, so it stands in the file: the file is as secret as the key.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use citycode_domain::ids::{HolderId, ListId};
use citycode_domain::standing::Standing;

use super::block::{BLOCK_BYTES, BLOCK_LEN, Block, List, MAX_BLOCKS};
use super::entry::standing_number;
use super::fingerprint::FingerprintKey;
use super::partition::{Lists, PartitionStatus};
use super::published::Shared;
use super::reader::{PartitionPoint, StatusReader};
use super::standings::Standings;
use super::writer::StatusWriter;
use crate::snapshot::{Input, LoadError, LogIdentity, Output, ProjectionKind, SaveError, read_header, write_header};

const KEY: [u8; 4] = *b"key.";
const TIME: [u8; 4] = *b"time";
const LISTS: [u8; 4] = *b"list";
const HOLDERS: [u8; 4] = *b"hold";

impl StatusWriter {
    /// Writes a snapshot as of the last commit folded. Readers go on; folding waits, because this borrows the writer.
    ///
    /// # Errors
    /// [`SaveError`].
    pub fn save(&self, identity: &LogIdentity, out: impl Write) -> Result<(), SaveError> {
        let shared = &self.shared;
        let mut out = Output::new(out);
        let partitions = shared.partitions.iter();
        let points: Vec<_> = partitions.map(PartitionStatus::point_unguarded).collect();
        write_header(&mut out, ProjectionKind::Status, identity, &points)?;
        out.put(&KEY)?;
        out.put(&shared.key.0)?;
        out.put(&TIME)?;
        out.put(&self.retired_through().0.to_le_bytes())?;
        let alarm_count = shared.alarm_count.load(Ordering::Relaxed);
        out.put(&alarm_count.to_le_bytes())?;
        out.put(&LISTS)?;
        let ids = shared.lists();
        out.put(&count32(ids.len()).to_le_bytes())?;
        let mut bytes = Box::new([0; BLOCK_BYTES]);
        for id in ids {
            let list = shared
                .partition_of(id)
                .and_then(|partition| partition.lists.load().get(&id).cloned())
                .expect("only the writer, borrowed here, takes lists away");
            out.put(&id.0.to_le_bytes())?;
            out.put(&count32(list.blocks().count()).to_le_bytes())?;
            for (number, block) in list.blocks() {
                out.put(&number.to_le_bytes())?;
                block.copy_to(&mut bytes);
                out.put(&bytes[..])?;
            }
        }
        out.put(&HOLDERS)?;
        let standings = shared.standings.sorted();
        out.put(&(standings.len() as u64).to_le_bytes())?;
        for (holder, standing) in standings {
            out.put(&holder.0)?;
            out.put(&[standing_number(standing) as u8])?;
        }
        out.finish()
    }
}

fn count32(count: usize) -> u32 {
    u32::try_from(count).expect("list ids have 32 bits, and a list has 65,536 blocks")
}

/// Takes a snapshot of this very log; folding goes on after the points that the writer then tells.
///
/// # Errors
/// [`LoadError`].
pub fn load(identity: &LogIdentity, input: impl Read) -> Result<(StatusWriter, StatusReader), LoadError> {
    let mut input = Input::new(input);
    let points = read_header(&mut input, ProjectionKind::Status, identity)?;
    input.expect_section(KEY)?;
    let key = FingerprintKey(input.array()?);
    input.expect_section(TIME)?;
    let retired_through = i64::from_le_bytes(input.array()?);
    let alarm_count = input.u64()?;
    input.expect_section(LISTS)?;
    let (lists, places) = load_lists(&mut input, identity.partitions)?;
    input.expect_section(HOLDERS)?;
    let standings = load_standings(&mut input)?;
    input.finish()?;
    let partitions = lists
        .into_iter()
        .zip(points)
        .map(|(lists, point)| PartitionStatus::at(point, lists));
    Ok(StatusWriter::over(Shared {
        key,
        partitions: partitions.collect(),
        standings,
        retired_through: AtomicI64::new(retired_through),
        alarm_count: AtomicU64::new(alarm_count),
        allocated_places: AtomicU64::new(places),
    }))
}

/// The lists of each partition, and how many places they have.
fn load_lists<R: Read>(input: &mut Input<R>, partitions: u16) -> Result<(Vec<Lists>, u64), LoadError> {
    let mut all: Vec<Lists> = (0..partitions).map(|_| Lists::default()).collect();
    let mut places = 0;
    let mut bytes = Box::new([0; BLOCK_BYTES]);
    let mut last_id = None;
    for _ in 0..input.u32()? {
        let id = ListId(input.u32()?);
        if last_id.replace(id).is_some_and(|last| last >= id) {
            return Err(LoadError::Damaged("lists are not in ascending order"));
        }
        let lists = all
            .get_mut(usize::from(id.partition()))
            .ok_or(LoadError::Damaged("a list of no partition"))?;
        let list = List::new();
        let mut last_number = None;
        for _ in 0..input.u32()? {
            let number = input.u32()?;
            if last_number.replace(number).is_some_and(|last| last >= number) {
                return Err(LoadError::Damaged("blocks are not in ascending order"));
            }
            if number >= MAX_BLOCKS {
                return Err(LoadError::Damaged("a block past a list's end"));
            }
            input.take(&mut bytes[..])?;
            list.block_or_insert(number * BLOCK_LEN, || Block::from_bytes(&bytes));
            places += u64::from(BLOCK_LEN);
        }
        lists.insert(id, Arc::new(list));
    }
    Ok((all, places))
}

fn load_standings<R: Read>(input: &mut Input<R>) -> Result<Standings, LoadError> {
    let standings = Standings::new();
    let mut last = None;
    for _ in 0..input.u64()? {
        let holder = HolderId(input.array()?);
        if last.replace(holder).is_some_and(|last| last >= holder) {
            return Err(LoadError::Damaged("holders are not in ascending order"));
        }
        let standing = match input.array()? {
            [1] => Standing::Yellow,
            [2] => Standing::Red,
            _ => return Err(LoadError::Damaged("a standing that is none")),
        };
        standings.set(holder, standing);
    }
    Ok(standings)
}

impl PartitionStatus {
    fn at(point: PartitionPoint, lists: Lists) -> Self {
        let partition = Self::default();
        partition.lists.store(Arc::new(lists));
        partition.write(point, || {});
        partition
    }
}
