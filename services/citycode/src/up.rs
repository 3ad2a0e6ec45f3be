//! `citycode up`: the whole system in one process on the embedded store.

mod data_folder;
mod faces;
mod settings;
mod snapshots;
mod system;
mod verifying;

pub use data_folder::DataFolderError;
pub use settings::Settings;
pub use system::{Surroundings, System};

use std::io::Write as _;
use std::path::PathBuf;

use citycode_event_store::follow::FollowError;
use citycode_service_kit::config::{self, Sources};
use citycode_service_kit::shutdown::Signal;
use citycode_service_kit::telemetry;

use crate::commands::up::UpArgs;
use crate::failure::Failure;
use crate::local_token;

/// Why the system does not start. Each says what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's sentence says what it is")]
pub enum StartError {
    #[error("the configuration is refused: {0}")]
    Config(#[from] config::ConfigError),
    #[error("the policy is refused: {0}")]
    Policy(#[from] citycode_policy_file::PolicyFileError),
    #[error("the data folder cannot be used: {0}")]
    Folder(#[from] DataFolderError),
    #[error("there is no home folder to keep data in: name a folder with --data")]
    NoHome,
    #[error("the event log cannot be used: {0}")]
    Open(#[from] citycode_event_store_embedded::OpenError),
    #[error("the event log cannot be read: {0}")]
    Read(#[from] citycode_event_store::ReadError),
    #[error("the event log cannot be folded: {0}")]
    Log(String),
    #[error("the event log cannot be followed: {0}")]
    Follow(FollowError),
    #[error(transparent)]
    Keys(#[from] citycode_issuer::KeyFolderError),
    #[error(transparent)]
    File(#[from] citycode_service_kit::files::FileError),
    #[error("the master key file must hold exactly 32 bytes")]
    MasterKeyLength,
    #[error(transparent)]
    Authority(#[from] citycode_service_kit::auth::LocalAuthorityError),
    #[error("the identity provider's keys are refused: {0}")]
    Trust(#[from] citycode_service_kit::auth::KeyError),
    #[error(transparent)]
    Vault(#[from] citycode_vault::VaultError),
    #[error(transparent)]
    Serve(#[from] citycode_service_kit::serve::ServeError),
    #[error("no signing key could be made: {}", .0.detail())]
    FirstKey(citycode_service_kit::problem::Problem),
    #[error("{0}")]
    Verifier(String),
    #[error("stopped while starting")]
    Interrupted,
}

/// Runs the system until it is asked to stop. Prints `ready http://ADDR` once it serves.
///
/// # Errors
/// A [`Failure`] with the reason why it did not start.
pub(crate) async fn run(args: &UpArgs, surroundings: Surroundings) -> Result<(), Failure> {
    let settings = load(args).map_err(failed)?;
    if args.check_config {
        say("the configuration is in order")?;
        return Ok(());
    }
    let telemetry = telemetry::init(&telemetry::Settings::from_process(
        "citycode",
        env!("CARGO_PKG_VERSION"),
    ));
    let asked_to_stop = Signal::from_os().map_err(|error| failed(StartError::Log(error.to_string())))?;
    let system = tokio::select! {
        started = System::start(settings, surroundings) => started.map_err(failed)?,
        () = asked_to_stop.clone().wait() => return Err(failed(StartError::Interrupted)),
    };
    if let Err(error) = local_token::remember(system.address, &system.admin_token_file) {
        tracing::warn!(%error, "clients on this machine will not find the admin token by themselves");
    }
    say(&format!("ready http://{}", system.address))?;
    asked_to_stop.wait().await;
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
    Ok(config::load(&sources)?)
}

/// One line on standard output.
fn say(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let said = writeln!(out, "{line}").and_then(|()| out.flush());
    said.map_err(|error| Failure::local("cannot write to standard output", error, "give it a reader that stays"))
}

fn failed(error: StartError) -> Failure {
    let interrupted = matches!(error, StartError::Interrupted);
    // What lies beneath says why, e.g. that the address is in use.
    let beneath = std::iter::successors(std::error::Error::source(&error), |error| error.source());
    let why = beneath.fold(error.to_string(), |said, error| {
        let more = error.to_string();
        if said.contains(&more) {
            said
        } else {
            format!("{said}: {more}")
        }
    });
    Failure::local(
        "the system does not start",
        why,
        if interrupted {
            "start it again"
        } else {
            "mend that and start again"
        },
    )
}
