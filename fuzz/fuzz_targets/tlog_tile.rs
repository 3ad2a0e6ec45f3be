//! The libFuzzer binary of `citycode_fuzz::tlog_tile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| citycode_fuzz::tlog_tile::run(input));
