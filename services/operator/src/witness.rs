//! `citycode witness`: cosigns checkpoints of a log that only grew (C2SP tlog-witness).
//!
//! A witness should run somewhere else than the log, under another person's control. It pins the log's keys at its first
//! start, remembers the last checkpoint of each partition durably before it answers, and signs nothing that is not an
//! extension of it. Its memory must never be restored to an earlier state.
//!
//! ```text
//! STATE/keys          the pinned keys of the log, one a line
//! STATE/vkey          the witness's public key, which is also printed
//! STATE/memory/…      the last cosigned checkpoint of each partition
//! ```

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use citycode_runtime::wiring::StartError;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::entropy::Entropy;
use citycode_service_kit::files;
use citycode_service_kit::serve::{Limits, Listener, with_fallbacks};
use citycode_service_kit::shutdown::Signal;
use citycode_terminal::failure::Failure;
use citycode_transparency::witness::{DirectoryMemory, MAX_REQUEST_BYTES, Witness};
use citycode_transparency::{KeyKind, NoteSigner, VerifierKey};
use clap::Args;

/// Time limit for reading the log's keys.
const FETCH_LIMIT: Duration = Duration::from_secs(30);
/// Longest list of keys: a log has at most some hundred partitions, and a line some hundred bytes.
const MAX_KEYS_BYTES: usize = 64 << 10;

/// Flags of `witness`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  citycode witness --log https://city.example/log --key witness.key --name witness.example --listen 0.0.0.0:8090\n\nThe log's service asks it with --witness http://witness.example:8090. Ends with SIGTERM."
)]
pub struct WitnessArgs {
    /// The log's public address: its keys are at URL/keys. They are read at the first start and never again.
    #[arg(long, value_name = "URL")]
    log: String,
    /// The witness's key, 32 bytes, mode 0600; created if absent.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The witness's name, which stands in its cosignatures: a domain that belongs to whoever runs it.
    #[arg(long, value_name = "NAME", default_value = "citycode-witness")]
    name: String,
    /// The folder of its memory, which must never be restored to an earlier state; default: beside the key.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The address to listen on.
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
}

/// Cosigns until it is stopped.
///
/// # Errors
/// [`Failure`] with advice.
pub async fn run(args: &WitnessArgs, clock: &Arc<dyn Clock>, entropy: &Arc<dyn Entropy>) -> Result<(), Failure> {
    let stopped = Signal::from_os().map_err(|error| StartError::Signals(error).into_failure())?;
    let seed = files::secret(&args.key, Some(&**entropy)).map_err(|error| Failure::file("read", &args.key, error))?;
    let signer = NoteSigner::from_seed(&args.name, KeyKind::Witness, &seed)
        .map_err(|error| Failure::usage(error, "give a --name without spaces and plus signs"))?;
    let vkey = signer.verifier().to_string();
    let state = args.state.clone().unwrap_or_else(|| args.key.with_extension("state"));
    let opened = files::create_private_dir(&state);
    opened.map_err(|error| Failure::file("make", &state, error))?;
    let path = state.join("vkey");
    let written = files::write_atomic(&path, format!("{vkey}\n").as_bytes(), files::PUBLIC_FILE_MODE);
    written.map_err(|error| Failure::file("write", &path, error))?;
    let memory = DirectoryMemory::open(&state.join("memory"));
    let memory = memory.map_err(|error| Failure::file("use", &state, error))?;
    let keys = pinned_keys(&args.log, &state.join("keys")).await?;
    let witness = Witness::new(signer, keys)
        .map_err(|error| Failure::local("the log's keys cannot be used", error, "give the address of a log"))?;
    let cosigner = Arc::new(Cosigner {
        witness,
        memory,
        clock: Arc::clone(clock),
    });
    let routes = Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(cosigner);
    let listener = Listener::bind(args.listen).map_err(|error| StartError::Serve(error).into_failure())?;
    let listener = listener.limited(Limits::default().of_management());
    citycode_terminal::output::say(&format!("ready http://{}", listener.address()))?;
    citycode_terminal::output::say(&vkey)?;
    listener.serve(with_fallbacks(routes), stopped).await;
    Ok(())
}

/// The keys in the file, or those of the log, which are then stored durably.
async fn pinned_keys(log: &str, path: &Path) -> Result<Vec<VerifierKey>, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = fetch_keys(log).await?;
            parse_keys(&text)?;
            let written = files::write_atomic(path, text.as_bytes(), files::PUBLIC_FILE_MODE);
            written.map_err(|error| Failure::file("write", path, error))?;
            text
        }
        Err(error) => return Err(Failure::file("read", path, error)),
    };
    parse_keys(&text)
}

fn parse_keys(text: &str) -> Result<Vec<VerifierKey>, Failure> {
    let keys: Result<Vec<VerifierKey>, _> = text.lines().map(str::parse).collect();
    keys.ok().filter(|keys| !keys.is_empty()).ok_or_else(|| {
        let why = "the answer is not a list of verifier keys";
        Failure::local(
            "the log's keys cannot be used",
            why,
            "give the address of a log, e.g. https://city.example/log",
        )
    })
}

async fn fetch_keys(log: &str) -> Result<String, Failure> {
    let url = format!("{}/keys", log.trim_end_matches('/'));
    let failed = |error: &dyn std::fmt::Display| {
        Failure::local(
            format_args!("cannot read {url}"),
            error,
            "check the address of the log, and try again",
        )
    };
    let client = reqwest::Client::builder().timeout(FETCH_LIMIT).build();
    let answer = client.map_err(|error| failed(&error))?.get(&url).send().await;
    let mut answer = answer
        .and_then(reqwest::Response::error_for_status)
        .map_err(|error| failed(&error))?;
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| failed(&error))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_KEYS_BYTES {
            return Err(failed(&"the answer is too long"));
        }
    }
    String::from_utf8(bytes).map_err(|error| failed(&error))
}

struct Cosigner {
    witness: Witness,
    memory: DirectoryMemory,
    clock: Arc<dyn Clock>,
}

async fn add_checkpoint(State(cosigner): State<Arc<Cosigner>>, body: Bytes) -> Response {
    let answered = tokio::task::spawn_blocking(move || cosigner.answer(&body)).await;
    answered.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

impl Cosigner {
    /// The answer, which is sent only after the memory is durable.
    fn answer(&self, body: &[u8]) -> Response {
        let now = u64::try_from(self.clock.now().0).ok().and_then(NonZeroU64::new);
        let Some(now) = now else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        match self.witness.add_checkpoint(&self.memory, body, now) {
            Ok(answer) => {
                let status = StatusCode::from_u16(answer.status()).expect("a status of the specification");
                tracing::info!(%status, "asked for a cosignature");
                (status, [(CONTENT_TYPE, answer.content_type())], answer.body()).into_response()
            }
            Err(error) => {
                tracing::error!(%error, "NOTHING IS COSIGNED: the memory cannot be used");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}
