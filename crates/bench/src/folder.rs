//! A temporary folder on a real disk.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// A folder in `CITYCODE_BENCH_DIR`, or in the system's temporary folder. Durable figures require a disk: on tmpfs a
/// sync costs nothing, which this reports on standard error.
pub(crate) fn temporary() -> Result<TempDir> {
    let parent = std::env::var_os("CITYCODE_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    // Stores refuse folders that others may read, whatever the umask.
    let folder = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir_in(&parent)
        .context("no temporary folder can be created")?;
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mount = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            Some((words.next()?, words.next()?))
        })
        .filter(|(point, _)| folder.path().starts_with(point))
        .max_by_key(|(point, _)| point.len());
    if mount.is_some_and(|(_, kind)| kind == "tmpfs") {
        eprintln!(
            "citycode-bench: {} is memory, not a disk: set CITYCODE_BENCH_DIR",
            parent.display()
        );
    }
    Ok(folder)
}
