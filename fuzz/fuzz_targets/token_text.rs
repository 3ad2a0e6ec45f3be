//! The libFuzzer binary of `citycode_fuzz::token_text`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| citycode_fuzz::token_text::run(input));
