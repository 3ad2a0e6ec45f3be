//! Log lines on standard error, spans to an OTLP collector if one is configured, and the W3C trace context that links a
//! kiosk's call to the gate's scan.
//!
//! Redaction rule: nothing personal appears in a span, an event or an error's text, at any level: no ID number, name,
//! phone number or token, also not truncated or hashed. A holder is identified by its random id, a call by its command
//! id. No filter catches mistakes; types that hold personal data do not show it in `Debug`.

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

/// Environment variable with the filter, in `tracing-subscriber`'s directives; `info` without it.
pub const FILTER_ENV: &str = "CITYCODE_LOG";
/// Environment variable with the collector's address, e.g. `http://localhost:4317`; without it nothing is exported.
pub const OTLP_ENDPOINT_ENV: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// Longest wait for the collector, at an export and at shutdown.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// The only header of the W3C trace context that is passed on. `tracestate` is vendor data and is not passed on.
const TRACEPARENT: &str = "traceparent";

/// Settings of telemetry.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `service.name` of the spans, e.g. `citycode-issuer`.
    pub service_name: &'static str,
    /// `service.version`.
    pub service_version: &'static str,
    /// Whether log lines are JSON objects.
    pub json: bool,
    /// The filter; `info` if absent or malformed.
    pub filter: Option<String>,
    /// The collector's gRPC address, plain HTTP; TLS is the task of a collector or sidecar.
    pub otlp_endpoint: Option<String>,
}

impl Settings {
    /// Filter and endpoint from [`FILTER_ENV`] and [`OTLP_ENDPOINT_ENV`].
    #[must_use]
    pub fn from_process(service_name: &'static str, service_version: &'static str) -> Self {
        let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        Self {
            service_name,
            service_version,
            json: false,
            filter: variable(FILTER_ENV),
            otlp_endpoint: variable(OTLP_ENDPOINT_ENV),
        }
    }
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// This process already has a subscriber.
    #[error("telemetry is set up already")]
    AlreadySet,
}

/// The exporter. Call [`Telemetry::shutdown`] at the end, or the last spans are lost.
#[derive(Debug)]
pub struct Telemetry {
    provider: SdkTracerProvider,
}

/// Sets up logging and tracing for the whole process, once; inside a tokio runtime if an endpoint is given. An unusable
/// filter or endpoint is logged in the first line and ignored, because a service without logs is worse than one without
/// spans.
///
/// # Errors
/// [`TelemetryError`].
pub fn init(settings: &Settings) -> Result<Telemetry, TelemetryError> {
    let (provider, unusable) = provider(settings);
    let directives = settings.filter.as_deref().unwrap_or("info");
    let (filter, malformed) = match EnvFilter::try_new(directives) {
        Ok(filter) => (filter, false),
        Err(_) => (EnvFilter::new("info"), true),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if settings.json {
        lines.json().boxed()
    } else {
        let colours = std::io::IsTerminal::is_terminal(&std::io::stderr())
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        lines.with_ansi(colours).boxed()
    };
    let spans = span_layer(&provider);
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .with(spans)
        .try_init()
        .map_err(|_| TelemetryError::AlreadySet)?;
    if malformed {
        tracing::warn!(variable = FILTER_ENV, "the log filter is malformed; using info");
    }
    if let Some(error) = unusable {
        tracing::error!(
            variable = OTLP_ENDPOINT_ENV,
            error,
            "this is not the address of a collector; no spans are exported"
        );
    }
    Ok(Telemetry { provider })
}

/// Context activation is off: it would fix a span's parent when the span is entered, before a handler has read the
/// caller's `traceparent`. OpenTelemetry's own current context is not used.
fn span_layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a> + Send + Sync,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("citycode"))
        .with_context_activation(false)
}

/// Without a usable endpoint spans still have ids, so that the trace context reaches the event log. The second value is
/// the error of an unusable endpoint.
fn provider(settings: &Settings) -> (SdkTracerProvider, Option<String>) {
    let resource = Resource::builder()
        .with_service_name(settings.service_name)
        .with_attribute(KeyValue::new("service.version", settings.service_version))
        .build();
    let builder = SdkTracerProvider::builder().with_resource(resource);
    let Some(endpoint) = &settings.otlp_endpoint else {
        return (builder.build(), None);
    };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build();
    match exporter {
        Ok(exporter) => (builder.with_batch_exporter(exporter).build(), None),
        Err(error) => (builder.build(), Some(error.to_string())),
    }
}

impl Telemetry {
    /// Sends the remaining spans, for at most 5 seconds. It needs a running multi-threaded runtime.
    pub async fn shutdown(self) {
        let flushed = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(EXPORT_TIMEOUT)).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::warn!("the last spans may not have reached the collector");
        }
    }
}

