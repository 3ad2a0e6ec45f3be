//! `citycode up`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use citycode_event_store::LogId;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::entropy::Entropy;
use clap::Args;

use crate::failure::Failure;
use crate::up::{BeginAnew, Surroundings, parse_log_id};

/// Flags of `up`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  citycode up --data /var/lib/citycode --listen 127.0.0.1:8080 --policy policies/shanghai.toml"
)]
pub(crate) struct UpArgs {
    /// The data folder; without it one in the user's data directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where to listen, HTTP and gRPC; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// The policy file; without it Shanghai's.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// A configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Only say whether the configuration is in order.
    #[arg(long)]
    pub(crate) check_config: bool,
    /// Start once although a part of the data folder is lost: `vault`, `log` or `scans`, with the log's identity.
    #[arg(long, value_name = "PART=LOGID")]
    pub(crate) begin_anew: Vec<BeginAnew>,
    /// Start once although changes of the log are lost, and undo what that makes unsafe; with the log's identity.
    #[arg(long, value_name = "LOGID", value_parser = log_id)]
    pub(crate) accept_loss: Option<LogId>,
}

fn log_id(text: &str) -> Result<LogId, &'static str> {
    parse_log_id(text).ok_or("LOGID is the log's identity, 32 hex digits")
}

pub(crate) async fn run(args: &UpArgs, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Result<(), Failure> {
    crate::up::run(args, Surroundings { clock, entropy }).await
}
