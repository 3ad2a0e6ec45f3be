//! `citycode log`: inspects a position of the log, and declares that the message there is not a commit.
//!
//! A foreign message confines its bucket (crates/event-store/src/foreign.rs). It may be a damaged commit, for example a
//! revocation, so only an operator can declare it, after it was shown that there was no commit at this position. The
//! archive, the snapshots of followers and the later commits are checked, and each can refuse the declaration.

mod declare;
mod evidence;

use std::str::FromStr;
use std::sync::Arc;

use citycode_domain::event::Event;
use citycode_event_store::follow::resolve_chain_break;
use citycode_event_store::{EventStore, Partition, Position, RecordedCommit, Revision, Sequence};
use citycode_log_folds::events_of;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::problem::Code;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::migrate::ServerArgs;
use citycode_runtime::distributed::LOG_READERS_API;
use citycode_terminal::failure::Failure;
use citycode_terminal::output::Output;

const INSPECT_EXAMPLE: &str = "Example:\n  citycode log inspect 07/1523 --log tls://nats-1,tls://nats-2 --nkey-file archive.nk --ca ca.pem --monitor http://nats-1:8222 --archive /backup/log\n\nOn servers with the accounts of `citycode secrets` the user `archive` inspects.";
const DECLARE_EXAMPLE: &str = "Example:\n  citycode log declare-foreign 07/1523 --reason 'published with the leaked seed issuer.nk' --log tls://nats-1,tls://nats-2 --nkey-file restore.nk --ca ca.pem --monitor http://nats-1:8222 --archive /backup/log --snapshot /var/lib/citycode/verifier/projections/status\n\nOn servers with the accounts of `citycode secrets` the user `restore` declares.";

/// The commands of `log` that open the log themselves.
#[derive(Subcommand)]
pub enum LogCommand {
    /// Show the message at a position, and the archive's message there.
    #[command(after_help = INSPECT_EXAMPLE)]
    Inspect(InspectArgs),
    /// Declare that a message is not and was not a commit: followers skip it, and its bucket accepts appends again.
    #[command(after_help = DECLARE_EXAMPLE)]
    DeclareForeign(declare::DeclareArgs),
}

/// Flags of `log inspect`.
#[derive(Args)]
pub struct InspectArgs {
    #[command(flatten)]
    place: Place,
}

/// A position and the log and archive to read it from.
#[derive(Args)]
struct Place {
    /// Partition and sequence, as log lines and health reports print them, e.g. 07/1523.
    #[arg(value_name = "PP/SEQ")]
    position: ArgPosition,
    /// The log: NATS servers (nats://HOST:PORT, separated by commas), or a folder that no process has open.
    #[arg(long, value_name = "PLACE", env = "CITYCODE_LOG")]
    log: String,
    /// The folder of the log's archive, which no `citycode archive` may have open.
    #[arg(long, value_name = "PLACE")]
    archive: Option<String>,
    #[command(flatten)]
    reach: ServerArgs,
}

/// A position on the command line.
#[derive(Clone, Copy)]
struct ArgPosition(Position);

impl FromStr for ArgPosition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid =
            || "a position is PP/SEQ: the partition in decimal and the sequence from 1, e.g. 07/1523".to_owned();
        let (partition, sequence) = text.split_once('/').ok_or_else(invalid)?;
        let partition = partition.parse().map_err(|_| invalid())?;
        let sequence = sequence
            .parse()
            .ok()
            .filter(|sequence| *sequence > 0)
            .ok_or_else(invalid)?;
        Ok(Self(Position {
            partition: Partition(partition),
            sequence: Sequence(sequence),
        }))
    }
}

/// Shows the message at a position of the log, or declares it foreign.
///
/// # Errors
/// [`Failure`] with advice.
pub async fn run(command: &LogCommand, output: Output, clock: &dyn Clock) -> Result<(), Failure> {
    match command {
        LogCommand::Inspect(args) => inspect(args, output).await,
        LogCommand::DeclareForeign(args) => declare::run(args, output, clock).await,
    }
}

impl Place {
    fn position(&self) -> Position {
        self.position.0
    }

    async fn open_log(&self, api: &str) -> Result<Arc<dyn EventStore>, Failure> {
        self.reach.open_at(&self.log, None, api).await
    }

