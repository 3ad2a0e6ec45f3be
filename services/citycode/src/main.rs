//! The program `citycode`. It makes the clock and the runtime and hands over to the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    citycode::run(std::env::args_os())
}
