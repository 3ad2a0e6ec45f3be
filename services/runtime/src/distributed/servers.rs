//! How the NATS servers are, as their own monitoring tells every service that has its addresses.
//!
//! Prometheus cannot read that monitoring, and the services know whom they depend on: so they say it among their
//! numbers. Each service sees for itself, which tells a dead server from a cut road.

mod streams;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use citycode_scan_records::DAY_SECONDS;
use citycode_service_kit::clock::Clock;
use serde_json::Value;
use streams::Standing;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a server's monitoring may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks at these servers' monitoring for ever. Drop the future to stop.
pub(super) async fn keep_measuring(monitors: Vec<String>, clock: Arc<dyn Clock>) {
    // The servers stand in the service's own network: a proxy of the environment is not asked about them.
    let Ok(client) = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build() else {
        tracing::error!("there is no HTTP client: NATS servers are not measured");
        return;
    };
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut known_foreign = BTreeMap::new();
    loop {
        tick.tick().await;
        let looks = monitors.iter().map(|monitor| measure(&client, monitor));
        let told: Vec<Value> = futures::future::join_all(looks).await.into_iter().flatten().collect();
        let mut most = BTreeMap::new();
        for (replica, lag) in told.iter().flat_map(lags) {
            let known = most.entry(replica).or_insert(0.0_f64);
            *known = known.max(lag);
        }
        if !told.is_empty() {
            let today = clock.now().0.div_euclid(DAY_SECONDS);
            known_foreign = compare_streams(&told, today, &known_foreign);
        }
        for (replica, lag) in most {
            metrics::gauge!("citycode_nats_replica_lag_messages", "replica" => replica).set(lag);
        }
    }
}

/// Tells of streams that nobody provisioned, aloud once for each, and of how many messages stand in the others.
fn compare_streams(
    told: &[Value],
    today: i64,
    known: &BTreeMap<String, &'static str>,
) -> BTreeMap<String, &'static str> {
    let mut standing = Standing::default();
    for told in told {
        standing.take(told, today);
    }
    for (stream, why) in standing
        .foreign
        .iter()
        .filter(|(stream, _)| !known.contains_key(*stream))
    {
        tracing::error!(stream, why, "A STREAM STANDS ON THE SERVERS THAT WAS NOT PROVISIONED");
    }
    let foreign = u32::try_from(standing.foreign.len()).unwrap_or(u32::MAX);
    metrics::gauge!("citycode_nats_foreign_streams").set(f64::from(foreign));
    for (group, messages) in standing.messages() {
        metrics::gauge!("citycode_nats_stored_messages", "streams" => group.label()).set(messages);
    }
    standing.foreign
}

/// What this server tells of its streams; the rest goes to the recorder.
async fn measure(client: &reqwest::Client, monitor: &str) -> Option<Value> {
    let base = monitor.trim_end_matches('/');
    // The host names the server, so that one that is down has a name too.
    let server = base.rsplit("//").next().unwrap_or(base).to_owned();
    let healthy = client.get(format!("{base}/healthz")).send().await;
    let healthy = healthy.is_ok_and(|answer| answer.status().is_success());
    metrics::gauge!("citycode_nats_healthy", "server" => server.clone()).set(f64::from(u8::from(healthy)));
    let told = ask(client, &format!("{base}/jsz?accounts=true&streams=true&config=true")).await?;
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    metrics::gauge!("citycode_nats_stored_bytes", "server" => server.clone()).set(number(&told["storage"]));
    metrics::gauge!("citycode_nats_store_limit_bytes", "server" => server).set(number(&told["config"]["max_storage"]));
    Some(told)
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
