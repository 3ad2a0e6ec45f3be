//! `city`: issuing end to end over gRPC on NATS servers that flush before they acknowledge, and the time until every
//! verifier refuses a revoked code.
//!
//! Client, issuer and servers share the machine's cores. An issue includes everything that a separate issuer service
//! does: it reads two pages of the vault from their leader, decides, signs, seals, appends, and folds the register.
//! Codes are reissued to registered people in rotation, so that no page and no bucket is cached more than in a city.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use citycode_event_store::follow::{Progress, follow};
use citycode_event_store::{EventStore, Layout, LogId, LogPosition};
use citycode_event_store_jetstream::{self as jetstream, Durability, JetStreamEventStore};
use citycode_projection::status::{self, FingerprintKey, StatusReader};
use citycode_service_kit::entropy::{Draw as _, OsEntropy};
use citycode_testkit::{NatsCluster, NatsServer, Person};
use citycode_vault::jetstream::{self as vault, JetStreamVault, NewVault, VaultConfig, VaultKey, VaultKeys};
use citycode_wire::proto::issuer::v1::IssueRequest;
use futures::StreamExt as _;
use zeroize::Zeroizing;

use crate::issue::city::{Client, Dependencies, IssuerUp, random};
use crate::replay::StatusFold;
use crate::report::{Figure, Goal, Report};
use crate::{Scale, folder};

/// People who are registered before the measurement.
const PEOPLE: u64 = 4_000;
const ISSUES: u64 = 20_000;
const IN_FLIGHT: usize = 256;
/// The rate of 25 million reissues in an hour.
const WANTED: f64 = 7_000.0;
/// Codes that are superseded one after the other while verifiers follow the log.
const DEATHS: u64 = 400;
const VERIFIERS: usize = 8;
const KIND: &str = "sampling";
const CHANNEL: &str = "app";

/// Partitions of a log: few for servers that share two cores, so that concurrent commits form batches (decision 18),
/// and as many as a city has.
const FEW: u16 = 1;
const MANY: u16 = 16;

pub(crate) fn run(report: &mut Report, scale: Scale) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        for (partitions, names) in [
            (FEW, ["issue_1", "issue_1_p99_at_half", "propagation_1"]),
            (
                MANY,
                ["issue_1_of_16", "issue_1_of_16_p99_at_half", "propagation_1_of_16"],
            ),
        ] {
            let one = NatsServer::start().await;
            measure(report, scale, &[one.url()], partitions, names).await?;
        }
        for (partitions, names) in [
            (FEW, ["issue_3", "issue_3_p99_at_half", "propagation_3"]),
            (
                MANY,
                ["issue_3_of_16", "issue_3_of_16_p99_at_half", "propagation_3_of_16"],
            ),
        ] {
            let three = NatsCluster::start().await;
            measure(report, scale, &three.urls(), partitions, names).await?;
        }
        Ok(())
    })
}

