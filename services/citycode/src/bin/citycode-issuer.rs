//! The program `citycode-issuer`.

use std::process::ExitCode;

use citycode::apart::{self, Role};

fn main() -> ExitCode {
    apart::main(Role::Issuer)
}
