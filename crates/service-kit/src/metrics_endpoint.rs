//! The metrics at `/metrics`, in Prometheus' text format.
//!
//! Names have the form `citycode_<service>_<noun>_<unit|total>`; no label identifies a person or a code. There is one
//! recorder per process; installing it again, as tests do, returns the same one.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use bytes::Bytes;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::sync::Mutex;

use crate::shutdown::Signal;

/// Bucket bounds of every histogram in seconds: from below a cached scan (1 µs) to a stuck call (10 s), finest around
/// the time budget of a gate.
pub const SECONDS_BUCKETS: &[f64] = &[
    1e-6, 2e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];

/// Bucket bounds of histograms whose name ends in `_events` or `_bytes`: counts by powers of four.
pub const COUNT_BUCKETS: &[f64] = &[
    0.0,
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
];

/// How often histogram samples are moved into buckets without a scrape, so that they do not accumulate.
const UPKEEP_PERIOD: Duration = Duration::from_secs(5);

/// How long a rendered page is cached. Every client may request it, and rendering some hundred series costs a thousand
/// times as much as a request: without the cache, eight connections that pipeline requests keep a verifier from reading
/// its log.
const PAGE_CACHE_TIME: Duration = Duration::from_millis(200);

static INSTALLED: OnceLock<Result<Metrics, InstallError>> = OnceLock::new();

/// The process's recorder. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    /// The page that was rendered last, while it is cached.
    page: Arc<Mutex<Option<Bytes>>>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// The recorder could not be installed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot install the metrics recorder: {0}")]
pub struct InstallError(String);

/// Installs the recorder, or returns the installed one.
///
/// # Errors
/// [`InstallError`] if the process has another recorder.
pub fn install() -> Result<Metrics, InstallError> {
    INSTALLED.get_or_init(build).clone()
}

fn build() -> Result<Metrics, InstallError> {
    let failed = |error: &dyn std::fmt::Display| InstallError(error.to_string());
    let suffix = |text: &str| Matcher::Suffix(text.to_owned());
    let handle = PrometheusBuilder::new()
        .set_buckets(SECONDS_BUCKETS)
        .and_then(|b| b.set_buckets_for_metric(suffix("_events"), COUNT_BUCKETS))
        .and_then(|b| b.set_buckets_for_metric(suffix("_bytes"), COUNT_BUCKETS))
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| failed(&error))?;
    Ok(Metrics {
        handle,
        page: Arc::default(),
    })
}

impl Metrics {
    /// Everything recorded so far, as Prometheus text 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }

    /// The answer to `GET /metrics`, rendered at most once in [`PAGE_CACHE_TIME`].
    async fn page(&self) -> Bytes {
        let mut page = self.page.lock().await;
        if let Some(page) = &*page {
            return page.clone();
        }
        let rendered = Bytes::from(self.render());
        *page = Some(rendered.clone());
        let kept = Arc::clone(&self.page);
        tokio::spawn(async move {
            tokio::time::sleep(PAGE_CACHE_TIME).await;
            kept.lock().await.take();
        });
        rendered
    }

    /// `GET /metrics`.
    pub fn routes(&self) -> Router {
        let this = self.clone();
        Router::new().route(
            "/metrics",
            get(move || async move {
                (
                    [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
                    this.page().await,
                )
            }),
        )
    }

    /// Bounds the memory of samples without scrapes, until `stop`. Spawn it once per process.
    pub async fn run_upkeep(self, stop: Signal) {
        let mut tick = tokio::time::interval(UPKEEP_PERIOD);
        let mut stopped = std::pin::pin!(stop.wait());
        loop {
            tokio::select! {
                _ = tick.tick() => self.handle.run_upkeep(),
                () = &mut stopped => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_requests_share_one_rendering() {
        let metrics = install().unwrap();
        let asked = metrics::counter!("citycode_kit_pages_total");
        asked.increment(1);
        let first = metrics.page().await;
        asked.increment(1);
        for _ in 0..1_000 {
            assert_eq!(metrics.page().await.as_ptr(), first.as_ptr(), "the same bytes");
        }
        // The paused clock must not advance before the task that clears the cache waits for it.
        tokio::task::yield_now().await;
        tokio::time::advance(PAGE_CACHE_TIME).await;
        tokio::task::yield_now().await;
        let next = metrics.page().await;
        assert!(String::from_utf8_lossy(&next).contains("citycode_kit_pages_total 2"));
    }

    #[test]
    fn installing_twice_returns_the_same_recorder_and_histograms_have_buckets() {
        let first = install().unwrap();
        let second = install().unwrap();
        metrics::histogram!("citycode_kit_scan_seconds").record(3e-6);
        metrics::histogram!("citycode_kit_lag_events").record(5.0);
        metrics::counter!("citycode_kit_calls_total").increment(2);
        let text = second.render();
        assert!(text.contains("citycode_kit_calls_total 2"), "{text}");
        assert!(
            text.contains("citycode_kit_scan_seconds_bucket{le=\"0.000005\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("citycode_kit_scan_seconds_bucket{le=\"0.000002\"} 0"),
            "{text}"
        );
        assert!(text.contains("citycode_kit_lag_events_bucket{le=\"16\"} 1"), "{text}");
        assert!(first.render().contains("citycode_kit_calls_total 2"));
    }
}
