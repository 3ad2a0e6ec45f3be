//! Reads image files and prints the text and the time it took: `cargo run -p citycode-qr --example read --
//! FILE...`.

#![expect(clippy::disallowed_methods, reason = "the example measures time")]

use std::io::Write as _;
use std::time::Instant;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    for path in std::env::args().skip(1) {
        let bytes = std::fs::read(&path)?;
        let start = Instant::now();
        let read = citycode_qr::read_image(&bytes);
        let took = start.elapsed().as_millis();
        match read {
            Ok(text) => writeln!(out, "{path}: {took} ms: {text}")?,
            Err(error) => writeln!(out, "{path}: {took} ms: {error}")?,
        }
    }
    Ok(())
}
