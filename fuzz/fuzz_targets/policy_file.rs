//! The libFuzzer binary of `citycode_fuzz::policy_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| citycode_fuzz::policy_file::run(input));
