//! Fuzz targets: properties that the decoders of untrusted input must have for every input. Each module is one target.
//!
//! A target is an ordinary function over bytes that panics if a property does not hold, so that libFuzzer
//! (`cargo xtask fuzz`) and the replay test of this crate run the same code. To add one, write
//!
//! 1. a module here with `pub fn run(input: &[u8])`, and its row in [`TARGETS`];
//! 2. a three-line binary in `fuzz_targets/` and its `[[bin]]` in `Cargo.toml`;
//! 3. a few valid inputs in `seeds/NAME/`, and `seeds/NAME.dict` where the format has key words.
//!
//! CI then finds the target by itself. An input that fails is stored in `regressions/NAME/`: commit it with the fix.

pub mod city;
pub mod cose;
pub mod id_number;
pub mod image;
pub mod policy_file;
pub mod proof;
pub mod residents_csv;
pub mod scan_chunk;
pub mod status_list;
pub mod tlog;
pub mod tlog_note;
pub mod tlog_proof;
pub mod tlog_tile;
pub mod tlog_witness;
pub mod token_text;

/// A target: it accepts any bytes, and a panic is a finding.
pub type Target = fn(&[u8]);

/// Every target with the name of its binary and of its folders.
pub const TARGETS: &[(&str, Target)] = &[
    ("cose", cose::run),
    ("id_number", id_number::run),
    ("image", image::run),
    ("policy_file", policy_file::run),
    ("proof", proof::run),
    ("residents_csv", residents_csv::run),
    ("scan_chunk", scan_chunk::run),
    ("status_list", status_list::run),
    ("tlog_note", tlog_note::run),
    ("tlog_proof", tlog_proof::run),
    ("tlog_tile", tlog_tile::run),
    ("tlog_witness", tlog_witness::run),
    ("token_text", token_text::run),
];
