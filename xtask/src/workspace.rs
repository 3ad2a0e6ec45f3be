//! The packages and files of the repository, from `cargo metadata` and git.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cargo_metadata::{MetadataCommand, Package};

/// The repository and its own packages (no dependencies).
pub(crate) struct Workspace {
    /// The folder of the root manifest.
    pub(crate) root: PathBuf,
    /// Our packages, sorted by name.
    pub(crate) packages: Vec<Package>,
}

impl Workspace {
    /// Queries cargo, without network: declared dependencies are sufficient for every check here.
    pub(crate) fn find() -> Result<Self> {
        let mut metadata_command = MetadataCommand::new();
        metadata_command.no_deps();
        if let Some(folder) = std::env::var_os("CARGO_MANIFEST_DIR") {
            metadata_command.current_dir(folder);
        }
        let metadata = metadata_command.exec().context("cargo metadata")?;
        let mut packages = metadata.packages;
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self {
            root: metadata.workspace_root.into_std_path_buf(),
            packages,
        })
    }

    /// A path below the root.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// A package's folder relative to the root, with forward slashes: `crates/domain`.
    pub(crate) fn folder(&self, package: &Package) -> String {
        let folder = package
            .manifest_path
            .parent()
            .map_or(Path::new(""), |parent| parent.as_std_path());
        folder
            .strip_prefix(&self.root)
            .unwrap_or(folder)
            .to_string_lossy()
            .into_owned()
    }

    /// Every file that is or would be committed, relative to the root, sorted.
    pub(crate) fn files(&self) -> Result<Vec<String>> {
        let output = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&self.root)
            .output()
            .context("git ls-files")?;
        ensure!(
            output.status.success(),
            "git ls-files: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let listing = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
        let mut files: Vec<String> = listing
            .split('\0')
            .filter(|name| !name.is_empty() && self.path(name).is_file())
            .map(str::to_owned)
            .collect();
        files.sort();
        files.dedup();
        Ok(files)
    }
}
