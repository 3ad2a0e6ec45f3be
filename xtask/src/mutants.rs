//! `cargo xtask mutants`: how many faults that cargo-mutants plants in a crate are caught by that crate's own tests.
//!
//! It is run by hand and is no step of `cargo xtask test`, because it builds and tests a crate once for each mutant.
//! `.cargo/mutants.toml` excludes mutants that no test can catch, each with its reason. A run works on a copy of the
//! sources; its build folder and results are in `target/mutants`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{at_root, shown};
use crate::tools;
use crate::workspace::Workspace;

const FOLDER: &str = "target/mutants";
/// The share of viable mutants that the tests of a core crate must catch, in percent.
const GOAL_PERCENT: usize = 95;

/// A crate whose tests are held to [`GOAL_PERCENT`], with the files that the goal covers; all files if it names none.
struct Core {
    package: &'static str,
    files: &'static [&'static str],
}

const CORE: [Core; 6] = [
    Core {
        package: "citycode-domain",
        files: &[],
    },
    Core {
        package: "citycode-projection",
        files: &[],
    },
    Core {
        package: "citycode-holder-log",
        files: &[],
    },
    Core {
        package: "citycode-token",
        files: &[],
    },
    // The engine on JetStream is tested against NATS servers: a run of its mutants would take days.
    Core {
        package: "citycode-vault",
        files: &[
            "crates/vault/src/embedded.rs",
            "crates/vault/src/embedded/*.rs",
            "crates/vault/src/log_binding.rs",
            "crates/vault/src/names.rs",
            "crates/vault/src/page_keys.rs",
            "crates/vault/src/person.rs",
            "crates/vault/src/seal.rs",
        ],
    },
    // What one scan passes through between the API and the domain's verdict.
    Core {
        package: "citycode-verifier",
        files: &[
            "services/verifier/src/scan.rs",
            "services/verifier/src/request.rs",
            "services/verifier/src/memory.rs",
            "services/verifier/src/undelivered.rs",
            "services/verifier/src/wrong_cards.rs",
        ],
    },
];

/// `mutants CRATE [--again] [--file GLOB]…`.
pub(crate) fn command(workspace: &Workspace, rest: &[String]) -> Result<()> {
    let mut chosen = None;
    let mut again = false;
    let mut files: Vec<&str> = Vec::new();
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--again" => again = true,
            "--file" => files.push(words.next().context("--file needs a glob")?),
            flag if flag.starts_with('-') => bail!("unknown flag of mutants: {flag:?}"),
            name if chosen.is_none() => chosen = Some(name),
            extra => bail!("mutants takes one crate, and got {extra:?} too"),
        }
    }
    let name = chosen.context("name a crate: mutants CRATE")?;
    let package = package_named(workspace, name)?;
    let core = CORE.iter().find(|core| core.package == package);
    if files.is_empty() {
        files.extend(core.map_or(&[][..], |core| core.files));
    }
    let output = workspace.path(FOLDER).join(&package);
    run(workspace, &package, &files, again, &output)?;
    let tally = Tally::read(&output.join("mutants.out"))?;
    println!("{}", tally.report());
    if core.is_some() && !tally.reaches(GOAL_PERCENT) {
        bail!("the tests of {package} catch less than {GOAL_PERCENT} % of its mutants");
    }
    Ok(())
}

/// The package that is called `name`, with or without the prefix of all packages.
fn package_named(workspace: &Workspace, name: &str) -> Result<String> {
    let names = || workspace.packages.iter().map(|package| package.name.as_str());
    let full = format!("citycode-{name}");
    let found = names().find(|package| *package == name || *package == full);
    found.map(str::to_owned).with_context(|| {
        format!(
            "there is no package {name:?}; there are: {}",
            names().collect::<Vec<_>>().join(" ")
        )
    })
}

