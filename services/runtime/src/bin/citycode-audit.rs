//! The program `citycode-audit`.

use std::process::ExitCode;

use citycode_runtime::distributed::{self, Role};

fn main() -> ExitCode {
    distributed::main(Role::Audit)
}
