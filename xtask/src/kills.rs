//! `cargo xtask kills`: kills the system with `kill -9` many times while it is written to and while it starts. No start may
//! be refused afterwards.
//!
//! The gate runs the same test with a few kills; this is run by hand.

use anyhow::{Context, Result, bail};

use crate::process::{cargo, run};
use crate::tools;
use crate::workspace::Workspace;

/// Kills by default: as many as the durability of the mark was promised for.
const KILLS: u32 = 1_000;
/// The variable with the number, and the test that reads it.
const VARIABLE: &str = "CITYCODE_TEST_KILLS";
const TEST: &str = "test(=lost_changes::kills::kill_9_is_not_mistaken_for_a_loss)";

/// `kills [N]`.
pub(crate) fn command(workspace: &Workspace, rest: &[String]) -> Result<()> {
    let kills = match rest {
        [] => KILLS,
        [number] => number.parse().context("the number of kills")?,
        _ => bail!("only the number of kills is expected"),
    };
    let mut command = cargo(workspace);
    command
        .env("PATH", tools::path_with_tools(workspace)?)
        .env(VARIABLE, kills.to_string())
        // Built like the tests, with all packages together; the profile has no time limit.
        .args([
            "nextest",
            "run",
            "--locked",
            "--workspace",
            "--profile",
            "long",
            "--no-capture",
        ])
        .args(["-E", TEST]);
    run(&mut command)
}
