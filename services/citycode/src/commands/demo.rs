//! `citycode demo`.

use std::path::PathBuf;
use std::sync::Arc;

use citycode_service_kit::clock::Clock;
use citycode_service_kit::entropy::Entropy;
use clap::Args;

use citycode_terminal::failure::Failure;
use citycode_terminal::output::Output;

/// Flags of `demo`.
#[derive(Args)]
#[command(after_help = "Example:\n  citycode demo --out pictures/")]
pub(crate) struct DemoArgs {
    /// Folder for the pictures; default: a new folder in the temporary directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) async fn run(
    args: &DemoArgs,
    output: Output,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<u8, Failure> {
    crate::demo::run(args.out.clone(), output, clock, entropy).await
}
