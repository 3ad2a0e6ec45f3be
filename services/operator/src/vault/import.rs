//! `citycode vault import`: the people of a `citycode up` that outgrew its machine, into the vault of the city on servers.
//!
//! Everybody keeps holder and key, so that codes and their seals in the log, which moved by `citycode migrate`, are what
//! they were. The folder is only read. Cut short, it is done again and goes on.

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

/// People under way at once: more than one server's answers take. Two of one page wait for each other.
const AT_ONCE: usize = 32;

#[derive(Args)]
#[command(
    after_help = "Before: the log moved to the servers (`citycode migrate`), `citycode provision` made the vault, and no issuer runs. The folder `keys` of the configuration holds the city's vault-master.key; the NATS user is `vault-issuer`.\nAfter: start an issuer first; it erases whom the log calls erased."
)]
pub(super) struct ImportArgs {
    /// The configuration file (TOML), of the services' form; [vault], [log] and `keys` count.
    #[arg(long, value_name = "FILE", env = "CITYCODE_CONFIG")]
    config: Option<PathBuf>,
    /// The data folder of the `citycode up` that was, which no longer runs.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// That `up`'s own master key, where it does not stand in its folder `keys`.
    #[arg(long, value_name = "FILE")]
    master_key_file: Option<PathBuf>,
}

/// What came of everybody.
#[derive(Default)]
struct Counted {
    here: u64,
    erased: u64,
    other_holder: u64,
}

pub(super) async fn run(args: &ImportArgs, output: Output, entropy: &Arc<dyn Entropy>) -> Result<(), Failure> {
    let settings = settings(args.config.as_deref())?;
    let entropy = Arc::clone(entropy);
    let random: FillRandom = Arc::new(move |bytes| entropy.fill(bytes));
    let lock = args.from.join("in-use");
    let _alone = LockFile::take(&lock).map_err(|error| Failure::file("use", &args.from, error))?;
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
        keys.ok_or_else(|| not_imported(&"nothing says where the city's keys are: name their folder in `keys`"))?;
    let keys = VaultKeys::only(VaultKey::Master(secret(&keys.join("vault-master.key"))?));
    let to = JetStreamVault::open(&config, &keys, random).await;
    let to = to.map_err(|error| not_imported(&error))?;
    // Before and after: a crash in between leaves people whom nobody has looked at, and so may an issuer that ran.
    to.forget_mark().await.map_err(|error| not_imported(&error))?;
    let bar = progress(holders.len() as u64, "people");
    let mut taken = futures::stream::iter(holders)
        .map(|holder| take(&from, &to, holder))
        .buffer_unordered(AT_ONCE);
    let mut counted = Counted::default();
    while let Some(one) = taken.next().await {
        match one.map_err(|error| not_imported(&error))? {
            Some(TakenOver::Here) => counted.here += 1,
            Some(TakenOver::OtherHolder) => counted.other_holder += 1,
            Some(TakenOver::Erased) | None => counted.erased += 1,
        }
        bar.inc(1);
    }
    drop(taken);
    to.forget_mark().await.map_err(|error| not_imported(&error))?;
    bar.finish_and_clear();
    tell(&counted, output)
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

/// The identity of the folder's log: the servers' vault must be of the same.
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
    // Of the log beside it, and never made: an empty one would be imported as if nobody were registered.
    EmbeddedVault::open_for_log(&folder, &master, random, log_id, ForLog::Adopt)
        .map_err(|error| Failure::file("use the vault in", &folder, error))
}

fn secret(path: &Path) -> Result<Zeroizing<[u8; 32]>, Failure> {
    files::read_secret(path).map_err(|error| Failure::file("read", path, error))
}

fn tell(counted: &Counted, output: Output) -> Result<(), Failure> {
    let Counted {
        here,
        erased,
        other_holder,
    } = counted;
    let whole = json!({ "people": here, "erased": erased, "another_holder": other_holder });
    let facts = [
        ("people taken over", here.to_string()),
        ("erased here, and left so", erased.to_string()),
        (
            "registered here as another holder, and left so",
            other_holder.to_string(),
        ),
    ];
    output.thing(&whole, &facts)
}

fn not_imported(why: &dyn std::fmt::Display) -> Failure {
    Failure::of_code(
        Code::Unavailable,
        format_args!("the people were not all taken over"),
        why,
        Some("mend that and run it again: it goes on where it was"),
    )
}
