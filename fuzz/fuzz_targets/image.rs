//! The libFuzzer binary of `citycode_fuzz::image`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    // libFuzzer's panic hook would abort at panics that the image reader catches; an uncaught one still aborts.
    init: drop(std::panic::take_hook()),
    |input: &[u8]| citycode_fuzz::image::run(input)
);
