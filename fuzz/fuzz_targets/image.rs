//! libFuzzer's way into `citycode_fuzz::image`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    // libFuzzer's hook would abort at a panic that the image reader catches; one that gets out still aborts.
    init: drop(std::panic::take_hook()),
    |input: &[u8]| citycode_fuzz::image::run(input)
);
