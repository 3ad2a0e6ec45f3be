//! `citycode log`: checks the log, proves events to people without access, and verifies such proofs offline.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use citycode_operator::log::LogCommand as OperatorCommand;
use citycode_service_kit::clock::Clock;
use citycode_terminal::failure::Failure;
use citycode_terminal::output::{Format, Output};
use citycode_transparency::leaf::Opening;
use citycode_transparency::policy::TrustedCheckpoint;
use citycode_transparency::proof::MAX_PROOF_BYTES;
use citycode_transparency::statement::{Act, Cause, CodeStatement};
use citycode_transparency::{LogProof, TrustPolicy, VerifierKey};
use clap::{Args, Subcommand, ValueEnum};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::audit::{DIFFERS, Purpose, long_answer};
use super::{DONE, Session, body, maybe, text};
use crate::picture::PreparedFile;

/// Flags of `log`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode log check\n  citycode log prove --code-id 00112233445566ff --event died --out lost.tlog-proof --purpose \"court order 12\"\n  citycode log verify lost.tlog-proof --key 'city.example/log/07+5e5b7a2d+AQ…'\n  citycode log inspect 07/1523 --log tls://nats-1 --nkey-file archive.nk --ca ca.pem --monitor http://nats-1:8222"
)]
pub(crate) struct LogArgs {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Subcommand)]
enum LogCommand {
    /// Read the whole log and compare it with its hashes, its chains and its published trees.
    Check(CheckArgs),
    /// Write a proof that a code was issued, or died, for somebody without access.
    Prove(ProveArgs),
    /// Verify such a proof, offline.
    Verify(VerifyArgs),
    #[command(flatten)]
    Operator(OperatorCommand),
}

/// Flags of `log check`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode log check\n  citycode log check --from 07/1523\n\nExit code: 0 whole, 3 damaged."
)]
struct CheckArgs {
    /// Check only this partition, from this position on.
    #[arg(long, value_name = "PP/SEQ")]
    from: Option<String>,
}

/// What happened to a code.
#[derive(Clone, Copy, ValueEnum)]
enum EventArg {
    /// It was issued.
    Issued,
    /// It died before it expired: superseded, reported lost, revoked, or with its holder or a relationship.
    Died,
}

/// Flags of `log prove`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  citycode log prove --code-id 00112233445566ff --event died --out lost.tlog-proof --purpose \"court order 12\"\n\nExit code: 0, or 4 if the log has no such event."
)]
struct ProveArgs {
    /// The code, 16 hex digits.
    #[arg(long, value_name = "ID")]
    code_id: String,
    /// The event.
    #[arg(long, value_enum)]
    event: EventArg,
    /// The file of the proof (C2SP tlog-proof).
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    purpose: Purpose,
}

/// Flags of `log verify`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  citycode log verify lost.tlog-proof --key 'city.example/log/07+5e5b7a2d+AQ…' --witness 'witness.example+0a1b2c3d+BA…' --quorum 1\n\nThe log's keys are at /log/keys; take them from somebody other than the person who gave you the proof.\nExit code: 0 holds, 3 does not."
)]
struct VerifyArgs {
    /// The proof.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A key of the log; one flag for each partition.
    #[arg(long, required = true, value_name = "VKEY")]
    key: Vec<VerifierKey>,
    /// A key of a witness; one flag for each.
    #[arg(long, value_name = "VKEY")]
    witness: Vec<VerifierKey>,
    /// How many witnesses must have cosigned; default: all that are named.
    #[arg(long, value_name = "N")]
    quorum: Option<usize>,
}

impl LogArgs {
    /// Whether the command calls no server.
    pub(crate) fn needs_no_server(&self) -> bool {
        matches!(self.command, LogCommand::Verify(_) | LogCommand::Operator(_))
    }
}

/// Runs a command that calls no server.
pub(crate) async fn run_here(args: &LogArgs, output: Output, clock: &dyn Clock) -> Result<u8, Failure> {
    match &args.command {
        LogCommand::Verify(args) => verify(args, output),
        LogCommand::Operator(command) => citycode_operator::log::run(command, output, clock).await.map(|()| DONE),
        LogCommand::Check(_) | LogCommand::Prove(_) => Ok(DONE),
    }
}

/// Runs a command that calls the server.
pub(crate) async fn run(session: &Session, args: &LogArgs) -> Result<u8, Failure> {
    match &args.command {
        LogCommand::Check(args) => check(session, args).await,
        LogCommand::Prove(args) => prove(session, args).await.map(|()| DONE),
        LogCommand::Verify(_) | LogCommand::Operator(_) => Ok(DONE),
    }
}

