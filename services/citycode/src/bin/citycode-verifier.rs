//! The program `citycode-verifier`.

use std::process::ExitCode;

use citycode::apart::{self, Role};

fn main() -> ExitCode {
    apart::main(Role::Verifier)
}
