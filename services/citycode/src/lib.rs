//! The command line of citycode.
//!
//! The client commands depend only on the public contract: the JSON API, exit codes, pictures and print sheets. They
//! share no code with the services, and report an error in the server's words.
//!
//! | module | does |
//! |---|---|
//! | [`cli`] | the commands, their flags and help |
//! | `commands` | one file per command |
//! | [`client`] | HTTP client: token, time limits, safe retries |
//! | [`export_files`] | tables of an export as Parquet or CSV files |
//! | [`phone`] | a file used as a phone's key store |
//! | [`picture`] | codes as PNG, SVG and print sheet |
//! | [`residents`] | CSV files of residents and of rejected rows |
//! | [`scan_lines`] | splits the output of scanners into scans |
//! | [`route`] | decides which calls go through a proxy of the environment |

pub mod cli;
pub mod client;
mod commands;
mod demo;
pub mod export_files;
pub mod phone;
pub mod picture;
pub mod policy_view;
pub mod residents;
pub mod route;
pub mod scan_lines;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use citycode_service_kit::clock::SystemClock;
use citycode_service_kit::entropy::OsEntropy;
use clap::Parser as _;

use citycode_terminal::failure::{Failure, report_usage};
use citycode_terminal::output::Output;

/// Runs one command line and returns the exit code. Prints; reads the environment.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match cli::Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(report_usage(&error, &arguments)),
    };
    let output = Output::new(cli.connection.output);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Failure::local("cannot start", error, "free some memory or threads");
            return ExitCode::from(failure.report(output));
        }
    };
    let clock = Arc::new(SystemClock::new());
    let ended = runtime.block_on(commands::run(cli, output, clock, Arc::new(OsEntropy)));
    // A thread may still block on standard input; nothing depends on it any more.
    runtime.shutdown_background();
    ExitCode::from(match ended {
        Ok(code) => code,
        Err(failure) => failure.report(output),
    })
}
