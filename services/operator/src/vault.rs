//! `citycode vault`: what an operator does to the vault on NATS servers.

mod backup;
mod import;
mod unknown;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use citycode_service_kit::clock::Clock;
use citycode_service_kit::config::{self, Sources};
use citycode_service_kit::entropy::Entropy;
use citycode_service_kit::files;
use citycode_service_kit::problem::Code;
use citycode_vault::jetstream::{JetStreamVault, VaultConfig, VaultKey, VaultKeys};
use clap::{Args, Subcommand};
use serde_json::json;

use citycode_runtime::distributed::ServiceSettings;
use citycode_runtime::wiring::StartError;
use citycode_terminal::failure::Failure;
use citycode_terminal::output::{Output, progress};

/// Its name to the servers.
const CLIENT: &str = "citycode vault";

/// Flags of `vault`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode vault rotate-master --config /etc/citycode/vault.toml\n  citycode vault back-up --config /etc/citycode/vault-backup.toml --to /backup/vault-2026-11-25\n  citycode vault bring-back --config /etc/citycode/vault-backup.toml --from /backup/vault-2026-11-25\n  citycode vault import --config /etc/citycode/vault.toml --from /var/lib/citycode"
)]
pub struct VaultArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Put another master key in the place of the one that is: every page is written anew under it.
    RotateMaster(RotateArgs),
    /// Copy the vault, sealed as it is, from its servers into a new folder; it may be in use meanwhile.
    BackUp(backup::BackUpArgs),
    /// Bring the vault of a backup onto servers that have none.
    BringBack(backup::BringBackArgs),
    /// After a restore: find the codes whose holder the vault does not know, and suspend them. No issuer may run.
    SuspendUnknown(unknown::UnknownArgs),
    /// Take over everybody from the data folder of a `citycode up` whose log moved to the servers.
    Import(import::ImportArgs),
}

#[derive(Args)]
#[command(
    after_help = "Before: `citycode secrets --next-master`, give every service its `vault-….next.key` beside the key it has, and restart them.\nThe folder `keys` of the configuration holds vault-master.key and vault-master.next.key; the NATS user is an issuer's of the vault.\nCut short, run it again: it goes on. After: move each .next.key to its place and restart the services."
)]
struct RotateArgs {
    /// The configuration file (TOML), of the services' form.
    #[arg(long, value_name = "FILE", env = "CITYCODE_CONFIG")]
    config: Option<PathBuf>,
}

/// Runs one of the commands on the vault.
///
/// # Errors
/// [`Failure`] with what to do.
pub async fn run(
    args: &VaultArgs,
    output: Output,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<(), Failure> {
    match &args.what {
        What::SuspendUnknown(args) => unknown::run(args, output, clock, entropy).await,
        What::RotateMaster(args) => rotate(args, output, entropy).await,
        What::BackUp(args) => backup::back_up(args, output).await,
        What::BringBack(args) => backup::bring_back(args, output).await,
        What::Import(args) => import::run(args, output, entropy).await,
    }
}

fn settings(file: Option<&Path>) -> Result<ServiceSettings, Failure> {
    let settings = config::load::<ServiceSettings>(&Sources::from_process(file.map(Path::to_owned)));
    settings.map_err(|error| StartError::Config(error).into_failure())
}

fn vault_config(settings: &ServiceSettings) -> Result<VaultConfig, Failure> {
    let servers = settings.vault();
    Ok(VaultConfig {
        connection: servers.connection(CLIENT).map_err(StartError::into_failure)?,
        replicas: servers.replicas(),
        expected_log_id: None,
    })
}

async fn rotate(args: &RotateArgs, output: Output, entropy: &Arc<dyn Entropy>) -> Result<(), Failure> {
    let settings = settings(args.config.as_deref())?;
    let folder = settings.keys.as_ref();
    let folder = folder.ok_or_else(|| not_rotated("nothing says where the keys are", "name their folder in `keys`"))?;
    let key = |name: &str| {
        let path = folder.join(name);
        let key = files::read_secret(&path).map_err(|error| Failure::file("read", &path, error))?;
        Ok::<_, Failure>(VaultKey::Master(key))
    };
    let keys = VaultKeys {
        current: key("vault-master.key")?,
        next: Some(key("vault-master.next.key")?),
    };
    let config = vault_config(&settings)?;
    let entropy = Arc::clone(entropy);
    let random: citycode_vault::FillRandom = Arc::new(move |bytes| entropy.fill(bytes));
    let vault = JetStreamVault::open(&config, &keys, random).await;
    let vault = vault.map_err(|error| not_rotated(error, "mend that and run it again"))?;
    let bar = progress(vault.pages(), "pages");
    let counted = bar.clone();
    let rotated = vault.rotate(move || counted.inc(1)).await;
    let written = rotated.map_err(|error| not_rotated(error, "run it again: it goes on where it was"))?;
    bar.finish_and_clear();
    let whole = json!({ "pages": vault.pages(), "written_anew": written });
    let facts = [
        ("pages", vault.pages().to_string()),
        ("written anew", written.to_string()),
        (
            "now",
            "move each .next.key to its place, and restart the services".to_owned(),
        ),
    ];
    output.thing(&whole, &facts)
}

fn not_rotated(why: impl std::fmt::Display, what_to_do: &str) -> Failure {
    Failure::of_code(
        Code::Unavailable,
        format_args!("the master key was not replaced everywhere"),
        why,
        Some(what_to_do),
    )
}