/// The current span's W3C `traceparent` (Trace Context §3.2), if it has one.
#[must_use]
pub fn current_traceparent() -> Option<String> {
    traceparent_of(&Span::current().context())
}

/// Makes the span of this `traceparent` the parent of the current one. Call it before the current span has children.
/// Returns false for malformed text and without telemetry.
pub fn set_parent_from(traceparent: &str) -> bool {
    match context_of(traceparent) {
        Some(context) => Span::current().set_parent(context).is_ok(),
        None => false,
    }
}

fn traceparent_of(context: &Context) -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(context, &mut carrier);
    carrier.remove(TRACEPARENT)
}

fn context_of(traceparent: &str) -> Option<Context> {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    let valid = context.span().span_context().is_valid();
    valid.then_some(context)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
    use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    /// A subscriber for this thread only, so that tests do not interfere.
    fn with_tracing(test: impl FnOnce()) {
        let (provider, _) = provider(&Settings::default());
        let subscriber = tracing_subscriber::registry().with(span_layer(&provider));
        tracing::subscriber::with_default(subscriber, test);
    }

    #[test]
    fn the_current_span_continues_the_callers_trace() {
        with_tracing(|| {
            let span = tracing::info_span!("call");
            let _entered = span.enter();
            assert!(set_parent_from(PARENT));
            let own = current_traceparent().unwrap();
            assert_eq!(own[..36], PARENT[..36], "the trace is the caller's");
            assert_ne!(own[36..52], PARENT[36..52], "the span is our own");
        });
    }

    #[test]
    fn malformed_parents_are_rejected() {
        with_tracing(|| {
            let span = tracing::info_span!("call");
            let _entered = span.enter();
            for text in [
                "",
                "00-xyz",
                "00-00000000000000000000000000000000-b7ad6b7169203331-01",
                &PARENT[..40],
                &"0".repeat(100_000),
            ] {
                assert!(!set_parent_from(text));
            }
        });
    }

    #[test]
    fn without_telemetry_there_is_no_trace() {
        tracing::subscriber::with_default(tracing_subscriber::registry(), || {
            assert_eq!(current_traceparent(), None);
        });
    }

    #[tokio::test]
    async fn an_invalid_endpoint_is_reported_and_ignored() {
        let settings = Settings {
            otlp_endpoint: Some("no address at all".into()),
            ..Settings::default()
        };
        let (provider, unusable) = provider(&settings);
        assert!(unusable.is_some());
        let subscriber = tracing_subscriber::registry().with(span_layer(&provider));
        tracing::subscriber::with_default(subscriber, || {
            let _entered = tracing::info_span!("call").entered();
            assert!(current_traceparent().is_some(), "spans have ids nevertheless");
        });
    }

    /// A collector that forwards the requests that it receives.
    struct Collector(tokio::sync::mpsc::Sender<ExportTraceServiceRequest>);

    #[tonic::async_trait]
    impl TraceService for Collector {
        async fn export(
            &self,
            request: tonic::Request<ExportTraceServiceRequest>,
        ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
            let _ = self.0.send(request.into_inner()).await;
            Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn spans_reach_a_real_otlp_collector_before_the_shutdown_ends() {
        let (sender, mut received) = tokio::sync::mpsc::channel(8);
        let routes = tonic::service::Routes::new(TraceServiceServer::new(Collector(sender)));
        let listener = crate::serve::Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let endpoint = format!("http://{}", listener.address());
        let (_trigger, stop) = crate::shutdown::Signal::channel();
        tokio::spawn(listener.serve(
            crate::serve::app(routes, crate::serve::with_fallbacks(axum::Router::new())),
            stop,
        ));
        let (provider, unusable) = provider(&Settings {
            service_name: "citycode-test",
            otlp_endpoint: Some(endpoint),
            ..Settings::default()
        });
        assert_eq!(unusable, None);
        let subscriber = tracing_subscriber::registry().with(span_layer(&provider));
        tracing::subscriber::with_default(subscriber, || {
            let _entered = tracing::info_span!("issue").entered();
            assert!(set_parent_from(PARENT));
        });
        Telemetry { provider }.shutdown().await;
        let request = received.try_recv().expect("sent before the shutdown ended");
        let spans = &request.resource_spans[0].scope_spans[0].spans;
        assert_eq!(spans[0].name, "issue");
        let trace = data_encoding::HEXLOWER.encode(&spans[0].trace_id);
        assert_eq!(trace, PARENT[3..35]);
        assert!(format!("{:?}", request.resource_spans[0].resource).contains("citycode-test"));
    }
}
