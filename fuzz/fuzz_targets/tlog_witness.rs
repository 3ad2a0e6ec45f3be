//! The libFuzzer binary of `citycode_fuzz::tlog_witness`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| citycode_fuzz::tlog_witness::run(input));
