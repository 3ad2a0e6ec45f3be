//! Names of tiles and entry bundles.
//!
//! ```text
//! tile   = "tile/" level "/" number [ partial ]     level: 0 to 7, see below
//! bundle = "tile/entries/" number [ partial ]
//! number = *( "x" 3DIGIT "/" ) 3DIGIT               1234067 is x001/x234/067
//! partial = ".p/" width                             1 to 255, no leading zeros
//! ```
//!
//! C2SP allows levels up to 63, but no tree of at most [`MAX_TREE_SIZE`] leaves has a tile above level 7.

use std::fmt;
use std::str::FromStr;

use super::{TILE_HEIGHT, TILE_WIDTH};
use crate::tree::{MAX_TREE_SIZE, NodeId};

/// The highest level that a tree of [`MAX_TREE_SIZE`] leaves has tiles of.
const MAX_LEVEL: u8 = 7;
/// Longest path: `tile/entries/`, six groups of four characters less one, and `.p/255`.
const MAX_PATH_BYTES: usize = 48;

/// A tile of hashes: `width` consecutive nodes of tree level `8 · level`, from node `256 · index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    level: u8,
    index: u64,
    width: u16,
}

/// A bundle of entries: those whose leaf hashes the level 0 tile with the same number and width contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BundleId {
    index: u64,
    width: u16,
}

/// The text is not the path of a tile or a bundle of any tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the path of a tile")]
pub struct TilePathInvalid;

impl TileId {
    /// The tile with this number as a tree of `size` leaves has it; `None` if that tree has no such tile.
    #[must_use]
    pub fn in_tree(level: u8, index: u64, size: u64) -> Option<Self> {
        if level > MAX_LEVEL || size > MAX_TREE_SIZE {
            return None;
        }
        let nodes = size >> (TILE_HEIGHT * level);
        let first = index.checked_mul(u64::from(TILE_WIDTH))?;
        let width = nodes.checked_sub(first)?.min(u64::from(TILE_WIDTH));
        let width = u16::try_from(width).expect("a tile has at most 256 hashes");
        (width > 0).then_some(Self { level, index, width })
    }

    /// The tile that contains the hashes under a node, as a tree of `size` leaves has it, and where in the tile they
    /// are. `None` if the tree has no such node.
    pub(crate) fn of_node(node: NodeId, size: u64) -> Option<(Self, std::ops::Range<usize>)> {
        let (level, height) = (node.level / TILE_HEIGHT, node.level % TILE_HEIGHT);
        // Otherwise the shifts below lose bits.
        if node.index.checked_add(1)? > size.checked_shr(u32::from(node.level))? {
            return None;
        }
        let first = node.index << height;
        let tile = Self::in_tree(level, first / u64::from(TILE_WIDTH), size)?;
        let start = usize::try_from(first % u64::from(TILE_WIDTH)).expect("below 256");
        Some((tile, start..start + (1 << height)))
    }

    /// The tile that contains this tile's root; `None` if this tile is partial, so that no tile does.
    pub(crate) fn parent(self, size: u64) -> Option<(Self, usize)> {
        if self.width < TILE_WIDTH {
            return None;
        }
        let root = NodeId {
            level: (self.level + 1) * TILE_HEIGHT,
            index: self.index,
        };
        Self::of_node(root, size).map(|(tile, place)| (tile, place.start))
    }

    /// The tiles on the right edge of a tree that are partial, from the highest level to the leaves. They contain the
    /// hashes of which the root of the tree is folded.
    pub(crate) fn right_edge(size: u64) -> impl Iterator<Item = Self> {
        // The tile after the full ones of a level has fewer than 256 hashes; without any, it does not exist.
        let at = move |level| Self::in_tree(level, (size >> (TILE_HEIGHT * level)) / u64::from(TILE_WIDTH), size);
        (0..=MAX_LEVEL).rev().filter_map(at)
    }

    pub(crate) const fn full(level: u8, index: u64) -> Self {
        Self {
            level,
            index,
            width: TILE_WIDTH,
        }
    }

    /// This tile once it is full.
    #[must_use]
    pub const fn when_full(self) -> Self {
        Self::full(self.level, self.index)
    }

