//! A real process under test: it is started, reports that it is ready, and is killed when dropped.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use thiserror::Error;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines};
use tokio::process::{ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::Process;

/// The start of the line with which the process reports that it is ready.
const READY: &str = "ready ";
/// Most bytes of output that are kept; the oldest are dropped.
const MAX_KEPT_BYTES: usize = 256 * 1024;

/// The time in which the last output of an ended process must arrive.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// Why a process did not become ready, with its output.
#[derive(Debug, Error)]
pub enum StartError {
    /// It could not be started at all.
    #[error("cannot start {}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// The error.
        source: std::io::Error,
    },
    /// It ended before it was ready.
    #[error("it ended ({status}) before it was ready; its output:\n{said}")]
    Ended {
        /// The exit status.
        status: ExitStatus,
        /// Both outputs.
        said: String,
    },
    /// It was not ready in time, and was killed.
    #[error("it was not ready within {deadline:?}; its output:\n{said}")]
    Late {
        /// The deadline.
        deadline: Duration,
        /// Both outputs.
        said: String,
    },
}

/// Both outputs of a process so far.
#[derive(Clone, Default, Debug)]
struct Outputs(Arc<Mutex<String>>);

/// A process that reported `ready http://ADDR`.
#[derive(Debug)]
pub struct Running {
    process: Process,
    url: String,
    said: Outputs,
    /// The tasks that collect its outputs.
    collectors: Vec<JoinHandle<()>>,
    home: TempDir,
}

impl Running {
    /// Starts the program and waits for its line `ready http://ADDR` on standard output.
    ///
    /// Its home folder (`HOME`, `XDG_*`) is temporary, so that it reads and writes no files of the machine's user;
    /// variables whose name starts with `CITYCODE` are removed. Pass `--listen 127.0.0.1:0`.
    ///
    /// # Errors
    /// [`StartError`], with the output of the process.
    ///
    /// # Panics
    /// If no temporary folder can be created.
    pub async fn start<A: AsRef<OsStr>>(program: &Path, args: &[A], deadline: Duration) -> Result<Self, StartError> {
        Self::start_with(program, args, &[], deadline).await
    }

    /// As [`Running::start`], with additional environment variables.
    ///
    /// # Errors
    /// [`StartError`], with the output of the process.
    ///
    /// # Panics
    /// If no temporary folder can be created.
    pub async fn start_with<A: AsRef<OsStr>>(
        program: &Path,
        args: &[A],
        variables: &[(&str, &str)],
        deadline: Duration,
    ) -> Result<Self, StartError> {
        let home = TempDir::new().expect("a temporary folder can be created");
        let mut command = command_in(program, home.path());
        command
            .args(args)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Process::start(&mut command).map_err(|source| StartError::Spawn {
            program: program.to_owned(),
            source,
        })?;
        let said = Outputs::default();
        let stderr = BufReader::new(process.stderr());
        let mut collector = tokio::spawn(collect(stderr.lines(), said.clone()));
        let mut lines = BufReader::new(process.stdout()).lines();
        // The deadline includes waiting for the end: a process may close its output and continue to run.
        let started = timeout(deadline, async {
            match ready_line(&mut lines, &said).await {
                Some(url) => Ok(url),
                None => {
                    // Waits for the last output, unless a descendant keeps the pipe open.
                    let _ = timeout(LAST_OUTPUT, &mut collector).await;
                    Err(process.wait().await)
                }
            }
        })
        .await;
        match started {
            // The process is dropped here, which kills it.
            Err(_) => Err(StartError::Late {
                deadline,
                said: said.text(),
            }),
            Ok(Err(status)) => Err(StartError::Ended {
                status,
                said: said.text(),
            }),
            Ok(Ok(url)) => {
                let collectors = vec![collector, tokio::spawn(collect(lines, said.clone()))];
                Ok(Self {
                    process,
                    url,
                    said,
                    collectors,
                    home,
                })
            }
        }
    }

    /// Its URL, e.g. `http://127.0.0.1:8080`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its process id.
    ///
    /// # Panics
    /// Never, because only consuming methods of this type wait for the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Both outputs so far, at most the last 256 KiB.
    #[must_use]
    pub fn said(&self) -> String {
        self.said.text()
    }

