//! `citycode migrate`: an event log moves to another engine, every position and hash as it was, and is compared whole
//! in the end. Done again, it goes on where it ended; so it also keeps an archive of a log that lives.
//!
//! What it leaves out: the vault and the keys. They are files of the data folder and are copied as files, apart; into the
//! vault of a city on servers people go by `citycode vault import`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use citycode_event_store::copy::{self, CopyError};
use citycode_event_store::{EventStore, Layout, LogId, ReaderVersion};
use citycode_event_store_embedded as embedded;
use citycode_event_store_jetstream as jetstream;
use citycode_service_kit::problem::Code;
use citycode_service_kit::telemetry;
use clap::Args;
use serde_json::json;

use citycode_jetstream::OWN_API;

use citycode_runtime::distributed::LOG_READERS_API;
use citycode_terminal::failure::Failure;
use citycode_terminal::output::{Output, progress};

/// Flags of `migrate`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode migrate --from ~/.local/share/citycode --to nats://10.0.0.1,nats://10.0.0.2 --monitor http://10.0.0.1:8222 --monitor http://10.0.0.2:8222\n  citycode migrate --from nats://10.0.0.1 --to /backup/log --unproven\n\nOnly the event log moves. Into a folder, copy the folders `keys`, `vault` and `scans` beside it; onto servers, the people follow by `citycode vault import`. Nobody else may write to the target.\nOn servers with the accounts of `citycode secrets` a log is read by the user `archive` and written by the user `restore` (--nkey-file)."
)]
pub struct MigrateArgs {
    #[command(flatten)]
    places: Places,
}

/// Two places of a log, and how to reach them.
#[derive(Args)]
pub(crate) struct Places {
    /// The log that is: a data folder, a log's folder, or NATS servers (nats://HOST:PORT, several with commas).
    #[arg(long, value_name = "PLACE")]
    from: String,
    /// Where it goes; made there if absent.
    #[arg(long, value_name = "PLACE")]
    to: String,
    #[command(flatten)]
    reach: Reach,
}

/// How to reach a log on servers.
#[derive(Args)]
pub(crate) struct Reach {
    /// How many NATS servers keep a copy of each partition.
    #[arg(long, default_value_t = 3)]
    replicas: u8,
    /// Monitoring of a NATS server, which says whether it flushes before it acknowledges; one flag for each.
    #[arg(long, value_name = "URL", conflicts_with = "unproven")]
    monitor: Vec<String>,
    /// Use NATS servers that do not prove to flush before they acknowledge.
    #[arg(long)]
    unproven: bool,
    /// The NKEY seed of the NATS user: of those that `citycode secrets` makes, `archive` reads a log and `restore` writes
    /// one.
    #[arg(long, value_name = "FILE")]
    nkey_file: Option<PathBuf>,
    /// Certificates that the NATS servers' rest on (PEM).
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Where the user's account has the JetStream API; as `citycode secrets` sets it up, unless said: a log is read by
    /// a user who only reads, and written by one of the account that keeps it.
    #[arg(long, value_name = "PREFIX")]
    api: Option<String>,
}

/// Copies a log to another engine, or restores it from an archive.
///
/// # Errors
/// [`Failure`] with what to do.
pub async fn run(args: &MigrateArgs, output: Output) -> Result<(), Failure> {
    let telemetry = show_warnings();
    let moved = move_whole(args, output).await;
    if let Ok(telemetry) = telemetry {
        telemetry.shutdown().await;
    }
    moved
}

/// What servers say beside their answers, a permission that this user lacks among it: they do not answer what they
/// refuse, so the failure itself can only tell that no answer came.
fn show_warnings() -> Result<telemetry::Telemetry, telemetry::TelemetryError> {
    let mut settings = telemetry::Settings::from_process("citycode-migrate", env!("CARGO_PKG_VERSION"));
    settings.filter.get_or_insert_with(|| "warn".to_owned());
    telemetry::init(&settings)
}

async fn move_whole(args: &MigrateArgs, output: Output) -> Result<(), Failure> {
    let (source, target) = args.places.open().await?;
    let commits = async |store: &Arc<dyn EventStore>| {
        let heads = store.heads().await.map_err(|error| failed(&CopyError::Read(error)))?;
        Ok::<_, Failure>(heads.commits())
    };
    let left = commits(&source).await?.saturating_sub(commits(&target).await?);
    let bar = progress(left, "commits");
    let counted = bar.clone();
    let copied = copy::copy(&source, &target, move |_| counted.inc(1)).await;
    let reached = copied.map_err(|error| failed(&error))?;
    bar.set_message("comparing");
    copy::compare(&*source, &*target, &reached)
        .await
        .map_err(|error| failed(&error))?;
    bar.finish_and_clear();
    let whole = json!({
        "log_id": source.log_id().to_string(),
        "copied": left,
        "commits": reached.commits(),
        "partitions": reached.partitions(),
    });
    let facts = [
        ("log", source.log_id().to_string()),
        ("copied now", left.to_string()),
        ("the same on both sides", format!("{} commits", reached.commits())),
    ];
    output.thing(&whole, &facts)
}

