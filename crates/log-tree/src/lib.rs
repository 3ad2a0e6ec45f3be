//! The log's Merkle trees: one for each partition, over its commits, published as C2SP tiles with signed checkpoints.
//!
//! The trees are derived from the log and can be written again from it; only the last signed checkpoint is not. What a
//! leaf contains and why it may be public is decision 38, who signs and where it is published is decision 40.
//!
//! | module | content |
//! |---|---|
//! | [`leaves`] | from a commit to its leaves: which statements about codes an event makes |
//! | `places` | from a position to its leaves, on disk |
//! | `tree` | the tree of one partition on disk |
//! | [`publish`] | the trees of all partitions, their checkpoints, and proofs |
//! | `cosigned` | the recent checkpoints that witnesses cosigned |
//! | [`check`] | reads a whole log and names what is wrong with it |
//! | [`folded`] | the trees of what a verifier has folded, in memory |
//! | [`witnessed`] | compares these with checkpoints that witnesses cosigned (decision 45) |

pub mod check;
mod cosigned;
pub mod folded;
pub mod leaves;
mod places;
pub mod publish;
mod tree;
pub mod witnessed;

pub use folded::FoldedTrees;
pub use publish::{LogTrees, ProveError, Stopped, TileFolder, TreeFold};
pub use tree::TreeError;
pub use witnessed::{CompareError, Compared, LogFiles, WitnessedLog};