    /// Opens the archive, which must be of this log.
    async fn open_archive(&self, log: &dyn EventStore) -> Result<Option<Arc<dyn EventStore>>, Failure> {
        let Some(place) = &self.archive else {
            return Ok(None);
        };
        let archive = self.reach.open_at(place, None, LOG_READERS_API).await?;
        if archive.log_id() != log.log_id() {
            return Err(Failure::usage(
                format_args!(
                    "{place} is an archive of log {}, not of {}",
                    archive.log_id(),
                    log.log_id()
                ),
                "name the archive of this log",
            ));
        }
        Ok(Some(archive))
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> Failure {
    Failure::of_code(
        Code::Unavailable,
        "the log cannot be read at this position",
        error,
        Some("restore a damaged log from its archive; if servers do not answer, run the command again"),
    )
}

/// The message at the position. A copy of an earlier commit is recognised as foreign by reading the whole bucket.
async fn message_at(store: &dyn EventStore, position: Position) -> Result<Option<RecordedCommit>, Failure> {
    let read = store.read_at(position).await.map_err(|error| unreadable(&error))?;
    let Some(recorded) = read else {
        return Ok(None);
    };
    if recorded.foreign.is_some() {
        return Ok(Some(recorded));
    }
    let copy = resolve_chain_break(store, &recorded)
        .await
        .map_err(|error| unreadable(&error))?;
    Ok(Some(copy.unwrap_or(recorded)))
}

/// The position of the declaration of this message, if there is one.
async fn declared_at(store: &dyn EventStore, message: &RecordedCommit) -> Result<Option<Position>, Failure> {
    // Followers ignore foreign messages in heartbeat buckets, and these buckets are too long to be searched.
    if store.layout().is_heartbeat_bucket(message.bucket) {
        return Ok(None);
    }
    let commits = store.read_bucket(message.bucket, Revision::EMPTY).await;
    for commit in commits.map_err(|error| unreadable(&error))? {
        if !citycode_event_store::foreign::is_declarations(&commit.commit.stream) {
            continue;
        }
        let names = |event: &Event| {
            matches!(event, Event::ForeignMessageDeclared(declared)
                if declared.sequence == message.position.sequence.0 && declared.digest == message.hash.0)
        };
        if events_of(&commit)
            .map_err(|error| unreadable(&error))?
            .iter()
            .any(names)
        {
            return Ok(Some(commit.position));
        }
    }
    Ok(None)
}

fn as_json(recorded: Option<&RecordedCommit>) -> Value {
    match recorded {
        None => json!({ "stands": "nothing" }),
        Some(RecordedCommit {
            foreign: Some(message),
            bucket,
            ..
        }) => json!({
            "stands": "foreign",
            "bucket": bucket.to_string(),
            "digest": message.digest.to_string(),
            "bytes": message.length,
            "reason": message.reason,
        }),
        Some(commit) => json!({
            "stands": "commit",
            "bucket": commit.bucket.to_string(),
            "digest": commit.hash.to_string(),
            "previous": commit.previous_hash.to_string(),
            "events": commit.commit.events.iter().map(|event| event.event_type.clone()).collect::<Vec<_>>(),
            "decided_at": jiff::Timestamp::from_second(commit.commit.decided_at).map(|at| at.to_string()).ok(),
        }),
    }
}

fn as_text(message: &Value) -> String {
    let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
    match text("stands").as_str() {
        "foreign" => format!(
            "a foreign message of {} bytes in bucket {}: {}; digest {}",
            message["bytes"],
            text("bucket"),
            text("reason"),
            text("digest")
        ),
        "commit" => format!(
            "a commit of bucket {}: {}; hash {}",
            text("bucket"),
            message["events"],
            text("digest")
        ),
        _ => "nothing, because it ends before this position".to_owned(),
    }
}

async fn inspect(args: &InspectArgs, output: Output) -> Result<(), Failure> {
    let position = args.place.position();
    let log = args.place.open_log(LOG_READERS_API).await?;
    let found = message_at(&*log, position).await?;
    let declared = match &found {
        Some(message) if message.foreign.is_some() => declared_at(&*log, message).await?,
        _ => None,
    };
    let (here, mut whole) = (as_json(found.as_ref()), json!({ "position": position.to_string() }));
    let mut facts = vec![("position", position.to_string()), ("the log has", as_text(&here))];
    whole["log"] = here;
    if let Some(at) = declared {
        whole["declared_at"] = json!(at.to_string());
        facts.push(("declared at", at.to_string()));
    }
    if let Some(archive) = args.place.open_archive(&*log).await? {
        let there = as_json(message_at(&*archive, position).await?.as_ref());
        facts.push(("the archive has", as_text(&there)));
        whole["archive"] = there;
    }
    output.thing(&whole, &facts)
}
