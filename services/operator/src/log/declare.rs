//! `citycode log declare-foreign`.

use std::path::PathBuf;
use std::time::Duration;

use citycode_domain::event::{Event, ForeignMessageDeclared};
use citycode_event_store::{
    AppendOutcome, BucketTail, CommandId, EventData, EventStore, NewCommit, Position, ReaderVersion, RecordedCommit,
    RequestDigest, foreign, message_id,
};
use citycode_jetstream::OWN_API;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::problem::Code;
use clap::Args;
use serde_json::json;

use super::{Place, declared_at, evidence, message_at, unreadable};
use citycode_terminal::failure::Failure;
use citycode_terminal::output::Output;

/// Actor of the declaration's commit.
const ACTOR: &str = "operator";
/// Longest reason in characters.
const MAX_REASON: usize = 200;
/// A run of at least so many digits may be a phone or ID number.
const MANY_DIGITS: usize = 11;
/// Attempts at an append with unknown outcome; each waits for the engine's time limit.
const MAX_ATTEMPTS: usize = 4;
/// The first reader version that supports declarations.
const DECLARATIONS_SINCE: ReaderVersion = ReaderVersion(2);

/// Flags of `log declare-foreign`.
#[derive(Args)]
pub struct DeclareArgs {
    #[command(flatten)]
    place: Place,
    /// Why it is certainly not a commit, at most 200 characters. It stays in the log forever: nothing personal.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// A snapshot of a follower (`projections/status` or `projections/register` in a state folder); repeatable.
    #[arg(long, value_name = "FILE")]
    snapshot: Vec<PathBuf>,
    /// There is no archive.
    #[arg(long, conflicts_with = "archive")]
    no_archive: bool,
    /// The archive ends before the position, and other evidence shows that there was no commit.
    #[arg(long, requires = "archive")]
    archive_is_behind: bool,
}

pub(super) async fn run(args: &DeclareArgs, output: Output, clock: &dyn Clock) -> Result<(), Failure> {
    check(args)?;
    let position = args.place.position();
    let log = args.place.open_log(OWN_API).await?;
    if log.minimum_reader() < DECLARATIONS_SINCE {
        return Err(Failure::usage(
            format_args!(
                "the log's minimum reader version is {}, and declarations need 2",
                log.minimum_reader()
            ),
            "upgrade all services, then run: citycode provision --raise-minimum-reader",
        ));
    }
    let message = foreign_at(&*log, position).await?;
    if let Some(at) = declared_at(&*log, &message).await? {
        return print(&message, at, output);
    }
    evidence::check_archive(&args.place, args.archive_is_behind, &*log, &message).await?;
    for snapshot in &args.snapshot {
        evidence::check_snapshot(snapshot, &*log, &message)?;
    }
    let tail = log
        .bucket_tail(message.bucket)
        .await
        .map_err(|error| unreadable(&error))?;
    let commit = declaration(&message, &args.reason, clock.now().0);
    let at = append(&*log, commit, tail).await?;
    // The holder of a leaked writer's credential may have published between reading the tail and the append; then the
    // declaration does not follow its bucket's last commit and has no effect.
    if declared_at(&*log, &message).await? != Some(at) {
        return Err(Failure::of_code(
            Code::Unavailable,
            format_args!("the declaration at {at} has no effect: it does not follow its bucket's last commit"),
            "another message was stored in its bucket meanwhile",
            Some("revoke the leaked credential, then declare the messages of the bucket again"),
        ));
    }
    print(&message, at, output)
}

fn check(args: &DeclareArgs) -> Result<(), Failure> {
    let reason = &args.reason;
    let length = reason.chars().count();
    if length == 0 || length > MAX_REASON || reason.chars().any(char::is_control) {
        return Err(Failure::usage(
            format_args!("a reason is one line of 1 to {MAX_REASON} characters, not {length}"),
            "explain in one line why the message is certainly not a commit",
        ));
    }
    let digits = reason.split(|character: char| !character.is_ascii_digit());
    if digits.map(str::len).max().unwrap_or(0) >= MANY_DIGITS {
        return Err(Failure::usage(
            "the reason contains a number that may be a phone or ID number",
            "omit it: the reason stays in the log forever, unencrypted",
        ));
    }
    if args.place.archive.is_none() && !args.no_archive {
        return Err(Failure::usage(
            "there is no evidence that the position never had a commit",
            "name the archive (--archive), or state that there is none (--no-archive)",
        ));
    }
    Ok(())
}

