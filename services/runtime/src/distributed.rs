//! The services as separate processes, on an event log on NATS servers: `citycode-issuer`, `citycode-revocation`,
//! `citycode-verifier`, `citycode-audit` and `citycode-portal`, any number of each, started in any order.
//!
//! Each serves `/health/…` and `/metrics` from its start, waits for unavailable dependencies, and reports in its health
//! what it waits for. On a signal to stop, it first reports "not ready" in its health, so that callers use other
//! instances, then lets calls in flight finish, writes its snapshots and exits.

mod assertions;
mod audit;
mod dependencies;
mod issuer;
mod listeners;
mod named_files;
mod pages;
mod policy;
mod portal;
mod reported_records;
mod revocation;
mod scan_batches;
mod servers;
mod settings;
mod shared_snapshot;
mod state_folder;
mod verifier;
mod writer;

pub use assertions::KEY as ASSERTION_USES_KEY;
pub use dependencies::QUERIES_KEY;
pub use pages::{PAGE_TOKENS_KEY, SESSION_KEY};
pub use settings::ServiceSettings;
pub use settings::{LOG_READERS_API, SCANS_READERS_API, VAULT_READERS_API};
pub use state_folder::StateFolderError;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use citycode_issuer::vault_age::VaultAgeError;
use citycode_service_kit::clock::SystemClock;
use citycode_service_kit::config::{self, Sources};
use citycode_service_kit::entropy::OsEntropy;
use citycode_service_kit::shutdown::Signal;
use citycode_service_kit::telemetry;
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tracing::Instrument as _;

use crate::wiring::snapshots::Snapshot;
use crate::wiring::{Environment, StartError, snapshots, state_metrics};
use citycode_terminal::failure::{self, Failure};
use citycode_terminal::output::{Format, Output};
use listeners::Listeners;

/// The service of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Registers, issues, reprints, erases; has a signing key.
    Issuer,
    /// Takes loss reports, holds and standings; publishes status lists.
    Revocation,
    /// Judges scans.
    Verifier,
    /// Reads the whole log for auditors.
    Audit,
    /// The JSON API and the pages.
    Portal,
}

impl Role {
    /// The program's name.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Issuer => "citycode-issuer",
            Self::Revocation => "citycode-revocation",
            Self::Verifier => "citycode-verifier",
            Self::Audit => "citycode-audit",
            Self::Portal => "citycode-portal",
        }
    }

    /// Its short name, as in addresses and metrics.
    const fn name(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::Revocation => "revocation",
            Self::Verifier => "verifier",
            Self::Audit => "audit",
            Self::Portal => "portal",
        }
    }

    const fn about(self) -> &'static str {
        match self {
            Self::Issuer => "Registers residents, issues and reprints codes, erases people; has its own signing key",
            Self::Revocation => "Takes loss reports, holds and standings; builds and signs the status lists",
            Self::Verifier => "Judges scans from memory and records them",
            Self::Audit => "Reads the whole log and answers auditors",
            Self::Portal => "Serves the JSON API and the web pages, and calls the other services",
        }
    }
}

/// Flags of every service.
#[derive(Parser)]
struct ServiceArgs {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "CITYCODE_CONFIG")]
    config: Option<PathBuf>,
    /// Address to listen on, for HTTP and gRPC; port 0 takes a free port.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Check the configuration and exit.
    #[arg(long)]
    check_config: bool,
}

/// The parts of a started service.
pub(crate) struct Service {
    /// Its gRPC services.
    pub(crate) router: axum::Router,
    /// Snapshots for the next start.
    pub(crate) snapshots: Vec<Arc<dyn Snapshot>>,
    /// Background tasks.
    pub(crate) tasks: Vec<JoinHandle<()>>,
    /// The lock on the state folder, which must outlive the tasks.
    pub(crate) state_lock: Option<Box<dyn std::any::Any + Send>>,
    /// Receives the reason if the service must not serve any longer.
    pub(crate) ended: Option<oneshot::Receiver<VaultAgeError>>,
}

/// Runs the program of a service and returns its exit code. Reads the environment.
#[must_use]
pub fn main(role: Role) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let command = ServiceArgs::command()
        .name(role.program())
        .about(role.about())
        .version(env!("CARGO_PKG_VERSION"));
    let parsed = command
        .try_get_matches_from(&arguments)
        .and_then(|matches| ServiceArgs::from_arg_matches(&matches));
    let args = match parsed {
        Ok(args) => args,
        Err(error) => return ExitCode::from(failure::report_usage(&error, &arguments)),
    };
    let output = Output::new(Format::default());
    let ended = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::local("cannot start", error, "free some memory or threads"))
        .and_then(|runtime| runtime.block_on(run(role, &args)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(failure.report(output)),
    }
}

