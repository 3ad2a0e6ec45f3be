//! A child process that cannot outlive its guard.
//!
//! tokio's `kill_on_drop` sends the signal but does not wait: for a moment the process still holds the lock on its
//! folder, its ports and its mounts, which the next process of the same test then finds in use. So every process that a
//! test starts is a [`Process`] (clippy refuses others). Dropping or killing it waits until the process and all its
//! descendants have ended.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// How long a killed process may take to end: the kernel frees gigabytes in less time. A process that takes longer
/// hangs in the kernel, and waiting does not help.
const ENDED_WITHIN: Duration = Duration::from_secs(30);
/// Generations of processes below the child: a shell, its program, and one more.
const GENERATIONS: usize = 4;

/// A child process; dropping this ends it and its descendants.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts the command.
    ///
    /// # Errors
    /// The command cannot be started.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "the one place that starts processes for tests")]
        let child = command.spawn()?;
        Ok(Self { child })
    }

    /// Runs the command to its end and returns its status and both outputs. Dropping the future ends the process.
    ///
    /// # Errors
    /// The command cannot be started.
    pub async fn output(command: &mut Command) -> io::Result<Output> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Self::start(command)?.into_output().await)
    }

    /// Closes standard input, waits for the end, and returns the status and the further output.
    ///
    /// # Panics
    /// If an output is not piped, or cannot be read.
    pub async fn into_output(mut self) -> Output {
        drop(self.child.stdin.take());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (mut out, mut err) = (self.stdout(), self.stderr());
        let read = tokio::try_join!(out.read_to_end(&mut stdout), err.read_to_end(&mut stderr));
        read.expect("a child's output can be read");
        Output {
            status: self.wait().await,
            stdout,
            stderr,
        }
    }

    /// Its process id.
    ///
    /// # Panics
    /// If it was waited for.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id().expect("it was not waited for yet")
    }

    /// Its standard input.
    ///
    /// # Panics
    /// If that is not piped, or was taken.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("standard input is piped")
    }

    /// Its standard output.
    ///
    /// # Panics
    /// If that is not piped, or was taken.
    pub fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("standard output is piped")
    }

    /// Its standard error.
    ///
    /// # Panics
    /// If that is not piped, or was taken.
    pub fn stderr(&mut self) -> ChildStderr {
        self.child.stderr.take().expect("standard error is piped")
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// Never, because it is a child of this process.
    pub async fn wait(&mut self) -> ExitStatus {
        self.child.wait().await.expect("a child can be waited for")
    }

    /// Sends `SIGTERM`.
    ///
    /// # Panics
    /// If it was waited for.
    pub fn sigterm(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If it was waited for.
    pub(crate) fn signal(&self, signal: Signal) {
        let sent = pidfd_of(self.id()).and_then(|process| pidfd_send_signal(process, signal));
        // It fails only if the process has ended.
        let _ = sent;
    }

    /// Suspends it (`SIGSTOP`) and waits until all its threads are stopped: on a busy machine some of them would still
    /// answer after the signal was sent.
    ///
    /// # Panics
    /// If it was waited for.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
        // The kernel notifies the parent once the last thread has stopped. Reaping is left to tokio.
        let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let process = Pid::from_raw(self.id().cast_signed()).expect("a child has a number");
        let _ = waitid(WaitId::Pid(process), options);
    }

    /// Kills it and its descendants (`kill -9`), and waits until all have ended.
    pub fn kill_9(self) {
        drop(self);
    }

    fn end(&mut self) -> io::Result<()> {
        // It was reaped, and its number may belong to another process now.
        let Some(id) = self.child.id() else {
            return Ok(());
        };
        // Listed before the kill, because orphans cannot be found.
        let family = std::iter::once(id).chain(descendants(id));
        let family: Vec<OwnedFd> = family.filter_map(|id| pidfd_of(id).ok()).collect();
        for process in &family {
            // It fails only if the process has ended.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        let deadline = Timespec::try_from(ENDED_WITHIN).expect("seconds fit");
        for process in &family {
            // Readable once the process and all its threads have ended and its files are closed (pidfd_open(2)).
            let mut watched = [PollFd::new(process, PollFlags::IN)];
            if poll(&mut watched, Some(&deadline))? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        self.child.try_wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("a killed process may still be running: {error}");
        }
    }
}

fn pidfd_of(id: u32) -> rustix::io::Result<OwnedFd> {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    pidfd_open(id.ok_or(rustix::io::Errno::SRCH)?, PidfdFlags::empty())
}

/// The descendants of a process.
fn descendants(of: u32) -> Vec<u32> {
    let mut all = Vec::new();
    let mut generation = vec![of];
    for _ in 0..GENERATIONS {
        generation = generation.iter().flat_map(|parent| children(*parent)).collect();
        all.extend(&generation);
    }
    all
}

/// The children of each of its threads (proc_pid_task(5), `children`); empty if the kernel does not support that.
fn children(of: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{of}/task")) else {
        return Vec::new();
    };
    let lists = threads.flatten().filter_map(|thread| {
        let list = std::fs::read_to_string(thread.path().join("children"));
        list.ok()
    });
    let ids: String = lists.collect();
    ids.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use tokio::io::{AsyncBufReadExt as _, BufReader};

    use super::*;

    /// A shell with a child that holds a lock with `flock(1)`; returns once the lock is held.
    async fn locker(lock: &std::path::Path) -> Process {
        let script = format!(
            "flock --nonblock {} sh -c 'echo held; exec sleep 600'; exit 1",
            lock.display()
        );
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = Process::start(&mut command).unwrap();
        let mut said = BufReader::new(process.stdout()).lines();
        assert_eq!(said.next_line().await.unwrap().as_deref(), Some("held"));
        process
    }

    #[tokio::test]
    async fn dropping_a_process_releases_the_resources_of_its_descendants() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("lock");
        for _ in 0..20 {
            let process = locker(&lock).await;
            let id = process.id();
            File::open(&lock)
                .unwrap()
                .try_lock()
                .expect_err("a descendant holds it");
            drop(process);
            File::open(&lock).unwrap().try_lock().expect("the lock is free");
            assert!(!std::path::Path::new(&format!("/proc/{id}")).exists(), "it was reaped");
        }
    }

    #[tokio::test]
    async fn dropping_the_future_of_output_ends_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let said = folder.path().join("id");
        let script = format!("echo $$ > {}; exec sleep 600", said.display());
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]);
        let id = || std::fs::read_to_string(&said).ok().filter(|id| id.ends_with('\n'));
        let started = crate::eventually("it runs", Duration::from_secs(60), || async { id().is_some() });
        tokio::select! {
            ended = Process::output(&mut command) => panic!("it ended early: {ended:?}"),
            () = started => {}
        }
        let id = id().expect("it was started");
        assert!(!std::path::Path::new(&format!("/proc/{}", id.trim())).exists());
    }

    #[tokio::test]
    async fn output_returns_both_outputs_and_the_status() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let ended = Process::output(&mut command).await.unwrap();
        assert_eq!(ended.status.code(), Some(3));
        assert_eq!((&*ended.stdout, &*ended.stderr), (&b"out\n"[..], &b"err\n"[..]));
    }
}
