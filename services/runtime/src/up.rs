//! `citycode up`: the whole system in one process on the embedded store.

mod access;
mod arguments;
mod assertions;
mod begin_anew;
mod data_folder;
mod demo;
mod dependencies;
mod endpoints;
mod folder_manifest;
mod local_admin;
mod loss_journal;
mod losses;
mod mark_keeper;
mod marks;
mod parts;
mod recovery;
mod settings;
mod stopped;
mod system;
mod web_pages;

pub use arguments::UpArgs;
pub use begin_anew::BeginAnew;
pub use data_folder::DataFolderError;
pub(crate) use folder_manifest::parse_log_id;
pub use folder_manifest::{ManifestError, Part};
pub use parts::PartError;
pub use settings::{Once, Settings};
pub use stopped::StoppedSystem;
pub use system::System;

pub use crate::wiring::{Environment, StartError};

use std::io::IsTerminal as _;
use std::path::PathBuf;

use citycode_service_kit::config::{self, Sources};
use citycode_service_kit::serve::raise_descriptor_limit;
use citycode_service_kit::shutdown::Signal;
use citycode_service_kit::telemetry;

use crate::local_token;
use citycode_terminal::failure::Failure;
use citycode_terminal::output::say;

/// Runs the system until a signal to stop. Prints `ready http://ADDR` once it serves, and on a terminal a second line
/// with a start link for its pages.
///
/// # Errors
/// A [`Failure`] if it did not start.
pub async fn run(args: &UpArgs, environment: Environment) -> Result<(), Failure> {
    let settings = load(args).map_err(StartError::into_failure)?;
    if args.check_config {
        settings.check_named_files().map_err(StartError::into_failure)?;
        say("the configuration is in order")?;
        return Ok(());
    }
    let telemetry = telemetry::init(&telemetry::Settings::from_process(
        "citycode",
        env!("CARGO_PKG_VERSION"),
    ));
    raise_descriptor_limit();
    let stopped = Signal::from_os().map_err(|error| StartError::Signals(error).into_failure())?;
    let system = tokio::select! {
        started = System::start(settings, environment) => started.map_err(StartError::into_failure)?,
        () = stopped.clone().wait() => return Err(StartError::Interrupted.into_failure()),
    };
    let (address, token_file) = (system.address, system.admin_token_file.clone());
    if let Err(error) = local_token::remember(address, &token_file, system.admin_socket()) {
        tracing::warn!(%error, "clients on this machine will not find the admin token automatically");
    }
    say(&format!("ready http://{}", system.address))?;
    if std::io::stdout().is_terminal() {
        match system.start_link().await {
            Ok(secret) => say(&format!("start http://{}/start#{}", system.address, *secret))?,
            Err(problem) => tracing::warn!(error = problem.detail(), "no start link could be made"),
        }
    }
    stopped.wait().await;
    local_token::forget(address, &token_file);
    system.stop().await;
    if let Ok(telemetry) = telemetry {
        telemetry.shutdown().await;
    }
    Ok(())
}

fn load(args: &UpArgs) -> Result<Settings, StartError> {
    let text = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let sources = Sources::from_process(args.config.clone())
        .with_flag("listen", args.listen)
        .with_flag("data", text(&args.data))
        .with_flag("policy", text(&args.policy));
    let mut settings: Settings = config::load(&sources)?;
    if !args.witness.is_empty() {
        settings.witnesses.clone_from(&args.witness);
    }
    settings.demo = args.demo;
    settings.once = Once {
        begin_anew: args.begin_anew.clone(),
        accept_loss: args.accept_loss,
    };
    Ok(settings)
}
