//! The program `citycode-verifier`.

use std::process::ExitCode;

use citycode_runtime::distributed::{self, Role};

fn main() -> ExitCode {
    distributed::main(Role::Verifier)
}
