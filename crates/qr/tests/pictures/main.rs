//! Tests of pictures through the crate's public interface: drawn, photographed, damaged, printed.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, and measure time limits"
)]

mod camera;
mod drawing;
mod hostile;
mod photographs;
mod printing;
