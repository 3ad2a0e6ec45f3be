//! `citycode vault import`: imports the people of a `citycode up` into the vault of a city on servers.
//!
//! Holder ids and keys are preserved, so that codes and sealed data in the log, which `citycode migrate` copies, remain
//! valid. The folder is only read. An interrupted import continues when it is run again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use citycode_event_store::EventStore as _;
use citycode_event_store_embedded as embedded_log;
use citycode_service_kit::entropy::Entropy;
use citycode_service_kit::files::{self, LockFile};
use citycode_service_kit::problem::Code;
use citycode_vault::embedded::EmbeddedVault;
use citycode_vault::jetstream::{JetStreamVault, TakenOver, VaultConfig, VaultKey, VaultKeys};
use citycode_vault::log_binding::ForLog;
use citycode_vault::{FillRandom, Vault as _, VaultError};
use clap::Args;
use futures::StreamExt as _;
use serde_json::json;
use zeroize::Zeroizing;

use super::{settings, vault_config};
use citycode_terminal::failure::Failure;
use citycode_terminal::output::{Output, progress};

/// People imported concurrently, enough to hide the latency of the servers. Two people of one page are serialised.
const CONCURRENT: usize = 32;

#[derive(Args)]
#[command(
    after_help = "Before: copy the log to the servers (`citycode migrate`), create the vault with `citycode provision`, and stop every issuer. The folder `keys` of the configuration contains the city's vault-master.key; the NATS user is `vault-issuer`.\nAfter: start an issuer first; it applies the erasures in the log."
)]
pub(super) struct ImportArgs {
    /// The configuration file (TOML), in the services' format; [vault], [log] and `keys` are used.
    #[arg(long, value_name = "FILE", env = "CITYCODE_CONFIG")]
    config: Option<PathBuf>,
    /// The data folder of the former `citycode up`, which must not be running.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The master key of that data folder, if it is not in its folder `keys`.
    #[arg(long, value_name = "FILE")]
    master_key_file: Option<PathBuf>,
}

/// The number of people by result.
#[derive(Default)]
struct Counts {
    imported: u64,
    erased: u64,
    other_holder: u64,
}

pub(super) async fn run(args: &ImportArgs, output: Output, entropy: &Arc<dyn Entropy>) -> Result<(), Failure> {
    let settings = settings(args.config.as_deref())?;
    let entropy = Arc::clone(entropy);
    let random: FillRandom = Arc::new(move |bytes| entropy.fill(bytes));
    let lock = args.from.join("in-use");
    let _lock = LockFile::take(&lock).map_err(|error| Failure::file("use", &args.from, error))?;
    let log_id = log_of(&args.from)?;
    let config = VaultConfig {
        expected_log_id: Some(log_id),
        ..vault_config(&settings)?
    };
    let (from, holders) = {
        let vault = open_folder(args, random.clone(), &log_id)?;
        let listed = tokio::task::spawn_blocking(move || vault.holders().map(|holders| (vault, holders))).await;
        listed
            .map_err(|error| not_imported(&error))?
            .map_err(|error| not_imported(&error))?
    };
    let keys = settings.keys.as_ref();
    let keys =
        keys.ok_or_else(|| not_imported(&"the folder of the city's keys is not configured: name it in `keys`"))?;
    let keys = VaultKeys::only(VaultKey::Master(secret(&keys.join("vault-master.key"))?));
    let to = JetStreamVault::open(&config, &keys, random).await;
    let to = to.map_err(|error| not_imported(&error))?;
    // The mark is removed before and after the import, so that the next issuer applies all erasures of the log even if
    // the import crashed or an issuer ran meanwhile.
    to.forget_mark().await.map_err(|error| not_imported(&error))?;
    let bar = progress(holders.len() as u64, "people");
    let mut taken = futures::stream::iter(holders)
        .map(|holder| take(&from, &to, holder))
        .buffer_unordered(CONCURRENT);
    let mut counts = Counts::default();
    while let Some(result) = taken.next().await {
        match result.map_err(|error| not_imported(&error))? {
            Some(TakenOver::Here) => counts.imported += 1,
            Some(TakenOver::OtherHolder) => counts.other_holder += 1,
            Some(TakenOver::Erased) | None => counts.erased += 1,
        }
        bar.inc(1);
    }
    drop(taken);
    to.forget_mark().await.map_err(|error| not_imported(&error))?;
    bar.finish_and_clear();
    print(&counts, output)
}

async fn take(
    from: &EmbeddedVault,
    to: &JetStreamVault,
    holder: citycode_domain::ids::HolderId,
) -> Result<Option<TakenOver>, VaultError> {
    let Some(person) = from.open(holder).await? else {
        return Ok(None);
    };
    to.take_over(holder, &person).await.map(Some)
}

/// The identity of the folder's log; the servers' vault must belong to the same log.
fn log_of(folder: &Path) -> Result<[u8; 16], Failure> {
    let log = folder.join("log");
    let opened = embedded_log::EmbeddedEventStore::open(&log, &embedded_log::Config::default());
    let opened = opened.map_err(|error| Failure::file("use the log in", &log, error))?;
    Ok(opened.log_id().0)
}

fn open_folder(args: &ImportArgs, random: FillRandom, log_id: &[u8; 16]) -> Result<EmbeddedVault, Failure> {
    let folder = args.from.join("vault");
    let standard = args.from.join("keys").join("vault-master.key");
    let master = secret(args.master_key_file.as_deref().unwrap_or(&standard))?;
    // A missing vault is not created, because an empty one would be imported as if no one were registered.
    EmbeddedVault::open_for_log(&folder, &master, random, log_id, ForLog::Adopt)
        .map_err(|error| Failure::file("use the vault in", &folder, error))
}

fn secret(path: &Path) -> Result<Zeroizing<[u8; 32]>, Failure> {
    files::read_secret(path).map_err(|error| Failure::file("read", path, error))
}

fn print(counts: &Counts, output: Output) -> Result<(), Failure> {
    let Counts {
        imported,
        erased,
        other_holder,
    } = counts;
    let whole = json!({ "people": imported, "erased": erased, "another_holder": other_holder });
    let facts = [
        ("people imported", imported.to_string()),
        ("skipped: erased on the servers", erased.to_string()),
        (
            "skipped: registered on the servers as another holder",
            other_holder.to_string(),
        ),
    ];
    output.thing(&whole, &facts)
}

fn not_imported(why: &dyn std::fmt::Display) -> Failure {
    Failure::of_code(
        Code::Unavailable,
        format_args!("not all people were imported"),
        why,
        Some("fix the cause and run it again: it continues where it stopped"),
    )
}
