//! `citycode archive`: follows a log in use and keeps an independent, verified copy of it until stopped.
//!
//! Every commit is appended to the archive's own log and must get the same position and hash there. At startup, the
//! whole archive of earlier runs is compared with the source. An archive is append-only: if the source was changed, was
//! restored to an earlier state, or is another log, the command fails.

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
    after_help = "Example:\n  citycode archive --from tls://nats-1,tls://nats-2 --to /backup/log --nkey-file archive.nk --ca ca.pem\n\nEnds with SIGTERM. To restore a log from it: citycode restore --from /backup/log --to nats://…"
)]
pub struct ArchiveArgs {
    #[command(flatten)]
    places: Places,
    /// Seconds between two polls for new commits.
    #[arg(long, default_value_t = 1)]
    every: u64,
    /// Address that serves /metrics, including the archive's age.
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
}

/// Period of the metric of the archive's age.
const AGE_METRIC_EVERY: Duration = Duration::from_secs(1);

/// Follows a log and keeps a verified copy of it until it is stopped.
///
/// # Errors
/// [`Failure`] with advice.
pub async fn run(args: &ArchiveArgs, clock: &Arc<dyn Clock>) -> Result<(), Failure> {
    let stopped = Signal::from_os().map_err(|error| StartError::Signals(error).into_failure())?;
    let telemetry = telemetry::init(&telemetry::Settings::from_process(
        "citycode-archive",
        env!("CARGO_PKG_VERSION"),
    ));
    serve_metrics(args.metrics, &stopped)?;
    // The age counts from here until the archive was complete for the first time: opening and comparing may take long
    // or hang, and the alert must fire then.
    let complete_at = Arc::new(AtomicU64::new(millis(clock)));
    tokio::spawn(keep_measuring_age(Arc::clone(&complete_at), Arc::clone(clock)));
    // An interrupted run leaves an incomplete archive, which the next run continues.
    let followed = tokio::select! {
        followed = follow(args, clock, &complete_at) => followed,
        () = stopped.clone().wait() => Ok(()),
    };
    if let Ok(telemetry) = telemetry {
        telemetry.shutdown().await;
    }
    followed
}

fn serve_metrics(address: Option<SocketAddr>, stopped: &Signal) -> Result<(), Failure> {
    let Some(address) = address else {
        return Ok(());
    };
    let listener = Listener::bind(address).map_err(|error| StartError::Serve(error).into_failure())?;
    let listener = listener.limited(Limits::default().of_management());
    let routes = with_fallbacks(endpoints::metrics_routes(stopped));
    metric_list::register(&[metric_list::Part::Serving, metric_list::Part::Archive]);
    tracing::info!(address = %listener.address(), "serving metrics");
    tokio::spawn(listener.serve(app(tonic::service::Routes::default(), routes), stopped.clone()));
    Ok(())
}

/// Measures the time since the archive was complete, even while reading the log takes long.
async fn keep_measuring_age(complete_at: Arc<AtomicU64>, clock: Arc<dyn Clock>) {
    let mut tick = tokio::time::interval(AGE_METRIC_EVERY);
    loop {
        tick.tick().await;
        let age = clock
            .monotonic()
            .saturating_sub(Duration::from_millis(complete_at.load(Ordering::Relaxed)));
        metrics::gauge!("citycode_archive_age_seconds").set(age.as_secs_f64());
    }
}

fn millis(clock: &Arc<dyn Clock>) -> u64 {
    u64::try_from(clock.monotonic().as_millis()).unwrap_or(u64::MAX)
}

/// Compares the existing archive with the source, then copies new commits, forever. Drop the future to stop.
async fn follow(args: &ArchiveArgs, clock: &Arc<dyn Clock>, complete_at: &AtomicU64) -> Result<(), Failure> {
    let (source, target) = args.places.open().await?;
    let archived = target.heads().await.map_err(|error| failed(&CopyError::Read(error)))?;
    copy::compare(&*source, &*target, &archived)
        .await
        .map_err(|error| failed(&error))?;
    citycode_terminal::output::say(&format!("ready archive of {} commits", archived.commits()))?;
    let mut tick = tokio::time::interval(Duration::from_secs(args.every.max(1)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let started_at = millis(clock);
        match copy_new(&source, &target).await {
            Ok(commits) => {
                complete_at.store(started_at, Ordering::Relaxed);
                metrics::counter!("citycode_archive_commits_total").increment(commits);
                if commits > 0 {
                    tracing::info!(commits, "archived");
                }
            }
            Err(CopyError::Read(error)) if is_transient(&error) => tracing::warn!(%error, "the log cannot be read now"),
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

fn is_transient(error: &citycode_event_store::ReadError) -> bool {
    matches!(error, citycode_event_store::ReadError::Unavailable(_))
}
