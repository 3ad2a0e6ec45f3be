//! Full disks and slow disks.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{Process, eventually};

const FILLER: &str = "filler";
/// The time that `strace` may take to attach to every thread of a process.
const ATTACHED_WITHIN: Duration = Duration::from_secs(30);

/// A file system of a few megabytes in memory (tmpfs), mounted in a temporary folder.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts a file system.
    ///
    /// # Panics
    /// If mounting is not permitted; then nothing that needs it was tested.
    #[must_use]
    pub fn mount(megabytes: u32) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be created");
        let size = format!("size={megabytes}m");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(folder.path())
            .status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "a small disk cannot be mounted: this requires root; nothing was tested"
        );
        Self { folder }
    }

    /// The mount point.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn filler(&self) -> PathBuf {
        self.path().join(FILLER)
    }

    /// Fills the disk.
    ///
    /// # Panics
    /// If writing fails for another reason than a full disk.
    pub fn fill(&self) {
        let file = std::fs::File::options().create(true).append(true).open(self.filler());
        let mut file = file.expect("an empty file needs no space");
        let error = loop {
            if let Err(error) = file.write_all(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
    }

    /// Frees the space that [`SmallDisk::fill`] used.
    ///
    /// # Panics
    /// If the disk was not filled.
    pub fn free(&self) {
        std::fs::remove_file(self.filler()).expect("it was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A lazy unmount, because a process that is being killed may still have files open.
        let unmounted = std::process::Command::new("umount").arg("-l").arg(self.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} cannot be unmounted", self.path().display());
        }
    }
}

/// Delays each flush of a process until this is dropped.
#[derive(Debug)]
pub struct SlowDisk {
    tracer: Process,
    report: TempDir,
}

impl SlowDisk {
    /// Delays every flush of the process by `delay`.
    ///
    /// # Panics
    /// If `strace` is missing or may not trace; then nothing that needs it was tested.
    pub async fn under(process: u32, delay: Duration) -> Self {
        let report = TempDir::new().expect("a temporary folder can be created");
        let inject = format!("inject=fsync,fdatasync:delay_enter={}", delay.as_micros());
        let mut command = Command::new("strace");
        command
            .args(["-f", "-e", "trace=fsync,fdatasync", "-e", &inject, "-o"])
            .arg(report.path().join("calls"))
            .args(["-p", &process.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(report.path().join("said")).expect("a file"));
        let tracer = Process::start(&mut command).expect("strace is installed (`cargo xtask tools`)");
        let slow = Self { tracer, report };
        let what = "strace is attached to the process; without that nothing was tested";
        eventually(what, ATTACHED_WITHIN, || async { slow.said().contains("attached") }).await;
        slow
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.report.path().join("said")).unwrap_or_default()
    }

    /// The number of flushes that were delayed so far.
    #[must_use]
    pub fn flushes(&self) -> usize {
        let calls = std::fs::read_to_string(self.report.path().join("calls")).unwrap_or_default();
        calls.lines().filter(|line| line.contains("sync(")).count()
    }

    /// Ends the delay.
    ///
    /// # Panics
    /// If the tracer does not end.
    pub async fn end(mut self) {
        self.tracer.signal(Signal::TERM);
        self.tracer.wait().await;
    }
}
