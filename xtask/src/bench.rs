//! `cargo xtask bench`: the promised figures, measured by the optimised benchmark program.
//!
//! The benchmark program has the list of names; this module only builds and starts it.

use anyhow::{Result, bail};

use crate::process::{cargo, run};
use crate::workspace::Workspace;

const BENCH_PACKAGE: &str = "citycode-bench";
/// The benchmark that measures processes of the product.
const PROCESS_BENCH: &str = "snapshot";

/// Passes all arguments on: `NAME [--json FILE]` or `--list`.
pub(crate) fn command(workspace: &Workspace, rest: &[String]) -> Result<()> {
    if rest.is_empty() {
        bail!("name a benchmark, or use --list for all names");
    }
    if !workspace
        .packages
        .iter()
        .any(|package| package.name.as_str() == BENCH_PACKAGE)
    {
        bail!("there is no package {BENCH_PACKAGE} in this workspace (expected in crates/bench)");
    }
    if rest[0] == PROCESS_BENCH {
        // It starts the product's own programs, which are in the same folder.
        run(cargo(workspace).args(["build", "--quiet", "--release", "--bins"]))?;
    }
    run(cargo(workspace)
        .args(["run", "--quiet", "--release", "--package", BENCH_PACKAGE, "--"])
        .args(rest))
}