async fn run(role: Role, args: &ServiceArgs) -> Result<(), Failure> {
    let sources = Sources::from_process(args.config.clone()).with_flag("listen", args.listen);
    let settings: ServiceSettings = config::load(&sources).map_err(|error| StartError::Config(error).into_failure())?;
    settings.validate(role).map_err(StartError::into_failure)?;
    if args.check_config {
        named_files::check(role, &settings).map_err(StartError::into_failure)?;
        return citycode_terminal::output::say("the configuration is in order");
    }
    let telemetry = telemetry::init(&telemetry::Settings::from_process(
        role.program(),
        env!("CARGO_PKG_VERSION"),
    ));
    citycode_service_kit::serve::raise_descriptor_limit();
    let stopped = Signal::from_os().map_err(|error| StartError::Signals(error).into_failure())?;
    let environment = Environment {
        clock: Arc::new(SystemClock::new()),
        entropy: Arc::new(OsEntropy),
    };
    let served = serve(role, &settings, &environment, &stopped).await;
    if let Ok(telemetry) = telemetry {
        telemetry.shutdown().await;
    }
    match served {
        // A signal to stop during startup is not a failure.
        Ok(()) | Err(StartError::Interrupted) => Ok(()),
        Err(error) => Err(error.into_failure()),
    }
}

/// Runs from the first answer to a health check to the last call in flight.
async fn serve(
    role: Role,
    settings: &ServiceSettings,
    environment: &Environment,
    stopped: &Signal,
) -> Result<(), StartError> {
    let listeners = Listeners::open(role, settings, stopped)?;
    let opening = open(role, settings, environment, &listeners, stopped);
    let opened = tokio::select! {
        opened = opening => opened,
        () = stopped.clone().wait() => Err(StartError::Interrupted),
    };
    let service = match opened {
        Ok(service) => service,
        Err(error) => {
            listeners.close(std::time::Duration::ZERO).await;
            return Err(error);
        }
    };
    listeners.serve(service.router);
    let every = settings.snapshot_every();
    let mut tasks = service.tasks;
    if let Some(folder) = settings.state.clone().filter(|_| role != Role::Portal) {
        let clock = || Arc::clone(&environment.clock);
        tasks.push(tokio::spawn(state_metrics::keep_measuring(folder, clock())));
        let monitors = settings.log.monitors.clone();
        tasks.push(tokio::spawn(servers::keep_measuring(monitors, clock())));
    }
    tasks.push(tokio::spawn(snapshots::keep_saving(
        service.snapshots.clone(),
        every,
        stopped.clone(),
    )));
    listeners.wait_until_ready(stopped).await;
    if !stopped.is_pulled() {
        citycode_terminal::output::say(&format!("ready {}", listeners.url())).map_err(|_| StartError::Interrupted)?;
    }
    let ended = tokio::select! {
        () = stopped.clone().wait() => Ok(()),
        error = reason_to_end(service.ended) => Err(error),
    };
    listeners.close(settings.drain()).await;
    snapshots::save_all(&service.snapshots).await;
    for task in &tasks {
        task.abort();
    }
    for task in tasks {
        // The only error is the abort above.
        let _ = task.await;
    }
    drop(service.state_lock);
    ended
}

/// Waits until the service reports a reason to end; pending forever if it never does.
async fn reason_to_end(ended: Option<oneshot::Receiver<VaultAgeError>>) -> StartError {
    if let Some(ended) = ended
        && let Ok(error) = ended.await
    {
        return error.into();
    }
    std::future::pending().await
}

async fn open(
    role: Role,
    settings: &ServiceSettings,
    environment: &Environment,
    listeners: &Listeners,
    stopped: &Signal,
) -> Result<Service, StartError> {
    match role {
        Role::Issuer => issuer::open(settings, environment, listeners.health(), stopped).await,
        Role::Revocation => revocation::open(settings, environment, listeners.health()).await,
        Role::Verifier => verifier::open(settings, environment, listeners.health()).await,
        Role::Audit => audit::open(settings, environment, listeners.health()).await,
        Role::Portal => portal::open(settings, environment, listeners.health()).await,
    }
}

/// A service's gRPC routes with reflection, for [`Listeners::serve`].
fn grpc_router(routes: Routes) -> Result<axum::Router, StartError> {
    let reflected = citycode_service_kit::serve::with_reflection(routes, &[citycode_wire::proto::FILE_DESCRIPTOR_SET])?;
    let http = citycode_service_kit::serve::with_fallbacks(axum::Router::new());
    Ok(citycode_service_kit::serve::app(reflected, http).layer(axum::middleware::from_fn(traced)))
}

/// Answers a call in a span that continues the caller's trace.
async fn traced(request: axum::extract::Request, next: axum::middleware::Next) -> axum::response::Response {
    let parent = request.headers().get("traceparent").cloned();
    let span = tracing::info_span!("call", method = request.uri().path());
    let answering = async move {
        if let Some(parent) = parent.as_ref().and_then(|parent| parent.to_str().ok()) {
            telemetry::set_parent_from(parent);
        }
        next.run(request).await
    };
    answering.instrument(span).await
}
