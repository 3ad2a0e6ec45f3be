//! `citycode archive`: an independent, verified copy of a log that lives, kept up with it for as long as it runs.
//!
//! Every commit is appended to the archive's own log, where its position and its hash must be the source's; what an
//! earlier run archived is compared whole when this one begins. An archive never goes back and takes nothing that
//! does not continue it: a source that was changed, restored from older, or is another one, ends it loudly.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use citycode_event_store::EventStore;
use citycode_event_store::copy::{self, CopyError};
use citycode_service_kit::shutdown::Signal;
use citycode_service_kit::telemetry;
use clap::Args;

use super::migrate::{Places, failed};
use crate::compose::StartError;
use crate::failure::Failure;

/// Flags of `archive`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  citycode archive --from tls://nats-1,tls://nats-2 --to /backup/log --nkey-file archive.nk --ca ca.pem\n\nEnds with SIGTERM. To bring a log back from it: citycode restore --from /backup/log --to nats://…"
)]
pub(crate) struct ArchiveArgs {
    #[command(flatten)]
    places: Places,
    /// Seconds between two looks for new commits.
    #[arg(long, default_value_t = 1)]
    every: u64,
}

pub(crate) async fn run(args: &ArchiveArgs) -> Result<(), Failure> {
    let stopped = Signal::from_os().map_err(|error| StartError::Signals(error).into_failure())?;
    let telemetry = telemetry::init(&telemetry::Settings::from_process(
        "citycode-archive",
        env!("CARGO_PKG_VERSION"),
    ));
    let followed = follow(args, &stopped).await;
    if let Ok(telemetry) = telemetry {
        telemetry.shutdown().await;
    }
    followed
}

async fn follow(args: &ArchiveArgs, stopped: &Signal) -> Result<(), Failure> {
    let (source, target) = args.places.open().await?;
    let beginning = target.heads().await.map_err(|error| failed(&CopyError::Read(error)))?;
    copy::compare(&*source, &*target, &beginning)
        .await
        .map_err(|error| failed(&error))?;
    crate::up::say(&format!("ready archive of {} commits", beginning.commits()))?;
    let mut tick = tokio::time::interval(Duration::from_secs(args.every.max(1)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stopped.clone().wait() => return Ok(()),
        }
        // Interrupted in the middle it leaves a beginning, which the next run continues.
        let copied = tokio::select! {
            copied = copy_new(&source, &target) => copied,
            () = stopped.clone().wait() => return Ok(()),
        };
        match copied {
            Ok(0) => {}
            Ok(commits) => tracing::info!(commits, "archived"),
            Err(CopyError::Read(error)) if is_passing(&error) => tracing::warn!(%error, "the log cannot be read now"),
            Err(error) => return Err(failed(&error)),
        }
    }
}

async fn copy_new(source: &Arc<dyn EventStore>, target: &Arc<dyn EventStore>) -> Result<u64, CopyError> {
    let copied = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&copied);
    copy::copy(source, target, move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    })
    .await?;
    Ok(copied.load(Ordering::Relaxed))
}

fn is_passing(error: &citycode_event_store::ReadError) -> bool {
    matches!(error, citycode_event_store::ReadError::Unavailable(_))
}