/// The foreign message at the position.
async fn foreign_at(log: &dyn EventStore, position: Position) -> Result<RecordedCommit, Failure> {
    match message_at(log, position).await? {
        Some(message) if log.layout().is_heartbeat_bucket(message.bucket) => Err(Failure::usage(
            format_args!("{position} is in the heartbeat bucket {}", message.bucket),
            "a declaration is not needed there: readers ignore every message that is not a heartbeat",
        )),
        Some(message) if message.foreign.is_some() => Ok(message),
        Some(_) => Err(Failure::usage(
            format_args!("the message at {position} is a valid commit"),
            "only a message that is not a commit can be declared: citycode log inspect",
        )),
        None => Err(Failure::usage(
            format_args!("the log ends before {position}"),
            "take the position from a health report or a service's log",
        )),
    }
}

/// The declaration of a message. Its command id depends only on the message, so that a repetition finds it.
fn declaration(message: &RecordedCommit, reason: &str, now: i64) -> NewCommit {
    let stream = foreign::stream(message.bucket);
    let sequence = message.position.sequence.0;
    let event = Event::ForeignMessageDeclared(ForeignMessageDeclared {
        sequence,
        digest: message.hash.0,
        reason: reason.to_owned(),
    });
    let (event_type, version, payload) = citycode_wire::event::encode(&event);
    let mut command_id = CommandId([0; 16]);
    command_id.0[..8].copy_from_slice(&sequence.to_be_bytes());
    command_id.0[8..].copy_from_slice(&message.hash.0[..8]);
    NewCommit {
        message_id: message_id(ACTOR, &stream, &command_id),
        stream,
        events: vec![EventData {
            event_type: event_type.into(),
            version,
            payload: payload.into(),
        }],
        request_digest: RequestDigest(message.hash.0),
        command_id,
        actor: ACTOR.to_owned(),
        causation_id: None,
        correlation_id: None,
        decided_at: now,
        trace_context: None,
    }
}

/// Appends the declaration. If the process crashes after the append, the same command finds the declaration.
async fn append(log: &dyn EventStore, commit: NewCommit, tail: BucketTail) -> Result<Position, Failure> {
    let again = "run the same command again; it is idempotent";
    for _ in 0..MAX_ATTEMPTS {
        match log.append_at(commit.clone(), tail).await {
            Ok(AppendOutcome::Appended { position, .. }) => return Ok(position),
            Ok(AppendOutcome::WrongExpectedVersion { .. }) => {
                let why = "another message was stored in its bucket meanwhile";
                return Err(Failure::of_code(
                    Code::Unavailable,
                    "nothing was declared",
                    why,
                    Some(again),
                ));
            }
            Ok(AppendOutcome::Unknown) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => {
                return Err(Failure::of_code(
                    Code::Unavailable,
                    "nothing was declared",
                    error,
                    Some(again),
                ));
            }
        }
    }
    let why = "the servers did not acknowledge it in time";
    Err(Failure::of_code(
        Code::Unavailable,
        "the outcome of the declaration is unknown",
        why,
        Some(again),
    ))
}

fn print(message: &RecordedCommit, at: Position, output: Output) -> Result<(), Failure> {
    let (position, bucket) = (message.position.to_string(), message.bucket.to_string());
    let whole = json!({
        "position": position,
        "bucket": bucket,
        "digest": message.hash.to_string(),
        "declared_at": at.to_string(),
    });
    let facts = [
        ("foreign message", position),
        ("bucket", bucket),
        ("digest", message.hash.to_string()),
        ("declared at", at.to_string()),
    ];
    output.thing(&whole, &facts)
}
