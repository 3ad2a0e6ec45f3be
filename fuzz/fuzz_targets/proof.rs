//! The libFuzzer binary of `citycode_fuzz::proof`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| citycode_fuzz::proof::run(input));
