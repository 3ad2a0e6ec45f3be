//! The libFuzzer binary of `citycode_fuzz::id_number`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| citycode_fuzz::id_number::run(input));
