//! The log's trees: their public files, and proofs of births and deaths.

use std::sync::Arc;
use std::time::Duration;

use citycode_auth::Caller;
use citycode_domain::ids::CodeId;
use citycode_event_store::{Partition, RecordedCommit};
use citycode_log_tree::{LogTrees, ProveError};
use citycode_query_stream::QueryKind;
use citycode_service_kit::problem::{Code, Problem};
use citycode_transparency::statement::{Act, CodeStatement};
use citycode_transparency::tile::{TileId, TileSource as _};
use citycode_wire::proto::audit::v1 as proto;

use crate::history::{Audit, unavailable};
use crate::queries::Asked;

const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";
/// How long keys may be cached; they change only when the city begins a new log.
const KEYS_TTL: u32 = 60;
/// A checkpoint is at most five seconds old where it is read, so caches keep it only for a moment.
const CHECKPOINT_TTL: u32 = 1;
/// A tile never changes.
const TILE_TTL: u32 = 31_536_000;
/// How long a proof waits until its event is in a checkpoint, and how often it looks.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(6);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A public file of the trees.
enum LogFile {
    Keys,
    Checkpoint(Partition),
    Witnessed(Partition),
    Tile(Partition, TileId),
}

impl LogFile {
    /// The file at a path in its only form.
    fn parse(path: &str) -> Option<Self> {
        if path == "keys" {
            return Some(Self::Keys);
        }
        let (number, file) = path.split_once('/')?;
        let partition = Partition(number.parse().ok()?);
        if partition.to_string() != number {
            return None;
        }
        match file {
            "checkpoint" => Some(Self::Checkpoint(partition)),
            "witnessed" => Some(Self::Witnessed(partition)),
            tile => Some(Self::Tile(partition, tile.parse().ok()?)),
        }
    }
}

impl Audit {
    fn trees(&self) -> Result<&Arc<LogTrees>, Problem> {
        let none = || Problem::new(Code::Unavailable, "this service does not publish the log's trees");
        self.trees.as_ref().ok_or_else(none)
    }

    /// A public file of the trees.
    ///
    /// # Errors
    /// `not_found`, `unavailable`.
    pub(crate) fn log_file(&self, path: &str) -> Result<proto::GetLogFileResponse, Problem> {
        let unknown = || Problem::new(Code::NotFound, "the log's trees have no such file");
        let file = LogFile::parse(path).ok_or_else(unknown)?;
        let trees = self.trees()?;
        let (content, media_type, ttl_seconds) = match file {
            LogFile::Keys => {
                let lines: String = trees.keys().map(|key| format!("{key}\n")).collect();
                (lines.into_bytes(), TEXT, KEYS_TTL)
            }
            LogFile::Checkpoint(partition) => {
                trees.tiles(partition).ok_or_else(unknown)?;
                let none = || Problem::new(Code::Unavailable, "no checkpoint of this partition is published");
                let signed = trees.checkpoint(partition).ok_or_else(none)?;
                (signed.to_bytes(), TEXT, CHECKPOINT_TTL)
            }
            LogFile::Witnessed(partition) => {
                let none = || Problem::new(Code::NotFound, "no witness has cosigned a checkpoint of this partition");
                (
                    trees.witnessed(partition).ok_or_else(none)?.to_bytes(),
                    TEXT,
                    CHECKPOINT_TTL,
                )
            }
            LogFile::Tile(partition, tile) => {
                let tiles = trees.tiles(partition).ok_or_else(unknown)?;
                let bytes = tiles.get(&tile.to_string()).map_err(|error| unavailable(&error))?;
                (bytes.ok_or_else(unknown)?, BYTES, TILE_TTL)
            }
        };
        Ok(proto::GetLogFileResponse {
            content,
            media_type: media_type.to_owned(),
            ttl_seconds,
        })
    }

    /// Proves the birth or the death of a code. The question is recorded before it is answered.
    ///
    /// # Errors
    /// `not_allowed`; `not_found` if the log has no such code or event; `unavailable`.
    pub(crate) async fn prove(
        &self,
        caller: &Caller,
        why: &str,
        (code_id, is_birth): (CodeId, bool),
    ) -> Result<Vec<u8>, Problem> {
        self.auditors_only(caller)?;
        let answer = self.proof(code_id, is_birth).await;
        let asked = Asked {
            kind: QueryKind::LogProof,
            purpose: why,
            holder: self.living_holder(code_id).await?,
        };
        self.record_answer(caller, asked, answer, |_| 1).await
    }

    async fn proof(&self, code_id: CodeId, is_birth: bool) -> Result<Vec<u8>, Problem> {
        let trees = self.trees()?;
        let unknown = || Problem::new(Code::NotFound, "the log has no such event of a code with this id");
        let wanted = |statement: &CodeStatement| {
            statement.code_id == code_id.0 && is_birth == matches!(statement.act, Act::Issued { .. })
        };
        for commit in self.commits_about(code_id).await?.ok_or_else(unknown)? {
            if let Some(proof) = prove_when_published(trees, &commit, wanted).await? {
                return Ok(proof);
            }
        }
        Err(unknown())
    }
}

/// The proof, as soon as a checkpoint includes the commit; `None` if the commit makes no such statement.
async fn prove_when_published(
    trees: &LogTrees,
    commit: &RecordedCommit,
    wanted: impl Fn(&CodeStatement) -> bool,
) -> Result<Option<Vec<u8>>, Problem> {
    let looking = async {
        loop {
            match trees.prove(commit, &wanted) {
                Err(ProveError::NotPublished) => tokio::time::sleep(LOOK_EVERY).await,
                outcome => return outcome,
            }
        }
    };
    match tokio::time::timeout(PUBLISHED_WITHIN, looking).await {
        Ok(Ok(proof)) => Ok(proof.map(|proof| proof.to_bytes())),
        Ok(Err(error)) => Err(unavailable(&error)),
        Err(_) => {
            let problem = Problem::new(Code::Unavailable, "no published checkpoint includes the event yet");
            Err(problem.with_retry_after(PUBLISHED_WITHIN.as_secs()))
        }
    }
}
