//! Copies of data folders, and the log's identity in their manifest.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Creates a folder that only its owner may read, like a data folder.
pub(crate) fn private_folder(folder: &Path) {
    std::fs::DirBuilder::new().mode(0o700).create(folder).expect("a folder");
}

/// Copies a folder recursively to a path that does not exist.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    private_folder(to);
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// The identity of a data folder's log, from its manifest.
pub(crate) fn log_id(data: &Path) -> String {
    let text = std::fs::read_to_string(data.join("manifest.toml")).expect("a manifest");
    let line = text.lines().find_map(|line| line.strip_prefix("log_id = \""));
    line.expect("the log's identity").trim_end_matches('"').to_owned()
}
