//! Tests that need a process of their own: telemetry's global subscriber, and signals.

use citycode_service_kit::shutdown::Signal;
use citycode_service_kit::telemetry::{self, Settings, TelemetryError};

#[test]
fn telemetry_is_set_up_once_and_spans_have_a_trace_even_with_an_invalid_collector_address() {
    let settings = Settings {
        service_name: "citycode-test",
        filter: Some("info,h2=off".into()),
        json: true,
        otlp_endpoint: Some("no address at all".into()),
        ..Settings::default()
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _inside = runtime.enter();
    let guard = telemetry::init(&settings).expect("the first is set");
    assert!(tracing::enabled!(tracing::Level::INFO), "lines are written");
    assert!(matches!(telemetry::init(&settings), Err(TelemetryError::AlreadySet)));
    tracing::info_span!("call").in_scope(|| {
        let parent = telemetry::current_traceparent().expect("a span has a trace");
        assert_eq!(parent.len(), 55, "{parent}");
    });
    runtime.block_on(guard.shutdown());
}

#[tokio::test]
async fn sigterm_triggers_the_signal() {
    let signal = Signal::from_os().expect("handlers are installed");
    assert!(!signal.is_pulled());
    let sent = std::process::Command::new("kill")
        .args(["-TERM", &std::process::id().to_string()])
        .status()
        .expect("kill exists on every system");
    assert!(sent.success());
    signal.clone().wait().await;
    assert!(signal.is_pulled());
}
