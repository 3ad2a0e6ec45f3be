//! Transparency logs: RFC 6962 Merkle trees, published as C2SP tiles with signed checkpoints, and the salted leaves of
//! the event log. What is stated here can be checked by anybody with the log's public key, without trusting its operator.
//!
//! | module | standard | what |
//! |---|---|---|
//! | [`hash`], [`tree`] | RFC 6962, RFC 9162 | hashes, compact ranges, inclusion and consistency proofs |
//! | [`tile`] | C2SP tlog-tiles | the writer of tiles, and the reader that verifies each tile before use |
//! | [`note`] | C2SP signed-note, tlog-cosignature | notes, verifier keys, Ed25519 signatures and cosignatures |
//! | [`checkpoint`] | C2SP tlog-checkpoint | signed tree heads |
//! | [`policy`] | | the keys that a reader trusts, and the quorum of witnesses |
//! | [`proof`] | C2SP tlog-proof | proofs in a file, which are verified offline |
//! | [`witness`] | C2SP tlog-witness | the rule by which a witness cosigns |
//! | [`leaf`], [`statement`] | own | what the log's trees commit to |
//!
//! This crate knows neither the event log, nor a network, nor a clock. A program gives it leaf hashes and a store for
//! tiles, or bytes of a request and the time.
//!
//! # Who detects what
//! A changed, dropped, inserted or reordered leaf changes the root of every later tree, so that no consistency proof
//! connects it with an earlier checkpoint ([`tree::verify_consistency`]). A log that shows two readers two trees must
//! sign two checkpoints without such a proof; a witness cosigns only one of them ([`witness`]), and a reader that
//! demands cosignatures refuses the other ([`policy`]). A server of tiles that serves other bytes is found by the first
//! tile that is used ([`tile::VerifiedTiles`]).

mod base64;
pub mod checkpoint;
pub mod hash;
pub mod leaf;
pub mod note;
pub mod policy;
pub mod proof;
pub mod statement;
pub mod tile;
pub mod tree;
pub mod witness;

pub use checkpoint::{Checkpoint, SignedCheckpoint};
pub use hash::{Hash, leaf_hash, node_hash};
pub use note::{KeyKind, NoteSigner, SignedNote, VerifierKey};
pub use policy::TrustPolicy;
pub use proof::LogProof;
pub use tree::{CompactRange, TreeHead};
