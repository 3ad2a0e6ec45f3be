//! Saving the status projection to a snapshot file and loading it.
//!
//! ```text
//! sections  = "key." fingerprint-key:16
//!             "time" retired-through:i64 alarm-count:u64
//!             "name" count:u32 name*                       since format 2; ascending by id
//!             "list" count:u32 list*                       ascending by id
//!             "hold" count:u64 ( holder:16 standing:u8 )*  not green; ascending by holder; 1 yellow, 2 red
//!             "ends" known:u8 ( count:u32 ( bucket:u16 hash:u64 )* ){partitions}   since format 3; ascending by bucket: the first 8
//!                                                      bytes of the hash of its last commit
//!             "frgn" …                                     since format 3; see `foreign`
//!             "tree" ( length:u16 range:length ){partitions}   format 4: the tree of each partition at its point
//! name      = id:u32 partition:u16 kind:u8 retires-at:i64      what a version 2 list contains, also of retired lists
//! list      = id:u32 count:u32 ( number:u32 block:14592 )* ascending by number
//! block     = 228 lines of 16 u32: entry i of a line is bits 28 i to 28 i + 27 of its 512, low bits first
//! ```
//! A range is a compact range as the crate `transparency` serialises it. Here it is bytes: this crate knows no trees.
//!
//! Fingerprints are useless without the key, so the file contains it: the file is as secret as the key.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use citycode_domain::ids::{CodeKind, HolderId, ListFacts, ListId};
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;

use super::block::{BLOCK_BYTES, BLOCK_LEN, Block, MAX_BLOCKS};
use super::fingerprint::FingerprintKey;
use super::lists::{Known, Lists, Table};
use super::partition::PartitionStatus;
use super::published::Shared;
use super::reader::StatusReader;
use super::standings::Standings;
use super::writer::{Chains, StatusWriter};
use crate::foreign::{self, ForeignMessages};
use crate::point::PartitionPoint;
use crate::snapshot::{
    FORMAT_VERSION, FORMAT_WITHOUT_TREES, Header, Input, LoadError, LogIdentity, Output, ProjectionKind, SaveError,
    read_header, write_header,
};

const KEY: [u8; 4] = *b"key.";
const TIME: [u8; 4] = *b"time";
/// Since format 2.
const NAMES: [u8; 4] = *b"name";
const LISTS: [u8; 4] = *b"list";
const HOLDERS: [u8; 4] = *b"hold";
/// Since format 3.
const ENDS: [u8; 4] = *b"ends";
/// Format 4.
const TREES: [u8; 4] = *b"tree";
/// Longest range of a tree in bytes: more than the 62 hashes and two numbers of the largest one.
const MAX_TREE_BYTES: u16 = 2_048;

/// The serialised trees of the log in a snapshot, one for each partition; `None` in a snapshot without them.
pub type SavedTrees = Option<Vec<Vec<u8>>>;

impl StatusWriter {
    /// Writes a snapshot as of the last folded commit. Readers continue; folding waits, because this borrows
    /// the writer.
    ///
    /// # Errors
    /// [`SaveError`].
    pub fn save(&self, identity: &LogIdentity, out: impl Write) -> Result<(), SaveError> {
        self.save_with_trees(identity, None, out)
    }

    /// As [`Self::save`], with the serialised tree of each partition as of its last folded commit.
    ///
    /// # Errors
    /// [`SaveError`].
    ///
    /// # Panics
    /// If a tree is longer than a serialised range can be, or there are not as many as partitions.
    pub fn save_with_trees(
        &self,
        identity: &LogIdentity,
        trees: Option<&[Vec<u8>]>,
        out: impl Write,
    ) -> Result<(), SaveError> {
        let shared = &self.shared;
        let mut out = Output::new(out);
        let partitions = shared.partitions.iter();
        let points: Vec<_> = partitions.map(PartitionStatus::point_unguarded).collect();
        let format = trees.map_or(FORMAT_WITHOUT_TREES, |_| FORMAT_VERSION);
        write_header(&mut out, (ProjectionKind::Status, format), identity, &points)?;
        out.put(&KEY)?;
        out.put(&shared.key.0)?;
        out.put(&TIME)?;
        out.put(&self.retired_through().0.to_le_bytes())?;
        let alarm_count = shared.alarm_count.load(Ordering::Relaxed);
        out.put(&alarm_count.to_le_bytes())?;
        let table = shared.lists.load_full();
        save_names(&mut out, &table)?;
        out.put(&LISTS)?;
        let ids = shared.lists();
        out.put(&count32(ids.len()).to_le_bytes())?;
        let mut bytes = Box::new([0; BLOCK_BYTES]);
        for id in ids {
            let list = table
                .get(&id)
                .and_then(|known| known.places.as_ref())
                .expect("only the writer, which is borrowed here, removes lists");
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
            out.put(&[standing.number()])?;
        }
        save_chains(&mut out, &self.chains, self.ends_are_known)?;
        if let Some(trees) = trees {
            assert_eq!(trees.len(), points.len(), "a tree for each partition");
            save_trees(&mut out, trees)?;
        }
        out.finish()
    }
}

