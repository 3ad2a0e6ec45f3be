//! The program `citycode-issuer`.

use std::process::ExitCode;

use citycode::distributed::{self, Role};

fn main() -> ExitCode {
    distributed::main(Role::Issuer)
}
