//! Lost parts, which `provision` refuses to create: an event log if there is a vault, and a vault if the log has
//! commits. Both would be used silently: the empty log lacks every code, the empty vault lets every person register
//! twice.

use citycode_event_store::{EventStore as _, Layout, LogId, Partition};
use citycode_event_store_jetstream::{self as jetstream, JetStreamEventStore};
use citycode_vault::jetstream::{self as vault, ExistingVault, Origin, VaultConfig};

use super::{CLIENT, ProvisionArgs, not_made, retried, unavailable};
use citycode_runtime::distributed::ServiceSettings;
use citycode_runtime::up::Part;
use citycode_runtime::wiring::StartError;
use citycode_terminal::failure::Failure;

/// How the missing parts are created.
#[derive(Default)]
pub(super) struct Lost {
    /// The purpose of a vault that is created.
    pub(super) vault: Origin,
    /// The lost log in whose place a log is created.
    pub(super) replaces: Option<LogId>,
}

impl From<Origin> for Lost {
    fn from(vault: Origin) -> Self {
        Self { vault, replaces: None }
    }
}

/// The existing log on the servers.
struct ExistingLog {
    log_id: LogId,
    /// The log to which the parts beside it belong.
    parts: LogId,
    /// Whether people may be registered: nothing is committed to a log before its vault exists.
    has_commits: bool,
}

/// Refuses to create a lost part, unless `--begin-anew` names it. Reads only.
///
/// # Errors
/// A [`Failure`] that names the part and the next step.
pub(super) async fn refuse(
    args: &ProvisionArgs,
    settings: &ServiceSettings,
    log: &jetstream::Config,
    layout: Layout,
) -> Result<Lost, Failure> {
    if let Some(anew) = args.begin_anew.filter(|anew| anew.part == Part::Log) {
        return replace_log(args, settings, log, layout, anew.log_id).await;
    }
    // Servers that are not up yet must not be mistaken for empty ones.
    let opened = retried(
        args.wait,
        || JetStreamEventStore::open(log),
        jetstream::OpenError::may_pass,
    )
    .await;
    let found = match opened {
        Ok(store) => {
            let heads = store.heads().await;
            let heads = heads.map_err(|error| unavailable("the event log cannot be read", &error))?;
            Some(ExistingLog {
                log_id: store.log_id(),
                parts: store.parts_log_id(),
                has_commits: heads.commits() > 0,
            })
        }
        // Without partition 0 it is `NoLog` too.
        Err(jetstream::OpenError::NoLog | jetstream::OpenError::PartitionMissing(_)) if args.begin_anew.is_none() => {
            if let Some(lost) = interrupted(args, settings, log, layout).await? {
                return Ok(lost);
            }
            None
        }
        Err(jetstream::OpenError::NoLog) => None,
        Err(error) => return Err(unavailable("the event log cannot be used", &error)),
    };
    let vault = existing_vault(args, settings).await?;
    let lost = match (&found, &vault) {
        (None, Some(vault)) => return Err(log_lost(LogId(vault.log_id))),
        (None, None) => None,
        (Some(log), Some(vault)) if vault.log_id != log.parts.0 => return Err(foreign_vault(log.log_id, vault)),
        // A vault that is recreated after a loss, or imported into, is empty until an issuer or the import fills it.
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
            Err(not_made(why, "name the log of these servers, or omit --begin-anew"))
        }
        (Some(_), None) => Err(not_made(
            "--begin-anew vault: the part `vault` is not lost, so it is not recreated",
            "run `citycode provision` without --begin-anew",
        )),
        (_, Some(log)) if vault.is_some() => Err(vault_emptied(log.log_id)),
        (Some(_), Some(_)) => Ok(Origin::BegunAnew.into()),
        (None, Some(_)) if args.import_follows => Ok(Origin::Import.into()),
        (None, Some(log)) => Err(vault_lost(log.log_id)),
        (None, None) => Ok(Lost::default()),
    }
}

/// What the servers have of a log.
async fn remains(args: &ProvisionArgs, log: &jetstream::Config) -> Result<Option<jetstream::Remains>, Failure> {
    let remains = retried(args.wait, || jetstream::remains(log), jetstream::OpenError::may_pass).await;
    remains.map_err(|error| unavailable("the event log cannot be inspected", &error))
}

/// An incomplete log whose creation was interrupted; `jetstream::provision` completes it if it has no commits. A vault is
/// created only beside a complete log, so with the log's own vault it was complete. With fewer partitions than it has,
/// another log would be created beside its rest; partitions are created from 0 on, so one without partition 0 was lost.
/// `None` if the servers have no partition.
async fn interrupted(
    args: &ProvisionArgs,
    settings: &ServiceSettings,
    log: &jetstream::Config,
    layout: Layout,
) -> Result<Option<Lost>, Failure> {
    if remains(args, log).await?.is_none() {
        return Ok(None);
    }
    // Another run may have created partition 0 after the first look at it, and others before the look at those.
    let Some(log) = remains(args, log).await? else {
        return Ok(None);
    };
    let vault = existing_vault(args, settings).await?;
    let was_complete = vault.is_some_and(|vault| vault.log_id == log.log_id.0) && !log.missing.is_empty();
    if was_complete || log.layout != layout || log.missing.contains(&Partition(0)) {
        return Err(log_torn(&log));
    }
    Ok(Some(Lost::default()))
}

