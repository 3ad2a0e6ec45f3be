//! The libFuzzer binary of `citycode_fuzz::scan_chunk`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| citycode_fuzz::scan_chunk::run(input));