fn run(workspace: &Workspace, package: &str, files: &[&str], again: bool, output: &Path) -> Result<()> {
    let program = tools::ensure_cargo_mutants(workspace)?;
    std::fs::create_dir_all(output).with_context(|| output.display().to_string())?;
    // A run takes long, so it gives way to everything else on the machine.
    let mut command = at_root(workspace, "nice");
    command.args(["-n", "10"]).arg(program);
    command.args(["mutants", "--package", package, "--jobs", "1", "--colors", "never"]);
    files.iter().for_each(|file| {
        command.args(["--file", file]);
    });
    if again {
        command.arg("--iterate");
    }
    command.arg("--output").arg(output);
    command
        .env("CARGO_TARGET_DIR", workspace.path(FOLDER).join("build"))
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        // A mutant is caught by the first input that fails: there is no need to search for a smaller one.
        .env("PROPTEST_MAX_SHRINK_ITERS", "0")
        .env("PATH", tools::path_with_tools(workspace)?);
    println!("+ {}", shown(&command));
    let status = command.status().context("cannot start nice")?;
    match status.code() {
        // Everything was caught; something was missed; something ran into the time limit.
        Some(0 | 2 | 3) => Ok(()),
        _ => bail!(
            "cargo-mutants ended with {status}; its logs are in {}",
            output.display()
        ),
    }
}

/// The results of a run, as cargo-mutants lists them, one mutant a line.
#[derive(Default)]
struct Tally {
    caught: usize,
    /// The tests did not end within five times their usual time. A change that hangs is noticed, so it counts as
    /// caught.
    timeouts: usize,
    /// The mutant does not compile.
    unviable: usize,
    missed: Vec<String>,
}

impl Tally {
    fn read(folder: &Path) -> Result<Self> {
        let lines = |name: &str| -> Result<Vec<String>> {
            let path: PathBuf = folder.join(name);
            match std::fs::read_to_string(&path) {
                Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
                // Only a run with `--again` has a list of mutants that were caught before.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
                Err(error) => Err(error).with_context(|| path.display().to_string()),
            }
        };
        Ok(Self {
            caught: lines("caught.txt")?.len() + lines("previously_caught.txt")?.len(),
            timeouts: lines("timeout.txt")?.len(),
            unviable: lines("unviable.txt")?.len(),
            missed: lines("missed.txt")?,
        })
    }

    fn viable(&self) -> usize {
        self.caught + self.timeouts + self.missed.len()
    }

    fn reaches(&self, percent: usize) -> bool {
        (self.caught + self.timeouts) * 100 >= self.viable() * percent
    }

    fn report(&self) -> String {
        let mut text = String::from("\n== mutants\n");
        for missed in &self.missed {
            text += &format!("missed  {missed}\n");
        }
        let noticed = self.caught + self.timeouts;
        let share = if self.viable() == 0 {
            "no viable mutant".to_owned()
        } else {
            // Tenths of a percent, rounded down, so that 94.96 % is not shown as the goal.
            let tenths = noticed * 1000 / self.viable();
            format!("{}.{} %", tenths / 10, tenths % 10)
        };
        text + &format!(
            "caught {}, timeouts {}, missed {}, unviable {}: {noticed} of {} viable mutants, {share}",
            self.caught,
            self.timeouts,
            self.missed.len(),
            self.unviable,
            self.viable(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(caught: usize, timeouts: usize, missed: usize) -> Tally {
        Tally {
            caught,
            timeouts,
            unviable: 7,
            missed: (0..missed).map(|number| format!("src/x.rs:{number}:1")).collect(),
        }
    }

    #[test]
    fn the_goal_is_a_share_of_the_viable_mutants() {
        assert!(tally(95, 0, 5).reaches(95));
        assert!(tally(90, 5, 5).reaches(95), "a timeout is noticed");
        assert!(!tally(949, 0, 51).reaches(95));
        assert!(tally(0, 0, 0).reaches(95));
    }

    #[test]
    fn the_report_lists_what_was_missed_and_never_rounds_up() {
        let report = tally(9_496, 0, 504).report();
        assert!(report.contains("missed  src/x.rs:0:1\n"), "{report}");
        assert!(
            report.ends_with("caught 9496, timeouts 0, missed 504, unviable 7: 9496 of 10000 viable mutants, 94.9 %"),
            "{report}"
        );
        assert!(tally(0, 0, 0).report().ends_with("no viable mutant"));
    }

    #[test]
    fn a_second_run_adds_to_what_the_first_one_caught() {
        let folder = std::env::temp_dir().join(format!("xtask-mutants-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        for (name, text) in [
            ("caught.txt", "a\n"),
            ("previously_caught.txt", "b\nc\n"),
            ("missed.txt", "d\n"),
        ] {
            std::fs::write(folder.join(name), text).expect("a file");
        }
        let tally = Tally::read(&folder).expect("the files are readable");
        std::fs::remove_dir_all(&folder).expect("the folder is ours");
        assert_eq!((tally.caught, tally.viable()), (3, 4));
        assert_eq!(tally.missed, ["d"]);
    }
}
