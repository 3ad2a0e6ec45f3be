//! The flags of `citycode up`.

use std::net::SocketAddr;
use std::path::PathBuf;

use citycode_event_store::LogId;
use clap::Args;

use super::{BeginAnew, parse_log_id};

/// Flags of `up`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode up --demo\n  citycode up --data /var/lib/citycode --listen 127.0.0.1:8080 --policy policies/shanghai.toml"
)]
pub struct UpArgs {
    /// The data folder; default: a folder in the user's data directory.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address to listen on, for HTTP and gRPC; port 0 takes a free port.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// The policy file; default: Shanghai's policy.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// A witness that cosigns the log's checkpoints, e.g. `http://witness.example:8090`; one flag for each.
    #[arg(long, value_name = "URL")]
    pub witness: Vec<String>,
    /// Fill a new folder with sample residents, and let anybody on this machine be any of them; codes are not valid.
    #[arg(long)]
    pub demo: bool,
    /// A configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check the configuration and exit.
    #[arg(long)]
    pub check_config: bool,
    /// Recreate a lost part of the data folder, once: `vault`, `log` or `scans`, with the log's identity.
    #[arg(long, value_name = "PART=LOGID")]
    pub begin_anew: Vec<BeginAnew>,
    /// Start once although the log lost changes, and revoke what became unsafe; with the log's identity.
    #[arg(long, value_name = "LOGID", value_parser = log_id)]
    pub accept_loss: Option<LogId>,
}

fn log_id(text: &str) -> Result<LogId, &'static str> {
    parse_log_id(text).ok_or("LOGID is the log's identity, 32 hex digits")
}