/// Checks the log of a server.
async fn check(session: &Session, args: &CheckArgs) -> Result<u8, Failure> {
    let request = body(&[("from", maybe(args.from.as_ref()))]);
    let result = long_answer(session, "/api/v1/audit/log-check", &request).await?;
    let faults = result
        .get("faults")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if session.output.format == Format::Table {
        session.output.lines(&told(&result, &faults))?;
    } else {
        session.output.object(&result)?;
    }
    Ok(if faults.is_empty() { DONE } else { DIFFERS })
}

fn told(result: &Value, faults: &[Value]) -> String {
    let number = |of: &Value, name: &str| of.get(name).and_then(Value::as_u64).unwrap_or_default();
    let word = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let checkpoints = result.get("checkpoints").and_then(Value::as_array).map_or(0, Vec::len);
    let mut lines = vec![format!(
        "commits {}  leaves compared {}  checkpoints {checkpoints}  queries compared {}",
        number(result, "commits"),
        number(result, "compared"),
        number(result, "queries")
    )];
    for fault in faults {
        let position = fault.get("position").cloned().unwrap_or_default();
        lines.push(format!(
            "✗ {:<12} {:02}/{} ({}) {}",
            word(fault, "check"),
            number(&position, "partition"),
            number(&position, "sequence"),
            number(fault, "count"),
            word(fault, "detail")
        ));
    }
    lines.push(match (faults.is_empty(), checkpoints) {
        (true, 0) => {
            "哈希和链完整；没有检查点可比 hashes and chains are whole; there was no checkpoint to compare".to_owned()
        }
        (true, _) => "日志完整 the log is whole".to_owned(),
        (false, _) => "日志已损坏或被改动 the log is damaged or was altered".to_owned(),
    });
    lines.join("\n")
}

/// Writes the proof of an event.
async fn prove(session: &Session, args: &ProveArgs) -> Result<(), Failure> {
    let file = PreparedFile::beside(&args.out)?;
    let event = match args.event {
        EventArg::Issued => "issued",
        EventArg::Died => "died",
    };
    let request = body(&[
        ("purpose", text(&args.purpose.get()?)),
        ("code_id", text(&args.code_id)),
        ("event", text(event)),
    ]);
    let answer = session.client.post("/api/v1/audit/log-proof", &request, None).await?;
    let proof = answer.get("proof").and_then(Value::as_str).unwrap_or_default();
    file.finish(proof.as_bytes())?;
    let out = args.out.display().to_string();
    session
        .output
        .thing(&json!({ "proof": out }), &[("proof", out.clone())])
}

/// Verifies a proof offline. Returns the exit code.
fn verify(args: &VerifyArgs, output: Output) -> Result<u8, Failure> {
    let quorum = args.quorum.unwrap_or(args.witness.len());
    let policy = TrustPolicy::new(args.key.clone(), args.witness.clone(), quorum);
    let policy =
        policy.map_err(|error| Failure::usage(error, "name each key once, and a quorum of at most all witnesses"))?;
    let bytes = read(&args.file)?;
    match Held::of(&bytes, &policy, quorum) {
        Ok(held) => {
            held.print(output)?;
            Ok(DONE)
        }
        Err(why) => {
            let zh = format!("证明不成立：{why}。");
            let en = format!("The proof does not hold: {why}.");
            let said = json!({ "holds": false, "why": why, "zh": zh, "en": en });
            say(output, &said, &zh, &en)?;
            Ok(DIFFERS)
        }
    }
}

/// At most one byte more than a proof may have, so that a longer file is refused and not read.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let file = std::fs::File::open(path).map_err(|error| Failure::file("read", path, error))?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_PROOF_BYTES as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::file("read", path, error))?;
    Ok(bytes)
}

fn say(output: Output, said: &Value, zh: &str, en: &str) -> Result<(), Failure> {
    match output.format {
        Format::Table => output.lines(&format!("{zh}\n{en}")),
        Format::Json | Format::Ndjson => output.object(said),
    }
}

/// A proof that holds.
struct Held {
    statement: CodeStatement,
    /// The position of the commit, `PP/SEQ`.
    position: String,
    trusted: TrustedCheckpoint,
    /// When enough witnesses had cosigned, by their clocks.
    witnessed_at: Option<u64>,
}

