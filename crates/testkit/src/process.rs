//! A real child process under test: started until it says that it is ready, killed at the latest when dropped.

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

/// Start of the one line that says that the process serves.
const READY: &str = "ready ";
/// Most bytes of what the process says that are kept; the earliest go first.
const MAX_KEPT_BYTES: usize = 256 * 1024;

/// How long the last words of a process that ended may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why a process did not come up; holds what it said on standard error.
#[derive(Debug, Error)]
pub enum StartError {
    /// It could not be started at all.
    #[error("cannot start {}", program.display())]
    Spawn {
        /// Which program.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It ended before it was ready.
    #[error("it ended ({status}) before it was ready; it said:\n{said}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// On both outputs.
        said: String,
    },
    /// It was not ready in time, and was killed.
    #[error("it was not ready within {deadline:?}; it said:\n{said}")]
    Late {
        /// How long it had.
        deadline: Duration,
        /// On both outputs.
        said: String,
    },
}

/// What a process has said so far, on both outputs.
#[derive(Clone, Default, Debug)]
struct Said(Arc<Mutex<String>>);

/// A process that said `ready http://ADDR`.
#[derive(Debug)]
pub struct Running {
    process: Process,
    url: String,
    said: Said,
    /// What keeps its outputs.
    keeping: Vec<JoinHandle<()>>,
    home: TempDir,
}

impl Running {
    /// Starts the program and waits for its line `ready http://ADDR` on standard output.
    ///
    /// Its home folder is a throw-away one (`HOME`, `XDG_*`), so that nothing of the machine's user is read or
    /// written; variables whose name starts with `CITYCODE` are not handed on. Pass `--listen 127.0.0.1:0`.
    ///
    /// # Errors
    /// [`StartError`], with what the process said.
    ///
    /// # Panics
    /// Where no throw-away folder can be made.
    pub async fn start<A: AsRef<OsStr>>(program: &Path, args: &[A], deadline: Duration) -> Result<Self, StartError> {
        Self::start_with(program, args, &[], deadline).await
    }

    /// As [`Running::start`], with variables of the environment beside the machine's.
    ///
    /// # Errors
    /// [`StartError`], with what the process said.
    ///
    /// # Panics
    /// Where no throw-away folder can be made.
    pub async fn start_with<A: AsRef<OsStr>>(
        program: &Path,
        args: &[A],
        variables: &[(&str, &str)],
        deadline: Duration,
    ) -> Result<Self, StartError> {
        let home = TempDir::new().expect("a throw-away folder can be made");
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
        let said = Said::default();
        let stderr = BufReader::new(process.stderr());
        let mut keeping = tokio::spawn(keep(stderr.lines(), said.clone()));
        let mut lines = BufReader::new(process.stdout()).lines();
        // One deadline for both: a process may close its output and live on without ever being ready.
        let came = timeout(deadline, async {
            match ready_line(&mut lines, &said).await {
                Some(url) => Ok(url),
                None => {
                    // To its last word, unless a child of its own holds on to the pipe.
                    let _ = timeout(LAST_WORDS, &mut keeping).await;
                    Err(process.wait().await)
                }
            }
        })
        .await;
        match came {
            // Dropped here, the process is killed.
            Err(_) => Err(StartError::Late {
                deadline,
                said: said.text(),
            }),
            Ok(Err(status)) => Err(StartError::Ended {
                status,
                said: said.text(),
            }),
            Ok(Ok(url)) => {
                let keeping = vec![keeping, tokio::spawn(keep(lines, said.clone()))];
                Ok(Self {
                    process,
                    url,
                    said,
                    keeping,
                    home,
                })
            }
        }
    }

    /// Where it serves, e.g. `http://127.0.0.1:8080`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its process id.
    ///
    /// # Panics
    /// Where it was waited for, which only this type does, at its end.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has said so far on both outputs, at most the last 256 KiB.
    #[must_use]
    pub fn said(&self) -> String {
        self.said.text()
    }

    /// Its throw-away home folder.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A command of the same program's family with the same home folder, e.g. a client of this server.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        command_in(program, self.home.path())
    }

    /// Kills it at once (`kill -9`) and waits until it is gone.
    pub async fn kill_9(self) -> TempDir {
        self.process.kill_9();
        self.home
    }

    /// Kills it (`kill -9`) and does not wait: it may still hold what it held. It is waited for when this is dropped.
    pub fn sigkill(&self) {
        self.process.signal(Signal::KILL);
    }

    /// Asks it to end (`SIGTERM`) and does not wait.
    pub fn sigterm(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Waits until it ends, and gives all that it said.
    ///
    /// # Panics
    /// Where it does not end within the deadline.
    pub async fn ended(mut self, deadline: Duration) -> (ExitStatus, String) {
        let ended = timeout(deadline, self.process.wait()).await;
        let Ok(status) = ended else {
            panic!("it did not end within {deadline:?}; it said:\n{}", self.said.text());
        };
        // To its last word, unless a child of its own holds on to the pipes.
        for keeping in self.keeping {
            let _ = timeout(LAST_WORDS, keeping).await;
        }
        (status, self.said.text())
    }

    /// Stops it where it stands (`SIGSTOP`): connections stay open and nothing answers.
    pub fn sigstop(&self) {
        self.process.stop();
    }

    /// Lets it go on (`SIGCONT`).
    pub fn sigcont(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Asks it to end (`SIGTERM`) and waits for it.
    ///
    /// # Panics
    /// Where it does not end within the deadline.
    pub async fn terminate(self, deadline: Duration) -> ExitStatus {
        self.sigterm();
        self.ended(deadline).await.0
    }
}

impl Said {
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
    // The runtime folder holds sockets of the user's session; a program under test has none.
    command.env_remove("XDG_RUNTIME_DIR").env("HOME", home);
    command
}

async fn ready_line(lines: &mut Lines<BufReader<ChildStdout>>, said: &Said) -> Option<String> {
    while let Ok(Some(line)) = lines.next_line().await {
        said.add(&line);
        if let Some(url) = line.strip_prefix(READY) {
            return Some(url.trim().to_owned());
        }
    }
    None
}

async fn keep<R: AsyncRead + Unpin>(mut lines: Lines<BufReader<R>>, said: Said) {
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
        eventually("both outputs are kept", SOON, || {
            let said = running.said();
            async move { said.contains("loading") && said.contains("on\n") }
        })
        .await;
        let id = running.id();
        drop(running);
        assert!(!Path::new(&format!("/proc/{id}")).exists(), "the process is gone");
    }

    #[tokio::test]
    async fn one_that_ends_early_says_why() {
        let script = "echo 'no such folder' >&2; exit 3";
        let failed = Running::start(shell(), &["-c", script], SOON).await;
        let Err(StartError::Ended { status, .. }) = failed else {
            panic!("it ended: {failed:?}");
        };
        assert_eq!(status.code(), Some(3));
    }

    #[tokio::test]
    async fn one_that_is_late_is_killed() {
        let failed = Running::start(
            shell(),
            &["-c", "exec cat /dev/zero >/dev/null"],
            Duration::from_millis(50),
        )
        .await;
        assert!(matches!(failed, Err(StartError::Late { .. })), "{failed:?}");
    }

    #[tokio::test]
    async fn it_can_be_asked_to_end() {
        let script = "trap 'exit 7' TERM; echo 'ready http://127.0.0.1:1'; while :; do read -r x < /dev/null; done";
        let running = Running::start(shell(), &["-c", script], SOON)
            .await
            .expect("it becomes ready");
        assert_eq!(running.terminate(SOON).await.code(), Some(7));
    }
}
