//! What we promise for any input at all, one module a target.
//!
//! Each target is an ordinary function over bytes that panics when a promise breaks, so that libFuzzer
//! (`cargo xtask fuzz`) and the replay test of this crate run the very same code. To add one:
//!
//! 1. a module here with `pub fn run(input: &[u8])`, and its row in [`TARGETS`];
//! 2. a three-line binary in `fuzz_targets/` and its `[[bin]]` in `Cargo.toml`;
//! 3. a few valid inputs in `seeds/NAME/`, and `seeds/NAME.dict` where the format has key words.
//!
//! CI finds it from there on. An input that fails lands in `regressions/NAME/`: commit it with the mend.

pub mod city;
pub mod cose;
pub mod id_number;
pub mod image;
pub mod policy_file;
pub mod proof;
pub mod residents_csv;
pub mod status_list;
pub mod tlog;
pub mod tlog_note;
pub mod tlog_proof;
pub mod tlog_tile;
pub mod tlog_witness;
pub mod token_text;

/// A target: anything goes in, and a panic is a finding.
pub type Target = fn(&[u8]);

/// Every target by the name of its binary and folders.
pub const TARGETS: &[(&str, Target)] = &[
    ("cose", cose::run),
    ("id_number", id_number::run),
    ("image", image::run),
    ("policy_file", policy_file::run),
    ("proof", proof::run),
    ("residents_csv", residents_csv::run),
    ("status_list", status_list::run),
    ("tlog_note", tlog_note::run),
    ("tlog_proof", tlog_proof::run),
    ("tlog_tile", tlog_tile::run),
    ("tlog_witness", tlog_witness::run),
    ("token_text", token_text::run),
];