fn save_trees<W: Write>(out: &mut Output<W>, trees: &[Vec<u8>]) -> Result<(), SaveError> {
    out.put(&TREES)?;
    for tree in trees {
        let length = u16::try_from(tree.len())
            .ok()
            .filter(|length| *length <= MAX_TREE_BYTES);
        out.put(&length.expect("a range has at most 62 hashes").to_le_bytes())?;
        out.put(tree)?;
    }
    Ok(())
}

/// Writes what version 2 lists contain, which their names do not encode.
fn save_names<W: Write>(out: &mut Output<W>, table: &Table) -> Result<(), SaveError> {
    let mut names: Vec<_> = table.iter().filter(|(id, _)| id.is_version_2()).collect();
    names.sort_unstable_by_key(|(id, _)| **id);
    out.put(&NAMES)?;
    out.put(&count32(names.len()).to_le_bytes())?;
    for (id, known) in names {
        let ListFacts {
            partition,
            kind,
            retires_at,
        } = known.facts;
        out.put(&id.0.to_le_bytes())?;
        out.put(&partition.to_le_bytes())?;
        out.put(&[kind.number()])?;
        out.put(&retires_at.0.to_le_bytes())?;
    }
    Ok(())
}

fn count32(count: usize) -> u32 {
    u32::try_from(count).expect("list ids have 32 bits, and a list has 65,536 blocks")
}

/// Loads a snapshot of this log; folding continues after the points of the writer.
///
/// # Errors
/// [`LoadError`].
pub fn load(identity: &LogIdentity, input: impl Read) -> Result<(StatusWriter, StatusReader), LoadError> {
    load_with_trees(identity, input).map(|(status, _)| status)
}

/// As [`load`], with the trees of the log.
///
/// # Errors
/// [`LoadError`].
pub fn load_with_trees(
    identity: &LogIdentity,
    input: impl Read,
) -> Result<((StatusWriter, StatusReader), SavedTrees), LoadError> {
    let mut input = Input::new(input);
    let Header { format, points } = read_header(&mut input, ProjectionKind::Status, identity)?;
    input.expect_section(KEY)?;
    let key = FingerprintKey(input.array()?);
    input.expect_section(TIME)?;
    let retired_through = i64::from_le_bytes(input.array()?);
    let alarm_count = input.u64()?;
    let mut table = Table::default();
    if format >= 2 {
        input.expect_section(NAMES)?;
        load_names(&mut input, identity.partitions, retired_through, &mut table)?;
    }
    input.expect_section(LISTS)?;
    let places = load_lists(&mut input, identity.partitions, &mut table)?;
    input.expect_section(HOLDERS)?;
    let standings = load_standings(&mut input)?;
    let chains = match format {
        3.. => Some(load_chains(&mut input, identity.partitions)?),
        _ => None,
    };
    let trees = match format {
        4.. => Some(load_trees(&mut input, identity.partitions)?),
        _ => None,
    };
    input.finish()?;
    let partitions = points.into_iter().map(PartitionStatus::at);
    let (mut writer, reader) = StatusWriter::over(Shared {
        key,
        partitions: partitions.collect(),
        lists: Lists::of(table),
        standings,
        uncertain: ArcSwap::default(),
        retired_through: AtomicI64::new(retired_through),
        alarm_count: AtomicU64::new(alarm_count),
        allocated_places: AtomicU64::new(places),
    });
    // An older file does not contain the tails of buckets: the next commit of each is accepted as it is.
    match chains {
        Some((chains, known)) => (writer.chains, writer.ends_are_known) = (chains, known),
        None => writer.ends_are_known = false,
    }
    Ok(((writer, reader), trees))
}

fn load_trees<R: Read>(input: &mut Input<R>, partitions: u16) -> Result<Vec<Vec<u8>>, LoadError> {
    input.expect_section(TREES)?;
    let tree = |_| {
        let length = u16::from_le_bytes(input.array()?);
        if length > MAX_TREE_BYTES {
            return Err(LoadError::Damaged("a tree is longer than a range can be"));
        }
        let mut tree = vec![0; usize::from(length)];
        input.take(&mut tree)?;
        Ok(tree)
    };
    (0..partitions).map(tree).collect()
}

