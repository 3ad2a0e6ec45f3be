//! The libFuzzer binary of `citycode_fuzz::residents_csv`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| citycode_fuzz::residents_csv::run(input));
