//! Finds the programs under test, because cargo gives a test no path to the programs of another package.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The program `name` in the target folder of this test, where `cargo build --workspace --bins --tests` puts it.
///
/// # Panics
/// If it is missing, or if one of its sources was changed after it was built: a test of an old program proves nothing.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    // target/PROFILE/deps/TEST
    let folder = test.parent().and_then(Path::parent).expect("the folder of the profile");
    let program = folder.join(name);
    let built = fs::metadata(&program).and_then(|file| file.modified());
    let built = built.unwrap_or_else(|error| panic!("{}: {error}; {HOW_TO_BUILD}", program.display()));
    if let Some(newer) = newer_source(&folder.join(format!("{name}.d")), built) {
        panic!(
            "{} is newer than {}; {HOW_TO_BUILD}",
            newer.display(),
            program.display()
        );
    }
    program
}

const HOW_TO_BUILD: &str = "build the programs first: cargo build --workspace --bins --tests";

/// A source named in a dependency file (Makefile syntax, one rule) that is newer than `built`.
fn newer_source(dependencies: &Path, built: SystemTime) -> Option<PathBuf> {
    let rule = fs::read_to_string(dependencies).expect("cargo writes the sources of a program beside it");
    let (_, sources) = rule.split_once(": ").expect("a rule");
    let mut sources = sources.split_ascii_whitespace().map(PathBuf::from);
    sources.find(|source| {
        let modified = fs::metadata(source).and_then(|file| file.modified());
        // A removed source counts as changed.
        modified.map_or(true, |modified| modified > built)
    })
}
