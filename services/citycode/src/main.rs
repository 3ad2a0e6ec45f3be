//! The program `citycode`.

use std::process::ExitCode;

fn main() -> ExitCode {
    citycode::run(std::env::args_os())
}