    /// Its temporary home folder.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A command with the same home folder, e.g. a client of this server.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        command_in(program, self.home.path())
    }

    /// Kills it (`kill -9`) and waits until it has ended.
    pub async fn kill_9(self) -> TempDir {
        self.process.kill_9();
        self.home
    }

    /// Kills it (`kill -9`) without waiting, so it may still hold its resources. Dropping this waits for it.
    pub fn sigkill(&self) {
        self.process.signal(Signal::KILL);
    }

    /// Sends `SIGTERM` without waiting.
    pub fn sigterm(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Waits until it ends; returns its status and its output.
    ///
    /// # Panics
    /// If it does not end within the deadline.
    pub async fn ended(mut self, deadline: Duration) -> (ExitStatus, String) {
        let ended = timeout(deadline, self.process.wait()).await;
        let Ok(status) = ended else {
            panic!("it did not end within {deadline:?}; its output:\n{}", self.said.text());
        };
        // Waits for the last output, unless a descendant keeps a pipe open.
        for collector in self.collectors {
            let _ = timeout(LAST_OUTPUT, collector).await;
        }
        (status, self.said.text())
    }

    /// Suspends it (`SIGSTOP`): connections stay open, but it does not answer.
    pub fn sigstop(&self) {
        self.process.stop();
    }

    /// Resumes it (`SIGCONT`).
    pub fn sigcont(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Sends `SIGTERM` and waits until it ends.
    ///
    /// # Panics
    /// If it does not end within the deadline.
    pub async fn terminate(self, deadline: Duration) -> ExitStatus {
        self.sigterm();
        self.ended(deadline).await.0
    }
}

impl Outputs {
    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, line: &str) {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        text.push_str(line);
        text.push('\n');
        if text.len() > MAX_KEPT_BYTES {
            let mut from = text.len() - MAX_KEPT_BYTES / 2;
            while !text.is_char_boundary(from) {
                from += 1;
            }
            text.drain(..from);
        }
    }
}

fn command_in(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CITYCODE") {
            command.env_remove(name);
        }
    }
    for name in ["XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"] {
        command.env(name, home.join(name.to_lowercase()));
    }
    // The runtime folder contains sockets of the user's session.
    command.env_remove("XDG_RUNTIME_DIR").env("HOME", home);
    command
}

async fn ready_line(lines: &mut Lines<BufReader<ChildStdout>>, said: &Outputs) -> Option<String> {
    while let Ok(Some(line)) = lines.next_line().await {
        said.add(&line);
        if let Some(url) = line.strip_prefix(READY) {
            return Some(url.trim().to_owned());
        }
    }
    None
}

async fn collect<R: AsyncRead + Unpin>(mut lines: Lines<BufReader<R>>, said: Outputs) {
    while let Ok(Some(line)) = lines.next_line().await {
        said.add(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eventually;

    const SOON: Duration = Duration::from_secs(20);

    fn shell() -> &'static Path {
        Path::new("/bin/sh")
    }

    #[tokio::test]
    async fn a_ready_process_runs_until_it_is_dropped() {
        let script = "echo loading; echo 'ready http://127.0.0.1:1'; echo on >&2; exec cat /dev/zero >/dev/null";
        let running = Running::start(shell(), &["-c", script], SOON)
            .await
            .expect("it becomes ready");
        assert_eq!(running.url(), "http://127.0.0.1:1");
        eventually("both outputs are collected", SOON, || {
            let said = running.said();
            async move { said.contains("loading") && said.contains("on\n") }
        })
        .await;
        let id = running.id();
        drop(running);
        assert!(!Path::new(&format!("/proc/{id}")).exists(), "the process has ended");
    }

    #[tokio::test]
    async fn a_process_that_ends_early_is_an_error_with_its_status() {
        let script = "echo 'no such folder' >&2; exit 3";
        let failed = Running::start(shell(), &["-c", script], SOON).await;
        let Err(StartError::Ended { status, .. }) = failed else {
            panic!("it ended: {failed:?}");
        };
        assert_eq!(status.code(), Some(3));
    }

    #[tokio::test]
    async fn a_process_that_is_late_is_killed() {
        let failed = Running::start(
            shell(),
            &["-c", "exec cat /dev/zero >/dev/null"],
            Duration::from_millis(50),
        )
        .await;
        assert!(matches!(failed, Err(StartError::Late { .. })), "{failed:?}");
    }

    #[tokio::test]
    async fn a_process_can_be_terminated() {
        let script = "trap 'exit 7' TERM; echo 'ready http://127.0.0.1:1'; while :; do read -r x < /dev/null; done";
        let running = Running::start(shell(), &["-c", script], SOON)
            .await
            .expect("it becomes ready");
        assert_eq!(running.terminate(SOON).await.code(), Some(7));
    }
}
