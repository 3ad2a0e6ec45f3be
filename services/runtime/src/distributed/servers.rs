//! The health of the NATS servers, from their monitoring endpoints.
//!
//! Prometheus cannot read the JSON of these endpoints, so each service exports it among its metrics. Each service
//! measures independently, which distinguishes a failed server from a network partition.

mod streams;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use citycode_scan_records::DAY_SECONDS;
use citycode_service_kit::clock::Clock;
use serde_json::Value;
use streams::Streams;

/// Period of the measurement.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// Time limit of a request to a server's monitoring.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// Measures these servers forever. Drop the future to stop.
pub(super) async fn keep_measuring(monitors: Vec<String>, clock: Arc<dyn Clock>) {
    // The servers are in the service's own network, so a proxy of the environment is not used.
    let Ok(client) = reqwest::Client::builder().timeout(TIME_LIMIT).no_proxy().build() else {
        tracing::error!("the HTTP client cannot be created: NATS servers are not measured");
        return;
    };
    let mut tick = tokio::time::interval(MEASURE_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut known_foreign = BTreeMap::new();
    loop {
        tick.tick().await;
        let measured = monitors.iter().map(|monitor| measure(&client, monitor));
        let reports: Vec<Value> = futures::future::join_all(measured)
            .await
            .into_iter()
            .flatten()
            .collect();
        let mut most = BTreeMap::new();
        for (replica, lag) in reports.iter().flat_map(lags) {
            let known = most.entry(replica).or_insert(0.0_f64);
            *known = known.max(lag);
        }
        if !reports.is_empty() {
            let today = clock.now().0.div_euclid(DAY_SECONDS);
            known_foreign = compare_streams(&reports, today, &known_foreign);
        }
        for (replica, lag) in most {
            metrics::gauge!("citycode_nats_replica_lag_messages", "replica" => replica).set(lag);
        }
    }
}

/// Exports the number of foreign streams and of messages in the provisioned ones, and logs each foreign stream once.
fn compare_streams(
    reports: &[Value],
    today: i64,
    known: &BTreeMap<String, &'static str>,
) -> BTreeMap<String, &'static str> {
    let mut streams = Streams::default();
    for report in reports {
        streams.add(report, today);
    }
    for (stream, why) in streams
        .foreign
        .iter()
        .filter(|(stream, _)| !known.contains_key(*stream))
    {
        tracing::error!(stream, why, "A STREAM ON THE SERVERS WAS NOT PROVISIONED");
    }
    let foreign = u32::try_from(streams.foreign.len()).unwrap_or(u32::MAX);
    metrics::gauge!("citycode_nats_foreign_streams").set(f64::from(foreign));
    for (group, messages) in streams.messages() {
        metrics::gauge!("citycode_nats_stored_messages", "streams" => group.label()).set(messages);
    }
    streams.foreign
}

/// Exports the metrics of a server, and returns its report of streams.
async fn measure(client: &reqwest::Client, monitor: &str) -> Option<Value> {
    let base = monitor.trim_end_matches('/');
    // The label is the host of the URL, so that it is known for a server that is down too.
    let server = base.rsplit("//").next().unwrap_or(base).to_owned();
    let healthy = client.get(format!("{base}/healthz")).send().await;
    let healthy = healthy.is_ok_and(|answer| answer.status().is_success());
    metrics::gauge!("citycode_nats_healthy", "server" => server.clone()).set(f64::from(u8::from(healthy)));
    let report = get(client, &format!("{base}/jsz?accounts=true&streams=true&config=true")).await?;
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    metrics::gauge!("citycode_nats_stored_bytes", "server" => server.clone()).set(number(&report["storage"]));
    metrics::gauge!("citycode_nats_store_limit_bytes", "server" => server)
        .set(number(&report["config"]["max_storage"]));
    Some(report)
}

async fn get(client: &reqwest::Client, url: &str) -> Option<Value> {
    let answer = client.get(url).send().await.ok()?;
    answer.error_for_status().ok()?.json().await.ok()
}

fn lags(report: &Value) -> Vec<(String, f64)> {
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let accounts = list(report, "account_details");
    let streams = accounts.iter().flat_map(|account| list(account, "stream_detail"));
    let replicas = streams.flat_map(|stream| list(&stream["cluster"], "replicas"));
    let lag = |replica: Value| {
        let name = replica["name"].as_str().unwrap_or("unknown").to_owned();
        (name, replica["lag"].as_f64().unwrap_or_default())
    };
    replicas.map(lag).collect()
}