    /// Its level: 0 contains leaf hashes, and each hash of level n + 1 is the root of a full tile of level n.
    #[must_use]
    pub const fn level(self) -> u8 {
        self.level
    }

    /// Its number within the level, from 0.
    #[must_use]
    pub const fn index(self) -> u64 {
        self.index
    }

    /// How many hashes it contains: 1 to [`TILE_WIDTH`].
    #[must_use]
    pub const fn width(self) -> u16 {
        self.width
    }

    /// The bundle of the entries of a level 0 tile; `None` for a higher level.
    #[must_use]
    pub fn bundle(self) -> Option<BundleId> {
        (self.level == 0).then_some(BundleId {
            index: self.index,
            width: self.width,
        })
    }
}

impl BundleId {
    /// The level 0 tile with the leaf hashes of these entries.
    #[must_use]
    pub const fn tile(self) -> TileId {
        TileId {
            level: 0,
            index: self.index,
            width: self.width,
        }
    }
}

fn write_number(f: &mut fmt::Formatter<'_>, index: u64, width: u16) -> fmt::Result {
    let mut groups = Vec::new();
    let mut rest = index;
    loop {
        groups.push(rest % 1000);
        rest /= 1000;
        if rest == 0 {
            break;
        }
    }
    while groups.len() > 1 {
        write!(f, "x{:03}/", groups.pop().expect("more than one group is left"))?;
    }
    write!(f, "{:03}", groups[0])?;
    if width < TILE_WIDTH {
        write!(f, ".p/{width}")?;
    }
    Ok(())
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/{}/", self.level)?;
        write_number(f, self.index, self.width)
    }
}

impl fmt::Display for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tile/entries/")?;
        write_number(f, self.index, self.width)
    }
}

/// A number of up to 20 digits without leading zeros.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let canonical = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !canonical || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    text.parse().ok()
}

fn parse_number(text: &str) -> Option<(u64, u16)> {
    let (number, width) = match text.split_once(".p/") {
        Some((number, width)) => (number, u16::try_from(decimal(width)?).ok()?),
        None => (text, TILE_WIDTH),
    };
    if width == 0 || (width >= TILE_WIDTH && text.contains(".p/")) {
        return None;
    }
    let groups: Vec<&str> = number.split('/').collect();
    let (last, first) = groups.split_last()?;
    let mut index = 0_u64;
    for group in first.iter().map(|group| group.strip_prefix('x')).chain([Some(*last)]) {
        let group = group.filter(|group| group.len() == 3 && group.bytes().all(|byte| byte.is_ascii_digit()))?;
        index = index.checked_mul(1000)?.checked_add(group.parse().ok()?)?;
    }
    // `x000/001` is not how number 1 is written.
    if first.first().is_some_and(|group| *group == "x000") {
        return None;
    }
    Some((index, width))
}

/// Whether some tree has this tile.
fn exists(level: u8, index: u64, width: u16) -> bool {
    TileId::in_tree(level, index, MAX_TREE_SIZE).is_some_and(|tile| tile.width >= width)
}

impl FromStr for TileId {
    type Err = TilePathInvalid;

    fn from_str(path: &str) -> Result<Self, TilePathInvalid> {
        let parse = || {
            let (level, number) = path.strip_prefix("tile/")?.split_once('/')?;
            let level = u8::try_from(decimal(level)?).ok()?;
            let (index, width) = parse_number(number)?;
            exists(level, index, width).then_some(Self { level, index, width })
        };
        if path.len() > MAX_PATH_BYTES {
            return Err(TilePathInvalid);
        }
        parse().ok_or(TilePathInvalid)
    }
}

impl FromStr for BundleId {
    type Err = TilePathInvalid;

    fn from_str(path: &str) -> Result<Self, TilePathInvalid> {
        let parse = || {
            let (index, width) = parse_number(path.strip_prefix("tile/entries/")?)?;
            exists(0, index, width).then_some(Self { index, width })
        };
        if path.len() > MAX_PATH_BYTES {
            return Err(TilePathInvalid);
        }
        parse().ok_or(TilePathInvalid)
    }
}
