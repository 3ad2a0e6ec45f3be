//! `citycode up`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use citycode_service_kit::clock::Clock;
use citycode_service_kit::entropy::Entropy;
use clap::Args;

use crate::failure::Failure;
use crate::up::Surroundings;

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
}

pub(crate) async fn run(args: &UpArgs, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Result<(), Failure> {
    crate::up::run(args, Surroundings { clock, entropy }).await
}
