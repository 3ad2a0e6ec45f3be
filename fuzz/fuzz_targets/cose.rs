//! The libFuzzer binary of `citycode_fuzz::cose`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| citycode_fuzz::cose::run(input));