async fn measure(
    report: &mut Report,
    scale: Scale,
    servers: &[String],
    partitions: u16,
    names: [&'static str; 3],
) -> Result<()> {
    let folder = folder::temporary()?;
    let config = jetstream::Config {
        replicas: u8::try_from(servers.len())?,
        ..jetstream::Config::new(servers.to_vec(), "bench", Durability::Unproven)
    };
    let dependencies = dependencies(&config, partitions).await?;
    let up = IssuerUp::start(folder.path(), &dependencies).await?;
    let client = up.client().await?;
    let people: Vec<Person> = citycode_testkit::City::new(42, jiff::civil::date(2022, 8, 31), &[])
        .take(scale.of(PEOPLE) as usize)
        .collect();
    crate::issue::import(client.clone(), &people).await?;
    let (rate, _) = issue(&client, &people, scale.of(ISSUES), IN_FLIGHT, None).await?;
    report.push(Figure::new(names[0], rate, "codes/s").goal(Goal::AtLeast(WANTED)));
    let half = rate.min(WANTED) / 2.0;
    let (_, mut waits) = issue(&client, &people, scale.of(ISSUES) / 2, IN_FLIGHT, Some(half)).await?;
    let p99 = quantile(&mut waits, 0.99);
    report.push(Figure::new(names[1], p99.as_secs_f64() * 1e3, "ms").goal(Goal::AtMost(50.0)));
    propagate(report, scale, &config, &client, &people, names[2]).await?;
    up.stop().await
}

async fn dependencies(config: &jetstream::Config, partitions: u16) -> Result<Dependencies> {
    let log_id = LogId(OsEntropy.array());
    let layout = Layout::new(partitions, Layout::default().buckets_per_partition())?;
    jetstream::provision(config, &jetstream::NewLog::new(log_id, layout)).await?;
    let store = JetStreamEventStore::open(config).await?;
    let vault_config = VaultConfig {
        connection: config.connection.clone(),
        replicas: config.replicas,
        expected_log_id: Some(log_id.0),
        replaced_by: None,
    };
    let master = VaultKeys::only(VaultKey::Master(Zeroizing::new(OsEntropy.array())));
    let new = NewVault {
        vault_id: OsEntropy.array(),
        log_id: log_id.0,
        // With this number each page has 32 people. A whole city has about 200 people in each of 65,536 pages.
        pages: 128,
        origin: vault::Origin::NewLog,
    };
    vault::provision(&vault_config, &new).await?;
    let vault = JetStreamVault::open(&vault_config, &master, random()).await?;
    Ok(Dependencies {
        store: Arc::new(store),
        vault: Arc::new(vault),
        with_status: false,
    })
}

/// Issues codes with at most `in_flight` concurrent calls, as fast as possible or at a rate. Returns codes per second,
/// and the time of each call since it was due.
async fn issue(
    client: &Client,
    people: &[Person],
    codes: u64,
    in_flight: usize,
    rate: Option<f64>,
) -> Result<(f64, Vec<Duration>)> {
    let start = Instant::now();
    let waits = futures::stream::iter((0..codes).zip(people.iter().cycle()))
        .map(|(number, person)| {
            let mut client = client.clone();
            let request = IssueRequest {
                channel: CHANNEL.into(),
                kind: KIND.into(),
                id_number: person.id_number.clone(),
                ..IssueRequest::default()
            };
            let due = rate.map(|rate| start + Duration::from_secs_f64(number as f64 / rate));
            async move {
                if let Some(due) = due {
                    tokio::time::sleep_until(due.into()).await;
                }
                let from = due.unwrap_or_else(Instant::now);
                let answer = client.issue(request).await.context("an issue failed")?;
                ensure!(answer.into_inner().code.is_some(), "an issue without a code");
                Ok(from.elapsed())
            }
        })
        .buffer_unordered(in_flight)
        .collect::<Vec<Result<Duration>>>()
        .await
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    Ok((codes as f64 / start.elapsed().as_secs_f64(), waits))
}

fn quantile(waits: &mut [Duration], q: f64) -> Duration {
    waits.sort_unstable();
    let at = ((waits.len() as f64 - 1.0) * q) as usize;
    waits.get(at).copied().unwrap_or_default()
}

/// Measures the time from an acknowledged reissue until the last of eight verifiers has folded that the old code is
/// invalid, and for comparison that of a bare message through the same servers to as many subscribers.
async fn propagate(
    report: &mut Report,
    scale: Scale,
    config: &jetstream::Config,
    client: &Client,
    people: &[Person],
    name: &'static str,
) -> Result<()> {
    let mut verifiers = Vec::new();
    for _ in 0..VERIFIERS {
        verifiers.push(Watching::start(config).await?);
    }
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let subscribers = Bare::start(&config.connection.servers).await?;
    for person in people.iter().cycle().take(scale.of(DEATHS) as usize) {
        let request = IssueRequest {
            channel: CHANNEL.into(),
            kind: KIND.into(),
            id_number: person.id_number.clone(),
            ..IssueRequest::default()
        };
        let mut client = client.clone();
        let from = Instant::now();
        client.issue(request).await?;
        let acknowledged = from.elapsed();
        // Waits until all verifiers have folded everything in the log, including the end of the old code.
        let heads = verifiers[0].store.heads().await?;
        for verifier in &verifiers {
            verifier.progress.wait_for_all(&heads).await?;
        }
        ours.push(from.elapsed() - acknowledged);
        bare.push(subscribers.round().await?);
    }
    let (ours, bare) = (quantile(&mut ours, 0.99), quantile(&mut bare, 0.99));
    let figure = Figure::new(name, ours.as_secs_f64() * 1e3, "ms").goal(Goal::AtMost(50.0));
    report.push(figure.reference(bare.as_secs_f64() * 1e3));
    report.note(format!(
        "{name}: p99 from the acknowledgement until all {VERIFIERS} verifiers have folded it, one question for the heads included; beside it the p99 of a bare message to {VERIFIERS} subscribers"
    ));
    Ok(())
}

/// A verifier's projection that follows the log over a separate connection.
struct Watching {
    store: Arc<JetStreamEventStore>,
    progress: Progress,
    _reader: StatusReader,
}

impl Watching {
    async fn start(config: &jetstream::Config) -> Result<Self> {
        let store = Arc::new(JetStreamEventStore::open(config).await?);
        let partitions = store.layout().partitions();
        let (writer, reader) = status::new(partitions, FingerprintKey(OsEntropy.array()));
        let progress = Progress::new(&LogPosition::start(partitions));
        let (followed, following) = (Arc::clone(&store), progress.clone());
        tokio::spawn(async move {
            let mut fold = StatusFold(writer);
            drop(follow(&*followed, &mut fold, &following).await);
        });
        progress.wait_until_live().await?;
        Ok(Self {
            store,
            progress,
            _reader: reader,
        })
    }
}

/// Bare subscribers on separate connections.
struct Bare {
    publisher: async_nats::Client,
    subscribers: Vec<tokio::sync::Mutex<async_nats::Subscriber>>,
    _clients: Vec<async_nats::Client>,
}

impl Bare {
    async fn start(servers: &[String]) -> Result<Self> {
        let publisher = async_nats::connect(servers).await?;
        let (mut subscribers, mut clients) = (Vec::new(), Vec::new());
        for _ in 0..VERIFIERS {
            let client = async_nats::connect(servers).await?;
            subscribers.push(tokio::sync::Mutex::new(client.subscribe("bare").await?));
            client.flush().await?;
            clients.push(client);
        }
        Ok(Self {
            publisher,
            subscribers,
            _clients: clients,
        })
    }

    async fn round(&self) -> Result<Duration> {
        let from = Instant::now();
        self.publisher.publish("bare", vec![7; 480].into()).await?;
        for subscriber in &self.subscribers {
            subscriber.lock().await.next().await.context("the subscription ended")?;
        }
        Ok(from.elapsed())
    }
}
