//! How the NATS servers are, as their own monitoring tells every service that has its addresses.
//!
//! Prometheus cannot read that monitoring, and the services know whom they depend on: so they say it among their
//! numbers. Each service sees for itself, which tells a dead server from a cut road.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a server's monitoring may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks at these servers' monitoring for ever. Drop the future to stop.
pub(super) async fn keep_measuring(monitors: Vec<String>) {
    let Ok(client) = reqwest::Client::builder().timeout(PATIENCE).build() else {
        tracing::error!("there is no HTTP client: NATS servers are not measured");
        return;
    };
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let looks = monitors.iter().map(|monitor| measure(&client, monitor));
        let mut most = BTreeMap::new();
        for (replica, lag) in futures::future::join_all(looks).await.into_iter().flatten() {
            let known = most.entry(replica).or_insert(0.0_f64);
            *known = known.max(lag);
        }
        for (replica, lag) in most {
            metrics::gauge!("citycode_nats_replica_lag_messages", "replica" => replica).set(lag);
        }
    }
}

/// How far replicas are behind the leaders that this server has; the rest goes to the recorder.
async fn measure(client: &reqwest::Client, monitor: &str) -> Vec<(String, f64)> {
    let base = monitor.trim_end_matches('/');
    // The host names the server, so that one that is down has a name too.
    let server = base.rsplit("//").next().unwrap_or(base).to_owned();
    let healthy = client.get(format!("{base}/healthz")).send().await;
    let healthy = healthy.is_ok_and(|answer| answer.status().is_success());
    metrics::gauge!("citycode_nats_healthy", "server" => server.clone()).set(f64::from(u8::from(healthy)));
    let Some(told) = ask(client, &format!("{base}/jsz?accounts=true&streams=true")).await else {
        return Vec::new();
    };
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    metrics::gauge!("citycode_nats_stored_bytes", "server" => server.clone()).set(number(&told["storage"]));
    metrics::gauge!("citycode_nats_store_limit_bytes", "server" => server).set(number(&told["config"]["max_storage"]));
    lags(&told)
}

async fn ask(client: &reqwest::Client, url: &str) -> Option<Value> {
    let answer = client.get(url).send().await.ok()?;
    answer.error_for_status().ok()?.json().await.ok()
}

fn lags(told: &Value) -> Vec<(String, f64)> {
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let accounts = list(told, "account_details");
    let streams = accounts.iter().flat_map(|account| list(account, "stream_detail"));
    let replicas = streams.flat_map(|stream| list(&stream["cluster"], "replicas"));
    let lag = |replica: Value| {
        let name = replica["name"].as_str().unwrap_or("unknown").to_owned();
        (name, replica["lag"].as_f64().unwrap_or_default())
    };
    replicas.map(lag).collect()
}
