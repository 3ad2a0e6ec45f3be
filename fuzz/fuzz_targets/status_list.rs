//! The libFuzzer binary of `citycode_fuzz::status_list`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| citycode_fuzz::status_list::run(input));