/// What a log that is made for a copy takes over from its source.
#[derive(Clone, Copy)]
pub(crate) struct New {
    log_id: LogId,
    layout: Layout,
    minimum_reader: ReaderVersion,
}

impl Places {
    /// Both logs; the second is made where it is absent.
    pub(crate) async fn open(&self) -> Result<(Arc<dyn EventStore>, Arc<dyn EventStore>), Failure> {
        let source = self.reach.open_at(&self.from, None, LOG_READERS_API).await?;
        let new = New {
            log_id: source.log_id(),
            layout: source.layout(),
            minimum_reader: source.minimum_reader(),
        };
        let target = self.reach.open_at(&self.to, Some(new), OWN_API).await?;
        Ok((source, target))
    }
}

impl Reach {
    /// The log at a place; made as the source is where a new one is given and none is there. A user with a seed has the
    /// JetStream API at `api`, unless a flag says otherwise.
    pub(crate) async fn open_at(
        &self,
        place: &str,
        new: Option<New>,
        api: &str,
    ) -> Result<Arc<dyn EventStore>, Failure> {
        if place.starts_with("nats://") || place.starts_with("tls://") {
            return self.open_servers(place, new, api).await;
        }
        let folder = log_folder(Path::new(place));
        if new.is_some() {
            // As `up` makes its own: sealed or not, a city's log is nobody else's to read.
            let made = citycode_service_kit::files::create_private_dir(&folder);
            made.map_err(|error| Failure::file("make", &folder, error))?;
        }
        let config = embedded::Config {
            create: new.map(|new| embedded::NewLog {
                log_id: new.log_id,
                layout: new.layout,
                minimum_reader: new.minimum_reader,
            }),
            ..embedded::Config::default()
        };
        let opened = tokio::task::spawn_blocking(move || embedded::EmbeddedEventStore::open(&folder, &config)).await;
        let opened = opened.map_err(|error| cannot_open(place, &error))?;
        Ok(Arc::new(opened.map_err(|error| cannot_open(place, &error))?))
    }

    async fn open_servers(&self, place: &str, new: Option<New>, api: &str) -> Result<Arc<dyn EventStore>, Failure> {
        let durability = if self.unproven {
            jetstream::Durability::Unproven
        } else {
            let monitors = self.monitor.clone();
            jetstream::Durability::SyncAlways { monitors }
        };
        let servers = place.split(',').map(str::to_owned).collect();
        let mut config = jetstream::Config::new(servers, "citycode migrate", durability);
        config.replicas = self.replicas;
        config.connection.root_certificates = self.ca.clone();
        if let Some(path) = &self.nkey_file {
            let seed = citycode_service_kit::files::read_private(path);
            let seed = seed.map_err(|error| Failure::file("read", path, error))?;
            let seed = String::from_utf8_lossy(&seed).trim().to_owned();
            config.connection.credentials = jetstream::Credentials::NkeySeed(seed.into());
            config.connection.api = api.to_owned();
        }
        if let Some(api) = &self.api {
            config.connection.api.clone_from(api);
        }
        if let Some(new) = new {
            let new = jetstream::NewLog {
                log_id: new.log_id,
                layout: new.layout,
                minimum_reader: new.minimum_reader,
            };
            let made = jetstream::provision(&config, &new).await;
            made.map_err(|error| cannot_open(place, &error))?;
        }
        let opened = jetstream::JetStreamEventStore::open(&config).await;
        Ok(Arc::new(opened.map_err(|error| cannot_open(place, &error))?))
    }
}

/// The folder itself, or its `log` where it is a data folder of `up`.
fn log_folder(folder: &Path) -> PathBuf {
    let inner = folder.join("log");
    if inner.join("manifest").exists() {
        inner
    } else {
        folder.to_owned()
    }
}

fn cannot_open(place: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::of_code(
        Code::Unavailable,
        format_args!("the log at {place} cannot be used"),
        error,
        Some("mend that and run it again; what was copied stands"),
    )
}

pub(crate) fn failed(error: &CopyError) -> Failure {
    Failure::local(
        "the log was not moved whole",
        error,
        "mend that and run it again; what was copied stands",
    )
}
