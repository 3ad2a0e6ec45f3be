//! `recovery`: the cost of redb's quick repair for each commit, and the time that it saves when a log is opened after
//! kill -9.
//!
//! A second process of this program writes a log's rows and ends without closing its file, as after a kill; this
//! process then opens the file. redb is measured alone, so that both settings are compared regardless of the engine's
//! choice.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use redb::{Database, ReadableDatabase as _, ReadableTableMetadata as _, TableDefinition};

use crate::report::{Figure, Report};
use crate::{Scale, folder};

const COMMITS: u64 = 1_000_000;
/// A commit of an issue, with its token sealed.
const ROW_BYTES: usize = 560;
/// As many as an import gathers.
const BATCH: u64 = 1_000;
/// Commits of one row, like those of single issues.
const SINGLE: u64 = 500;
const TABLE: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("rows");
/// The environment variable with the second process's task: where to write, how much, and how.
const WRITE: &str = "CITYCODE_BENCH_WRITE";

/// The folder in which this process must write, if it is the second one.
pub(crate) fn writer_folder() -> Option<PathBuf> {
    std::env::var_os(WRITE).map(Into::into)
}

fn write(database: &Database, rows: std::ops::Range<u64>, quick: bool) -> Result<()> {
    let row = [7u8; ROW_BYTES];
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(quick);
    {
        let mut table = transaction.open_table(TABLE)?;
        for number in rows {
            // At the ends of sixteen partitions, as a log grows.
            table.insert(((number % 16) << 48) | (number / 16), row.as_slice())?;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// The second process: writes, prints its rates, and ends with the file open.
pub(crate) fn write_until_killed(folder: &Path) -> Result<ExitCode> {
    let words = std::fs::read_to_string(folder.join("task")).context("no task")?;
    let (quick, commits) = words.split_once(' ').context("a malformed task")?;
    let (quick, commits) = (quick == "quick", commits.parse::<u64>()?);
    let database = Database::create(folder.join("rows.redb"))?;
    let start = Instant::now();
    let mut next = 0;
    while next < commits {
        write(&database, next..commits.min(next + BATCH), quick)?;
        next += BATCH;
    }
    let grouped = start.elapsed().as_secs_f64();
    let start = Instant::now();
    for number in commits..commits + SINGLE {
        write(&database, number..number + 1, quick)?;
    }
    let single = start.elapsed().as_secs_f64();
    println!("{} {}", commits as f64 / grouped, single * 1e3 / SINGLE as f64);
    // The process ends without dropping, closing or writing anything.
    std::process::abort()
}

/// Returns rows per second in batches, milliseconds for a commit of one row, and seconds to open the file afterwards.
fn kill_and_open(quick: bool, commits: u64) -> Result<[f64; 3]> {
    let folder = folder::temporary()?;
    let word = if quick { "quick" } else { "plain" };
    std::fs::write(folder.path().join("task"), format!("{word} {commits}"))?;
    let killed = Command::new(std::env::current_exe()?)
        .env(WRITE, folder.path())
        .output()?;
    let said = String::from_utf8_lossy(&killed.stdout);
    let figures = said.trim().split_once(' ');
    let (grouped, single) =
        figures.with_context(|| format!("the writer failed: {}", String::from_utf8_lossy(&killed.stderr)))?;
    let start = Instant::now();
    let database = Database::create(folder.path().join("rows.redb"))?;
    let opened = start.elapsed().as_secs_f64();
    let rows = database.begin_read()?.open_table(TABLE)?.len()?;
    ensure!(rows == commits + SINGLE, "rows were lost: {rows}");
    Ok([grouped.parse()?, single.parse()?, opened])
}

pub(crate) fn run(report: &mut Report, scale: Scale) -> Result<()> {
    let commits = scale.of(COMMITS);
    let [plain_rate, plain_single, plain_open] = kill_and_open(false, commits)?;
    let [quick_rate, quick_single, quick_open] = kill_and_open(true, commits)?;
    report.push(Figure::new("open_after_kill_plain", plain_open, "s"));
    report.push(Figure::new("open_after_kill_quick_repair", quick_open, "s").reference(plain_open));
    report.push(Figure::new("batched_rate_plain", plain_rate, "rows/s"));
    report.push(Figure::new("batched_rate_quick_repair", quick_rate, "rows/s").reference(plain_rate));
    report.push(Figure::new("single_commit_plain", plain_single, "ms"));
    report.push(Figure::new("single_commit_quick_repair", quick_single, "ms").reference(plain_single));
    Ok(())
}
