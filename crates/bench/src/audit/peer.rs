//! PostgreSQL with an indexed table of events, as the peer of histories.
//!
//! It runs in a temporary folder as the system's user `postgres` (it refuses to run as root), and is asked by `pgbench`
//! over a Unix socket. Nothing is flushed while the table is filled, because only reading is measured.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::quantiles;
use crate::folder;
use crate::report::Report;

/// Payload bytes of a row, as of an issue with its sealed token.
const PAYLOAD_BYTES: u32 = 280;
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// The median and the 99th percentile in milliseconds; `None` with a note if there is no PostgreSQL on this machine.
pub(super) fn histories(events: u64, questions: u64, report: &mut Report) -> Option<[f64; 2]> {
    match measure(events, questions) {
        Ok(measured) => Some(measured),
        Err(error) => {
            report.note(format!("audit: no figure of PostgreSQL: {error:#}"));
            None
        }
    }
}

fn programs() -> Result<PathBuf> {
    let versions =
        std::fs::read_dir("/usr/lib/postgresql").context("the Debian package postgresql is not installed")?;
    let mut versions: Vec<_> = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    versions.sort();
    versions.pop().context("no version of PostgreSQL")
}

/// A program as the user `postgres`, unless this process is not root.
fn command(program: &Path) -> Command {
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if root {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(())
}

/// The server; it ends with this value.
struct Server {
    process: Child,
    bin: PathBuf,
    folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // `runuser` passes the signal on; a failure means that the server has ended already.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start() -> Result<Self> {
        let (bin, folder) = (programs()?, folder::temporary()?);
        run(Command::new("chmod").arg("777").arg(folder.path()))?;
        let data = folder.path().join("data");
        let mut initdb = command(&bin.join("initdb"));
        initdb.args(["--no-sync", "--auth=trust", "--username=bench", "-D"]);
        run(initdb.arg(&data))?;
        let mut server = command(&bin.join("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(folder.path());
        server.args([
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
            "-c",
            "shared_buffers=512MB",
        ]);
        let log = std::fs::File::create(folder.path().join("log"))?;
        server.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = server.spawn()?;
        let server = Self { process, bin, folder };
        let start = Instant::now();
        while let Err(error) = server.psql("select 1") {
            ensure!(start.elapsed() < STARTS_WITHIN, "it does not start: {error:#}");
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(server)
    }

    fn psql(&self, sql: &str) -> Result<()> {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args([
            "-X",
            "-q",
            "-U",
            "bench",
            "-d",
            "postgres",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
        ]);
        run(psql.arg(self.folder.path()).args(["-c", sql]))
    }

    fn fill(&self, events: u64, codes: u64) -> Result<()> {
        self.psql(&format!(
            "create table events (code_id bigint not null, decided_at bigint not null, partition int not null, \
             sequence bigint not null, event text not null, payload bytea not null);
             insert into events select hashint8extended(n % {codes}, 7), n, n % 16, n / 16, 'CodeIssued', \
             decode(repeat('5a', {PAYLOAD_BYTES}), 'hex') from generate_series(1, {events}) n"
        ))?;
        self.psql("create index on events (code_id, decided_at)")?;
        self.psql("vacuum analyze events")?;
        self.psql("checkpoint")
    }

    /// The milliseconds of each question.
    fn ask(&self, events: u64, codes: u64, questions: u64) -> Result<Vec<f64>> {
        let folder = self.folder.path();
        let script = folder.join("history.sql");
        let question = format!(
            "\\set code random(0, {})\nselect * from events where code_id = hashint8extended(:code::bigint, 7) \
             and decided_at <= {events} order by partition, sequence;\n",
            codes - 1
        );
        std::fs::write(&script, question)?;
        let mut pgbench = Command::new(self.bin.join("pgbench"));
        pgbench.args(["-n", "-c", "1", "-M", "prepared", "-U", "bench", "-l", "-t"]);
        pgbench.arg(questions.to_string()).arg("-h").arg(folder);
        pgbench.arg(format!("--log-prefix={}", folder.join("times").display()));
        run(pgbench.arg("-f").arg(&script).arg("postgres"))?;
        let mut milliseconds = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            if !name.is_some_and(|name| name.starts_with("times")) {
                continue;
            }
            // client, transaction, time in microseconds, …
            for line in std::fs::read_to_string(&path)?.lines() {
                let time = line.split(' ').nth(2).context("a time")?;
                milliseconds.push(time.parse::<f64>()? / 1e3);
            }
        }
        Ok(milliseconds)
    }
}

fn measure(events: u64, questions: u64) -> Result<[f64; 2]> {
    let server = Server::start()?;
    let codes = events * 3 / 4;
    server.fill(events, codes)?;
    let mut milliseconds = server.ask(events, codes, questions)?;
    ensure!(milliseconds.len() as u64 == questions, "{} times", milliseconds.len());
    Ok(quantiles(&mut milliseconds))
}
