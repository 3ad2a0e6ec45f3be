//! Locates where two trees differ: where a log forked, or which leaf was changed.

use super::{ReadError, TileReader, TileSource};
use crate::tree::{NodeId, cover};

/// Why two trees could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError<A: std::error::Error + 'static, B: std::error::Error + 'static> {
    /// The first tree cannot be read.
    #[error("the first tree cannot be read")]
    First(#[source] ReadError<A>),
    /// The second tree cannot be read.
    #[error("the second tree cannot be read")]
    Second(#[source] ReadError<B>),
}

/// The first leaf in which two trees differ, among those that both have; `None` if one is the beginning of the other.
/// Reads a path of tiles of each tree.
///
/// # Errors
/// If a tile of one of the trees is missing or wrong.
pub fn first_difference<A: TileSource, B: TileSource>(
    first: &mut TileReader<A>,
    second: &mut TileReader<B>,
) -> Result<Option<u64>, CompareError<A::Error, B::Error>> {
    let common = first.head().size.min(second.head().size);
    let mut differ = |node: NodeId| {
        let hash = first.node(node).map_err(CompareError::First)?;
        Ok(second.node(node).map_err(CompareError::Second)? != hash)
    };
    for mut node in cover(0, common) {
        if !differ(node)? {
            continue;
        }
        while node.level > 0 {
            node = NodeId {
                level: node.level - 1,
                index: 2 * node.index,
            };
            if !differ(node)? {
                node.index += 1;
            }
        }
        return Ok(Some(node.index));
    }
    Ok(None)
}
