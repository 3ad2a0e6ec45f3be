//! Checks the protobuf files with a linter, and their compatibility with the last release.

use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{at_root, run};
use crate::steps::Outcome;
use crate::tools;
use crate::workspace::Workspace;

/// Runs `buf lint`, and `buf breaking` against the last version tag that contains protobuf files.
pub(crate) fn check(workspace: &Workspace) -> Result<Outcome> {
    if !workspace.path("proto").is_dir() {
        return Ok(Outcome::Skipped("there is no proto/ yet".into()));
    }
    let buf = tools::program(workspace, "buf");
    run(at_root(workspace, &buf).args(["lint", "proto"]))?;
    match last_release_with_protos(workspace)? {
        Some(tag) => run(at_root(workspace, &buf)
            .args(["breaking", "proto", "--against"])
            .arg(format!(".git#tag={tag},subdir=proto")))?,
        None => println!("no version tag contains protobuf files yet: compatibility is not checked"),
    }
    Ok(Outcome::Done)
}

fn last_release_with_protos(workspace: &Workspace) -> Result<Option<String>> {
    let tags = git(workspace, &["tag", "--list", "v[0-9]*", "--sort=-version:refname"])?;
    for tag in tags.lines() {
        if !git(workspace, &["ls-tree", "--name-only", tag, "proto/buf.yaml"])?
            .trim()
            .is_empty()
        {
            return Ok(Some(tag.to_owned()));
        }
    }
    Ok(None)
}

fn git(workspace: &Workspace, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(&workspace.root)
        .output()
        .context("git")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