impl Held {
    /// # Errors
    /// A sentence: why the proof does not hold.
    fn of(bytes: &[u8], policy: &TrustPolicy, quorum: usize) -> Result<Self, String> {
        let proof = LogProof::parse(bytes).map_err(|error| error.to_string())?;
        let opening = Opening::parse(&proof.extra).map_err(|error| error.to_string())?;
        let trusted = proof
            .verify(&opening.leaf_hash(), policy)
            .map_err(|error| error.to_string())?;
        let statement = CodeStatement::parse(opening.content()).map_err(|error| error.to_string())?;
        let at = opening.position();
        let partition = format!("{:02}", at.partition);
        if !trusted.checkpoint.origin().ends_with(&format!("/log/{partition}")) {
            return Err("the leaf is of another partition than the log".to_owned());
        }
        let mut times: Vec<u64> = trusted
            .cosignatures
            .iter()
            .map(|cosigned| cosigned.unix_seconds)
            .collect();
        times.sort_unstable();
        Ok(Self {
            statement,
            position: format!("{partition}/{}", at.sequence),
            witnessed_at: times.get(quorum.max(1) - 1).copied(),
            trusted,
        })
    }

    fn print(&self, output: Output) -> Result<(), Failure> {
        let code_id = HEXLOWER.encode(&self.statement.code_id);
        let (event_zh, event_en, event) = match self.statement.act {
            Act::Issued {
                issued_at,
                expires_at,
                claims_digest,
            } => (
                format!("于 {} 签发，有效至 {}", time(issued_at), time(expires_at)),
                format!(
                    "was issued at {} and is valid until {}",
                    time(issued_at),
                    time(expires_at)
                ),
                json!({ "event": "issued", "issued_at": time(issued_at), "expires_at": time(expires_at),
                    "claims_digest": HEXLOWER.encode(&claims_digest) }),
            ),
            Act::Died { cause, at } => {
                let (zh, en, name) = named(cause);
                (
                    format!("于 {} 失效（{zh}）", time(at)),
                    format!("died at {} ({en})", time(at)),
                    json!({ "event": "died", "cause": name, "at": time(at) }),
                )
            }
        };
        let (origin, size) = (self.trusted.checkpoint.origin(), self.trusted.checkpoint.head().size);
        let names: Vec<&str> = self
            .trusted
            .cosignatures
            .iter()
            .map(|cosigned| &*cosigned.witness)
            .collect();
        let (by_zh, by_en) = match self.witnessed_at {
            Some(at) => {
                let (at, names) = (time(i64::try_from(at).unwrap_or(i64::MAX)), names.join(", "));
                (
                    format!("见证者 {names} 联署，最迟在 {at} 已在日志中"),
                    format!("and by the cosignatures of {names} it was there at {at} at the latest"),
                )
            }
            None => (
                "没有见证者联署，只有日志自己的密钥作保，时间也只出自日志".to_owned(),
                "but no witness has cosigned: only the log's own key vouches for it, and for its time".to_owned(),
            ),
        };
        let position = &self.position;
        let zh = format!(
            "证明成立：码 {code_id} {event_zh}，记录在日志 {position}；按密钥 {origin} 签名的检查点（{size} 条），{by_zh}。"
        );
        let en = format!(
            "The proof holds: code {code_id} {event_en}, recorded in the log at {position}, according to a checkpoint of {size} leaves that the key {origin} signed, {by_en}."
        );
        let cosigned = self.trusted.cosignatures.iter().map(|cosigned| {
            json!({ "witness": cosigned.witness, "at": time(i64::try_from(cosigned.unix_seconds).unwrap_or(i64::MAX)) })
        });
        let said = json!({
            "holds": true, "code_id": code_id, "statement": event, "position": position, "log": origin, "size": size,
            "witnessed": self.witnessed_at.is_some(), "witnesses": cosigned.collect::<Vec<_>>(), "zh": zh, "en": en,
        });
        say(output, &said, &zh, &en)
    }
}

fn named(cause: Cause) -> (&'static str, &'static str, &'static str) {
    match cause {
        Cause::Superseded => ("被新码取代", "a later code took its place", "superseded"),
        Cause::ReportedLost => ("挂失", "it was reported lost", "reported_lost"),
        Cause::Revoked => ("被撤销", "an officer revoked it", "revoked"),
        Cause::RelationshipEnded => (
            "所依据的关系已结束",
            "the relationship ended on which it depended",
            "relationship_ended",
        ),
        Cause::Erased => ("持有人已注销", "its holder was erased", "erased"),
    }
}

/// RFC 3339 in UTC.
fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("{seconds} s"), |at| at.to_string())
}
