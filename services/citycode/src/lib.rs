//! The command line of citycode.
//!
//! Its client commands know the outside contract only: the JSON API, exit codes, pictures and print sheets. They
//! share no code with the services; what they say of an error is what the server said of it.
//!
//! | module | does |
//! |---|---|
//! | [`cli`] | the commands, their flags and help |
//! | `commands` | one file a command |
//! | [`client`] | HTTP: token, time limits, repeating what is safe to repeat |
//! | [`phone`] | a file that stands in for a phone's key store |
//! | [`picture`] | codes as PNG, SVG and print sheet |
//! | [`residents`] | CSV files of residents, in and out |
//! | [`scan_lines`] | what scanners write, cut into scans |
//! | [`route`] | which calls go through a proxy of the environment |

pub mod cli;
pub mod client;
mod commands;
mod demo;
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

/// Runs one command line and says how the process is to end. Prints; reads the environment.
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
    // A thread may still wait for standard input; nothing depends on it any more.
    runtime.shutdown_background();
    ExitCode::from(match ended {
        Ok(code) => code,
        Err(failure) => failure.report(output),
    })
}
