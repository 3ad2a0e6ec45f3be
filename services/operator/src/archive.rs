//! `citycode archive`: an independent, verified copy of a log that lives, kept up with it for as long as it runs.
//!
//! Every commit is appended to the archive's own log, where its position and its hash must be the source's; what an
//! earlier run archived is compared whole when this one begins. An archive never goes back and takes nothing that
//! does not continue it: a source that was changed, restored from older, or is another one, ends it loudly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use citycode_event_store::EventStore;
use citycode_event_store::copy::{self, CopyError};
use citycode_service_kit::clock::Clock;
use citycode_service_kit::serve::{Limits, Listener, app, with_fallbacks};
use citycode_service_kit::shutdown::Signal;
use citycode_service_kit::telemetry;
use clap::Args;

use super::migrate::{Places, failed};
use citycode_runtime::wiring::{StartError, endpoints, metric_list};
use citycode_terminal::failure::Failure;

/// Flags of `archive`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  citycode archive --from tls://nats-1,tls://nats-2 --to /backup/log --nkey-file archive.nk --ca ca.pem\n\nEnds with SIGTERM. To bring a log back from it: citycode restore --from /backup/log --to nats://…"
)]
pub struct ArchiveArgs {
    #[command(flatten)]
    places: Places,
    /// Seconds between two looks for new commits.
    #[arg(long, default_value_t = 1)]
    every: u64,
    /// Where to show numbers at /metrics, the archive's age among them.
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
}

/// Between two looks at how old the archive is.
const TELL_AGE_EVERY: Duration = Duration::from_secs(1);

/// Follows a log and keeps a verified copy of it until it is stopped.
///
/// # Errors
/// [`Failure`] with what to do.
pub async fn run(args: &ArchiveArgs, clock: &Arc<dyn Clock>) -> Result<(), Failure> {
    let stopped = Signal::from_os().map_err(|error| StartError::Signals(error).into_failure())?;
    let telemetry = telemetry::init(&telemetry::Settings::from_process(
        "citycode-archive",
        env!("CARGO_PKG_VERSION"),
    ));
    show_numbers(args.metrics, &stopped)?;
    // Counted from here until the archive was seen to have everything once: opening and comparing may take long, or
    // never end, and the alert is to hear of it.
    let whole_at = Arc::new(AtomicU64::new(millis(clock)));
    tokio::spawn(keep_telling_age(Arc::clone(&whole_at), Arc::clone(clock)));
    // Interrupted in the middle it leaves a beginning, which the next run continues.
    let followed = tokio::select! {
        followed = follow(args, clock, &whole_at) => followed,
        () = stopped.clone().wait() => Ok(()),
    };
    if let Ok(telemetry) = telemetry {
        telemetry.shutdown().await;
    }
    followed
}

fn show_numbers(address: Option<SocketAddr>, stopped: &Signal) -> Result<(), Failure> {
    let Some(address) = address else {
        return Ok(());
    };
    let listener = Listener::bind(address).map_err(|error| StartError::Serve(error).into_failure())?;
    let listener = listener.limited(Limits::default().of_management());
    let routes = with_fallbacks(endpoints::metrics_routes(stopped));
    metric_list::register(&[metric_list::Part::Serving, metric_list::Part::Archive]);
    tracing::info!(address = %listener.address(), "numbers are shown");
    tokio::spawn(listener.serve(app(tonic::service::Routes::default(), routes), stopped.clone()));
    Ok(())
}

/// Tells how long ago the archive had everything, also while a look at the log takes long.
async fn keep_telling_age(whole_at: Arc<AtomicU64>, clock: Arc<dyn Clock>) {
    let mut tick = tokio::time::interval(TELL_AGE_EVERY);
    loop {
        tick.tick().await;
        let age = clock
            .monotonic()
            .saturating_sub(Duration::from_millis(whole_at.load(Ordering::Relaxed)));
        metrics::gauge!("citycode_archive_age_seconds").set(age.as_secs_f64());
    }
}

fn millis(clock: &Arc<dyn Clock>) -> u64 {
    u64::try_from(clock.monotonic().as_millis()).unwrap_or(u64::MAX)
}

/// Compares what was archived before, then takes what is new, for ever. Drop the future to stop.
async fn follow(args: &ArchiveArgs, clock: &Arc<dyn Clock>, whole_at: &AtomicU64) -> Result<(), Failure> {
    let (source, target) = args.places.open().await?;
    let beginning = target.heads().await.map_err(|error| failed(&CopyError::Read(error)))?;
    copy::compare(&*source, &*target, &beginning)
        .await
        .map_err(|error| failed(&error))?;
    citycode_terminal::output::say(&format!("ready archive of {} commits", beginning.commits()))?;
    let mut tick = tokio::time::interval(Duration::from_secs(args.every.max(1)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let asked = millis(clock);
        match copy_new(&source, &target).await {
            Ok(commits) => {
                whole_at.store(asked, Ordering::Relaxed);
                metrics::counter!("citycode_archive_commits_total").increment(commits);
                if commits > 0 {
                    tracing::info!(commits, "archived");
                }
            }
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
