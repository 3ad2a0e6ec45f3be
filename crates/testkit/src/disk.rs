//! Disks that are full, and disks that are slow.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{Process, eventually};

const FILLER: &str = "filler";
/// `strace` takes hold of every thread of a process, one by one.
const ATTACHED_WITHIN: Duration = Duration::from_secs(30);

/// A file system of a few megabytes in memory (tmpfs), mounted in a throw-away folder.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts one.
    ///
    /// # Panics
    /// Where this machine lets nobody mount; then nothing that needs it was tested.
    #[must_use]
    pub fn mount(megabytes: u32) -> Self {
        let folder = TempDir::new().expect("a throw-away folder can be made");
        let size = format!("size={megabytes}m");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(folder.path())
            .status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "no small disk can be mounted here: it needs root; nothing was tested"
        );
        Self { folder }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn filler(&self) -> PathBuf {
        self.path().join(FILLER)
    }

    /// Takes all the room that is left.
    ///
    /// # Panics
    /// Where writing ends by anything but a full disk.
    pub fn fill(&self) {
        let file = std::fs::File::options().create(true).append(true).open(self.filler());
        let mut file = file.expect("an empty file needs no room");
        let error = loop {
            if let Err(error) = file.write_all(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
    }

    /// Gives back the room that [`SmallDisk::fill`] took.
    ///
    /// # Panics
    /// Where nothing was taken.
    pub fn make_room(&self) {
        std::fs::remove_file(self.filler()).expect("it was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that is just being killed may still have files open.
        let unmounted = std::process::Command::new("umount").arg("-l").arg(self.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.path().display());
        }
    }
}

/// A process whose disk is slow: each flush waits before it begins. As long as this lives.
#[derive(Debug)]
pub struct SlowDisk {
    tracer: Process,
    report: TempDir,
}

impl SlowDisk {
    /// Makes every flush of the process wait so long.
    ///
    /// # Panics
    /// Where `strace` is not there, or may not trace; then nothing that needs it was tested.
    pub async fn under(process: u32, delay: Duration) -> Self {
        let report = TempDir::new().expect("a throw-away folder can be made");
        let inject = format!("inject=fsync,fdatasync:delay_enter={}", delay.as_micros());
        let mut command = Command::new("strace");
        command
            .args(["-f", "-e", "trace=fsync,fdatasync", "-e", &inject, "-o"])
            .arg(report.path().join("calls"))
            .args(["-p", &process.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(report.path().join("said")).expect("a file"));
        let tracer = Process::start(&mut command).expect("strace is there (`cargo xtask tools`); nothing was tested");
        let slow = Self { tracer, report };
        let what = "strace holds the process; without that nothing was tested";
        eventually(what, ATTACHED_WITHIN, || async { slow.said().contains("attached") }).await;
        slow
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.report.path().join("said")).unwrap_or_default()
    }

    /// How many flushes have waited so far.
    #[must_use]
    pub fn flushes(&self) -> usize {
        let calls = std::fs::read_to_string(self.report.path().join("calls")).unwrap_or_default();
        calls.lines().filter(|line| line.contains("sync(")).count()
    }

    /// The disk is as fast as it was.
    ///
    /// # Panics
    /// Where the tracer does not end.
    pub async fn end(mut self) {
        self.tracer.signal(Signal::TERM);
        self.tracer.wait().await;
    }
}
