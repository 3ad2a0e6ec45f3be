//! What `provision` does not make, because it was lost: an event log beside a vault, and a vault beside a log with commits.
//! Both would be used silently: the first forgets every code, the second lets everybody register a second time.

use citycode_event_store::{EventStore as _, LogId};
use citycode_event_store_jetstream::{self as jetstream, JetStreamEventStore};
use citycode_vault::jetstream::{self as vault, ExistingVault, Origin, VaultConfig};

use super::{CLIENT, ProvisionArgs, not_made, patiently, unavailable};
use citycode_runtime::distributed::ServiceSettings;
use citycode_runtime::up::Part;
use citycode_runtime::wiring::StartError;
use citycode_terminal::failure::Failure;

/// The log that stands on the servers.
struct StandingLog {
    log_id: LogId,
    /// Whether somebody may be registered: nothing is committed to a log before its vault stands.
    has_commits: bool,
}

/// Refuses to make what was lost, and says what a vault is made for, if one is. Asks, and changes nothing.
///
/// # Errors
/// A [`Failure`] that names the part and what to do.
pub(super) async fn refuse(
    args: &ProvisionArgs,
    settings: &ServiceSettings,
    log: &jetstream::Config,
) -> Result<Origin, Failure> {
    // Servers that are not up yet must not count as servers that have nothing.
    let opened = patiently(
        args.wait,
        || JetStreamEventStore::open(log),
        jetstream::OpenError::may_pass,
    )
    .await;
    let found = match opened {
        Ok(store) => {
            let heads = store.heads().await;
            let heads = heads.map_err(|error| unavailable("the event log cannot be read", &error))?;
            Some(StandingLog {
                log_id: store.log_id(),
                has_commits: heads.commits() > 0,
            })
        }
        Err(jetstream::OpenError::NoLog) => None,
        // Its making was cut short; one with commits is refused where it is made.
        Err(jetstream::OpenError::PartitionMissing(_)) if args.begin_anew.is_none() => return Ok(Origin::NewLog),
        Err(error) => return Err(unavailable("the event log cannot be used", &error)),
    };
    let vault = standing_vault(args, settings).await?;
    let lost = match (&found, &vault) {
        (None, Some(vault)) => return Err(log_lost(LogId(vault.log_id))),
        (None, None) => None,
        (Some(log), Some(vault)) if vault.log_id != log.log_id.0 => return Err(foreign_vault(log.log_id, vault)),
        // One that is being begun anew, or imported into, is empty until an issuer or the import comes.
        (Some(log), Some(vault)) => {
            let emptied = vault.is_empty && log.has_commits && vault.origin == Origin::NewLog;
            emptied.then_some(log)
        }
        (Some(log), None) => Some(log).filter(|log| log.has_commits && !args.no_vault),
    };
    let log_id = found.as_ref().map(|log| log.log_id);
    match (args.begin_anew, lost) {
        (Some(anew), _) if anew.part != Part::Vault => Err(not_on_servers(anew.part)),
        (Some(anew), _) if Some(anew.log_id) != log_id => {
            let here = log_id.map_or_else(|| "there is none".to_owned(), |log_id| format!("it is {log_id}"));
            let why = format!(
                "--begin-anew vault={}: the servers' log is another one ({here})",
                anew.log_id
            );
            Err(not_made(
                why,
                "name the log of these servers, or leave --begin-anew out",
            ))
        }
        (Some(_), None) => Err(not_made(
            "--begin-anew vault: the part `vault` is not lost, so it is not begun anew",
            "run `citycode provision` without --begin-anew",
        )),
        (_, Some(log)) if vault.is_some() => Err(vault_emptied(log.log_id)),
        (Some(_), Some(_)) => Ok(Origin::BegunAnew),
        (None, Some(_)) if args.import_follows => Ok(Origin::Import),
        (None, Some(log)) => Err(vault_lost(log.log_id)),
        (None, None) => Ok(Origin::NewLog),
    }
}

/// The vault that stands, if one does. Who makes none need not reach its servers.
async fn standing_vault(args: &ProvisionArgs, settings: &ServiceSettings) -> Result<Option<ExistingVault>, Failure> {
    let servers = settings.vault();
    let connection = match servers.connection(CLIENT) {
        Err(_) if args.no_vault => return Ok(None),
        connection => connection.map_err(StartError::into_failure)?,
    };
    let config = VaultConfig {
        connection,
        replicas: servers.replicas(),
        expected_log_id: None,
    };
    let wait = if args.no_vault { 0 } else { args.wait };
    match patiently(wait, || vault::existing_vault(&config), vault::OpenError::may_pass).await {
        Err(_) if args.no_vault => Ok(None),
        standing => standing.map_err(|error| unavailable("the vault cannot be asked about", &error)),
    }
}

fn log_lost(log_id: LogId) -> Failure {
    let why =
        format!("the part `log` is missing: the servers have the vault of the event log {log_id}, and not that log");
    let fix = "restore it from its archive (docs/operations/city.md, \"Restoring from the archive\"); where there is no \
               archive, the city begins again: have the vault's stream KV_CC_VAULT deleted too, and give every service \
               an empty state folder";
    not_made(why, fix)
}

fn foreign_vault(log_id: LogId, vault: &ExistingVault) -> Failure {
    let other = LogId(vault.log_id);
    let why = format!("the part `vault` belongs to the event log {other}, and the servers have the log {log_id}");
    let fix = "bring the log of that vault back from its archive, or have the vault's stream KV_CC_VAULT deleted and bring \
               back the vault of this log (docs/operations/city.md)";
    not_made(why, fix)
}

fn vault_lost(log_id: LogId) -> Failure {
    let why = format!("the part `vault` is missing, and the event log {log_id} has commits");
    let fix = format!(
        "bring it back from its backup (`citycode vault bring-back`; --no-vault makes the rest meanwhile). If there is \
         none, --begin-anew vault={log_id} makes an empty one, and every living code is suspended; if `citycode vault \
         import` comes next, say --import-follows"
    );
    not_made(why, &fix)
}

fn vault_emptied(log_id: LogId) -> Failure {
    let why = format!("the part `vault` is empty, and the event log {log_id} has commits");
    let fix = format!(
        "have its stream KV_CC_VAULT deleted (docs/operations/city.md, \"The vault's backup\"), then bring the vault back \
         from its backup; if there is none, run it with --begin-anew vault={log_id}"
    );
    not_made(why, &fix)
}

fn not_on_servers(part: Part) -> Failure {
    let why = format!("--begin-anew {part}: on servers only the part `vault` can be begun anew");
    let fix = match part {
        Part::Log => {
            "restore the log from its archive (docs/operations/city.md); where there is no archive, have the vault's \
             stream KV_CC_VAULT deleted, and the city begins again"
        }
        _ => "leave it out: streams of scan records that are missing are made",
    };
    not_made(why, fix)
}