/// `--begin-anew log=LOGID`: a log is created in place of the lost one of the vault. Its streams name the lost log, so
/// that the vault and the other parts, which no user may change, stay usable. A run that was interrupted, or a log
/// without commits, is continued.
async fn replace_log(
    args: &ProvisionArgs,
    settings: &ServiceSettings,
    log: &jetstream::Config,
    layout: Layout,
    named: LogId,
) -> Result<Lost, Failure> {
    let remains = remains(args, log).await?;
    let Some(vault) = existing_vault(args, settings).await? else {
        let why = "--begin-anew log: the servers have no vault, and without one there is nothing to continue with";
        let fix = "restore the vault from its backup first; without a backup, run `citycode provision` without \
                   --begin-anew, and the city starts from scratch";
        return Err(not_made(why, fix));
    };
    let of_vault = LogId(vault.log_id);
    if of_vault != named {
        let why = format!("--begin-anew log={named}: the vault on the servers belongs to another log, {of_vault}");
        return Err(not_made(why, "name the log of this vault, or omit --begin-anew"));
    }
    let replaces = Lost {
        replaces: Some(named),
        ..Lost::default()
    };
    match remains {
        None => Ok(replaces),
        Some(log) if log.replaces == Some(named) && !log.has_commits && log.layout == layout => Ok(replaces),
        Some(log) if log.missing.is_empty() => Err(not_made(
            "--begin-anew log: the part `log` is not lost, so it is not recreated",
            "run `citycode provision` without --begin-anew",
        )),
        Some(log) => Err(log_torn(&log)),
    }
}

/// Some partitions exist: those that are left may have what a restore from an archive lacks.
fn log_torn(log: &jetstream::Remains) -> Failure {
    let missing: Vec<String> = log.missing.iter().map(ToString::to_string).collect();
    let why = format!(
        "the part `log` is incomplete: the servers still have a part of the event log {} (missing: partitions {})",
        log.log_id,
        missing.join(", ")
    );
    let fix = "restore the log from its archive to empty servers (docs/operations/city.md); only if there is no \
               archive, have the remaining streams CC_EV_… deleted, and create a new log with --begin-anew";
    not_made(why, fix)
}

/// The existing vault, if any. With --no-vault, its servers need not be reachable.
async fn existing_vault(args: &ProvisionArgs, settings: &ServiceSettings) -> Result<Option<ExistingVault>, Failure> {
    let servers = settings.vault();
    let connection = match servers.connection(CLIENT) {
        Err(_) if args.no_vault => return Ok(None),
        connection => connection.map_err(StartError::into_failure)?,
    };
    let config = VaultConfig {
        connection,
        replicas: servers.replicas(),
        expected_log_id: None,
        replaced_by: None,
    };
    let wait = if args.no_vault { 0 } else { args.wait };
    match retried(wait, || vault::existing_vault(&config), vault::OpenError::may_pass).await {
        Err(_) if args.no_vault => Ok(None),
        existing => existing.map_err(|error| unavailable("the vault cannot be inspected", &error)),
    }
}

fn log_lost(log_id: LogId) -> Failure {
    let why =
        format!("the part `log` is missing: the servers have the vault of the event log {log_id}, but not that log");
    let fix = format!(
        "restore it from its archive (docs/operations/city.md, \"Restoring from the archive\"). Only if there is no \
         archive, --begin-anew log={log_id} creates a new log beside the vault: every code is dead then"
    );
    not_made(why, &fix)
}

fn foreign_vault(log_id: LogId, vault: &ExistingVault) -> Failure {
    let other = LogId(vault.log_id);
    let why = format!("the part `vault` belongs to the event log {other}, and the servers have the log {log_id}");
    let fix = "restore the log of that vault from its archive, or delete the vault's stream KV_CC_VAULT and restore the \
               vault of this log (docs/operations/city.md)";
    not_made(why, fix)
}

fn vault_lost(log_id: LogId) -> Failure {
    let why = format!("the part `vault` is missing, and the event log {log_id} has commits");
    let fix = format!(
        "restore it from its backup (`citycode vault bring-back`; --no-vault creates the rest meanwhile). If there is \
         none, --begin-anew vault={log_id} creates an empty one, and every valid code is suspended; if `citycode vault \
         import` comes next, give --import-follows"
    );
    not_made(why, &fix)
}

fn vault_emptied(log_id: LogId) -> Failure {
    let why = format!("the part `vault` is empty, and the event log {log_id} has commits");
    let fix = format!(
        "delete its stream KV_CC_VAULT (docs/operations/city.md, \"The vault's backup\"), then restore the vault from \
         its backup; if there is none, run it with --begin-anew vault={log_id}"
    );
    not_made(why, &fix)
}

fn not_on_servers(part: Part) -> Failure {
    let why = format!("--begin-anew {part}: on servers only the parts `vault` and `log` can be recreated");
    not_made(
        why,
        "omit it: missing streams of scan records and of queries are created",
    )
}