fn save_chains<W: Write>(out: &mut Output<W>, chains: &[Chains], known: bool) -> Result<(), SaveError> {
    out.put(&ENDS)?;
    out.put(&[u8::from(known)])?;
    for chains in chains {
        let mut ends: Vec<_> = chains.ends.iter().map(|(bucket, hash)| (*bucket, *hash)).collect();
        ends.sort_unstable();
        out.put(&count32(ends.len()).to_le_bytes())?;
        for (bucket, hash) in ends {
            out.put(&bucket.to_le_bytes())?;
            out.put(&hash.to_le_bytes())?;
        }
    }
    out.put(&foreign::SECTION)?;
    chains.iter().try_for_each(|chains| chains.foreign.save(out))
}

fn load_chains<R: Read>(input: &mut Input<R>, partitions: u16) -> Result<(Box<[Chains]>, bool), LoadError> {
    let mut all: Box<[Chains]> = (0..partitions).map(|_| Chains::default()).collect();
    input.expect_section(ENDS)?;
    let [known] = input.array()?;
    for chains in &mut all {
        let mut last = None;
        for _ in 0..input.u32()? {
            let bucket = u16::from_le_bytes(input.array()?);
            if last.replace(bucket).is_some_and(|last| last >= bucket) {
                return Err(LoadError::Damaged("buckets are not in ascending order"));
            }
            chains.ends.insert(bucket, input.u64()?);
        }
    }
    input.expect_section(foreign::SECTION)?;
    for chains in &mut all {
        chains.foreign = ForeignMessages::load(input)?;
    }
    Ok((all, known != 0))
}

fn load_names<R: Read>(
    input: &mut Input<R>,
    partitions: u16,
    retired_through: i64,
    table: &mut Table,
) -> Result<(), LoadError> {
    let mut last_id = None;
    for _ in 0..input.u32()? {
        let id = ListId(input.u32()?);
        if last_id.replace(id).is_some_and(|last| last >= id) {
            return Err(LoadError::Damaged("names are not in ascending order"));
        }
        let partition = u16::from_le_bytes(input.array()?);
        let [kind] = input.array()?;
        let retires_at = Timestamp(i64::from_le_bytes(input.array()?));
        let kind = CodeKind::new(kind).ok_or(LoadError::Damaged("a list without a valid kind"))?;
        if partition >= partitions || !id.is_version_2() {
            return Err(LoadError::Damaged("a name with an unknown partition, or of version 1"));
        }
        let mut known = Known::new(ListFacts {
            partition,
            kind,
            retires_at,
        });
        if retires_at.0 <= retired_through {
            known.places = None;
        }
        table.insert(id, known);
    }
    Ok(())
}

/// Reads the lists in which codes were issued into the table; returns the number of their indices.
fn load_lists<R: Read>(input: &mut Input<R>, partitions: u16, table: &mut Table) -> Result<u64, LoadError> {
    let mut places = 0;
    let mut bytes = Box::new([0; BLOCK_BYTES]);
    let mut last_id = None;
    for _ in 0..input.u32()? {
        let id = ListId(input.u32()?);
        if last_id.replace(id).is_some_and(|last| last >= id) {
            return Err(LoadError::Damaged("lists are not in ascending order"));
        }
        let known = match table.get(&id) {
            Some(known) => known.clone(),
            None => ListFacts::of_version_1(id)
                .filter(|facts| facts.partition < partitions)
                .map(Known::new)
                .ok_or(LoadError::Damaged("a list with an unknown partition"))?,
        };
        let list = known.places.as_ref();
        let list = list.ok_or(LoadError::Damaged("a retired list has places"))?;
        let mut last_number = None;
        for _ in 0..input.u32()? {
            let number = input.u32()?;
            if last_number.replace(number).is_some_and(|last| last >= number) {
                return Err(LoadError::Damaged("blocks are not in ascending order"));
            }
            if number >= MAX_BLOCKS {
                return Err(LoadError::Damaged("a block beyond the end of a list"));
            }
            input.take(&mut bytes[..])?;
            list.block_or_insert(number * BLOCK_LEN, || Block::from_bytes(&bytes));
            places += u64::from(BLOCK_LEN);
        }
        table.insert(id, known);
    }
    Ok(places)
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
            _ => return Err(LoadError::Damaged("an invalid standing")),
        };
        standings.set(holder, standing);
    }
    Ok(standings)
}

impl PartitionStatus {
    fn at(point: PartitionPoint) -> Self {
        let partition = Self::default();
        partition.write(point, || {});
        partition
    }
}
