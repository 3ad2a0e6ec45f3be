//! `citycode secrets`: creates every key, credential and certificate that a city on NATS servers needs, in one folder.
//!
//! ```text
//! DIR/                      0700, every file with a secret 0600
//!   nats/USER.nk            NKEY seed of each NATS user; no service uses restore.nk, upgrade.nk and vault-backup.nk
//!   nats/verifier-N.nk      with --instances: a seed for each verifier, so that none can exhaust another's share
//!   nats/accounts.conf      accounts, users' public keys and permissions, included by the servers; nothing secret
//!   tls/ca.pem ca.key       a certification authority for this city only
//!   tls/nats.pem nats.key   the NATS servers' certificate, for all named hosts
//!   tls/services-ca.pem services-ca.key      an authority for certificates between services
//!   tls/SERVICE.pem SERVICE.key              server certificates of issuer, revocation, verifier, audit
//!   tls/CLIENT.pem CLIENT.key                client certificates of the portal and other named clients
//!   keys/                   vault-master.key id-check.key status-signing.key scan-records.key scan-archive.key
//!                           snapshot-signing.key and .pub, status-snapshot.key register-snapshot.key: for shared
//!                           snapshots; list-names.key: for the names of status lists; assertion-uses.key: for the
//!                           register of used assertions; log-signing.key: for checkpoints of the log's trees, only for
//!                           audit services; session.key page-tokens.key: for the portals' pages
//!                           derived from the master key: vault-revocation.key vault-index.key, for services that
//!                           need only a part of the vault
//!   access/                 the authority that signs operators' tokens, its name and jwks.json for the services, and
//!                           admin.token, new at each run; page-tokens.jwks.json for the services: the public half of
//!                           page-tokens.key
//! ```
//! Existing files are not changed: a repeated run creates missing files and reports which. A city with its own identity
//! provider or certificates uses those instead.

mod accounts;
mod tls;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use citycode_auth::{AUDIENCE, Grant, LocalAuthority, MAX_LIFETIME_SECONDS, Role};
use citycode_projection::snapshot::ProjectionKind;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::entropy::{Draw as _, Entropy};
use citycode_service_kit::files;
use citycode_shared_snapshot::key_files;
use citycode_token::SigningKey;
use citycode_vault::jetstream::{index_key, revocation_key};
use clap::Args;
use data_encoding::HEXLOWER;
use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use accounts::{Shape, User};
use citycode_runtime::distributed::{ASSERTION_USES_KEY as ASSERTION_USES, PAGE_TOKENS_KEY, QUERIES_KEY, SESSION_KEY};
use citycode_runtime::wiring::log_trees::LOG_SIGNING_KEY;
use citycode_terminal::failure::Failure;
use citycode_terminal::output::Output;

const CITY_KEYS: [&str; 14] = [
    "vault-master.key",
    "id-check.key",
    "list-names.key",
    ASSERTION_USES,
    "status-signing.key",
    "scan-records.key",
    "scan-archive.key",
    LOG_SIGNING_KEY,
    QUERIES_KEY,
    SESSION_KEY,
    PAGE_TOKENS_KEY,
    key_files::SIGNING,
    key_files::seal_file(ProjectionKind::Status),
    key_files::seal_file(ProjectionKind::Register),
];

/// Flags of `secrets`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  citycode secrets --dir secrets --host nats-1 --host nats-2 --host nats-3\n\nCopy to each server only the files that it needs: docs/operations.md lists them. No machine of the city needs nats/restore.nk, nats/upgrade.nk or nats/vault-backup.nk; the seeds of `citycode provision` are needed only while it runs."
)]
pub struct SecretsArgs {
    /// The folder; created if absent.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// A name or address of the NATS servers, for their certificate; one flag for each.
    #[arg(long, value_name = "NAME", default_values_t = ["localhost".to_owned(), "127.0.0.1".to_owned()])]
    host: Vec<String>,
    /// A client of the services, which gets a client certificate for mutual TLS; one flag for each.
    #[arg(long, value_name = "NAME", default_values_t = ["portal".to_owned()])]
    client: Vec<String>,
    /// Partitions of the log, as for `citycode provision`; permissions of NATS users contain the streams' names.
    /// Recorded in nats/accounts.conf; default for a new folder: 16.
    #[arg(long, value_name = "N", overrides_with = "partitions")]
    partitions: Option<u16>,
    /// Number of verifiers with their own seed, nats/verifier-1.nk and so on, so that a thief of one seed cannot
    /// prevent other verifiers from proving their freshness. Recorded likewise; default: all share nats/verifier.nk.
    #[arg(long, value_name = "N")]
    instances: Option<u16>,
    /// Retention of scan records in days, as `scan_retention_days` of the audit services; it limits the streams of
    /// their account. Recorded likewise; default for a new folder: 30.
    #[arg(long, value_name = "DAYS")]
    scan_retention_days: Option<u16>,
    /// Also create the next master key, `keys/vault-master.next.key`, and the keys derived from it: see `citycode vault
    /// rotate-master`.
    #[arg(long)]
    next_master: bool,
}

/// Created files, and those that existed before.
#[derive(Default)]
struct Files {
    new: Vec<String>,
    kept: Vec<String>,
}

/// Writes the keys, credentials and certificates of a city into a new folder.
///
/// # Errors
/// [`Failure`] with advice.
pub fn run(
    args: &SecretsArgs,
    output: Output,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<(), Failure> {
    let mut made = Files::default();
    folder(&args.dir)?;
    let conf = args.dir.join("nats/accounts.conf");
    let shape = args.shape(&conf)?;
    let users = made.users(&args.dir.join("nats"), &shape, &**entropy)?;
    let keys = args.dir.join("keys");
    folder(&keys)?;
    for name in CITY_KEYS {
        let key: Zeroizing<[u8; 32]> = Zeroizing::new(entropy.array());
        made.file(&keys.join(name), || Ok(key.to_vec()))?;
    }
    made.snapshot_signers(&keys)?;
    made.of_master(&keys, "")?;
    if args.next_master {
        let key: Zeroizing<[u8; 32]> = Zeroizing::new(entropy.array());
        made.file(&keys.join("vault-master.next.key"), || Ok(key.to_vec()))?;
        made.of_master(&keys, ".next")?;
    }
    made.access(&args.dir.join("access"), &**clock, &**entropy)?;
    made.page_token_keys(&keys, &args.dir.join("access/page-tokens.jwks.json"))?;
    tls::make(&mut made, &args.dir.join("tls"), &args.host, &args.client, &**clock)?;
    // The file contains no secret and is always rewritten, so that it matches the existing seeds.
    let written = files::write_atomic(
        &conf,
        accounts::conf(&users, &shape).as_bytes(),
        files::PRIVATE_FILE_MODE,
    );
    written.map_err(|error| Failure::file("write", &conf, error))?;
    let whole = json!({
        "folder": args.dir.display().to_string(),
        "made": made.new,
        "kept": made.kept,
        "partitions": shape.partitions,
        "instances": shape.instances,
        "scan_retention_days": shape.scan_retention_days,
    });
    let facts = [
        ("folder", args.dir.display().to_string()),
        ("made now", made.new.len().to_string()),
        ("kept", made.kept.len().to_string()),
        ("partitions of the log", shape.partitions.to_string()),
        ("verifiers with a seed of their own", shape.instances.to_string()),
        ("days that scan records are kept", shape.scan_retention_days.to_string()),
    ];
    output.thing(&whole, &facts)
}

impl SecretsArgs {
    /// The shape of the city: from the flags, else from the previous run.
    fn shape(&self, conf: &Path) -> Result<Shape, Failure> {
        let before = match std::fs::read_to_string(conf) {
            Ok(text) => Shape::recorded(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Shape::default(),
            Err(error) => return Err(Failure::file("read", conf, error)),
        };
        let shape = Shape {
            partitions: self.partitions.unwrap_or(before.partitions),
            instances: self.instances.unwrap_or(before.instances),
            scan_retention_days: self.scan_retention_days.unwrap_or(before.scan_retention_days),
        };
        match shape.problem() {
            None => Ok(shape),
            Some(problem) => Err(Failure::local("nothing was created", problem, "choose another number")),
        }
    }
}

impl Files {
    /// Atomically creates a private file if it does not exist.
    fn file(&mut self, path: &Path, make: impl FnOnce() -> Result<Vec<u8>, Failure>) -> Result<(), Failure> {
        let name = path.display().to_string();
        if path.exists() {
            self.kept.push(name);
            return Ok(());
        }
        let bytes = Zeroizing::new(make()?);
        let written = files::write_atomic(path, &bytes, files::PRIVATE_FILE_MODE);
        written.map_err(|error| Failure::file("write", path, error))?;
        self.new.push(name);
        Ok(())
    }

    /// Derives the keys for services that need only a part of the vault from the master key.
    fn of_master(&mut self, keys: &Path, which: &str) -> Result<(), Failure> {
        let path = keys.join(format!("vault-master{which}.key"));
        let master = files::read_secret(&path).map_err(|error| Failure::file("read", &path, error))?;
        self.file(&keys.join(format!("vault-revocation{which}.key")), || {
            Ok(revocation_key(&master).to_vec())
        })?;
        self.file(&keys.join(format!("vault-index{which}.key")), || {
            Ok(index_key(&master).to_vec())
        })
    }

    /// Creates the seeds of all users, and returns the users with their public keys.
    fn users(
        &mut self,
        folder_of_seeds: &Path,
        shape: &Shape,
        entropy: &dyn Entropy,
    ) -> Result<Vec<(User, String)>, Failure> {
        folder(folder_of_seeds)?;
        let mut users = Vec::new();
        for user in accounts::users(shape) {
            let path = folder_of_seeds.join(format!("{}.nk", user.name));
            self.file(&path, || {
                let seed: Zeroizing<[u8; 32]> = Zeroizing::new(entropy.array());
                let user = KeyPair::new_from_raw(KeyPairType::User, *seed).and_then(|pair| pair.seed());
                user.map(String::into_bytes)
                    .map_err(|error| Failure::local("no NKEY was created", error, "report this"))
            })?;
            let seed = files::read_private(&path).map_err(|error| Failure::file("read", &path, error))?;
            let seed = Zeroizing::new(String::from_utf8_lossy(&seed).trim().to_owned());
            let pair = KeyPair::from_seed(&seed);
            let pair = pair.map_err(|error| Failure::file("use", &path, error))?;
            users.push((user, pair.public_key()));
        }
        Ok(users)
    }

    /// Puts the public half of the key that signs shared snapshots first in the readers' list. Older keys stay in it,
    /// so that their snapshots are accepted until an operator removes the line.
    fn snapshot_signers(&mut self, keys: &Path) -> Result<(), Failure> {
        let (secret, list) = (keys.join(key_files::SIGNING), keys.join(key_files::SIGNERS));
        let seed = files::read_secret(&secret).map_err(|error| Failure::file("read", &secret, error))?;
        let public = HEXLOWER.encode(&SigningKey::from_seed(*seed).public_key());
        let known = match list.exists() {
            true => files::read_private(&list).map_err(|error| Failure::file("read", &list, error))?,
            false => Zeroizing::default(),
        };
        let known = String::from_utf8_lossy(&known);
        if known.split_ascii_whitespace().any(|line| line == public) {
            self.kept.push(list.display().to_string());
            return Ok(());
        }
        let text = format!("{public}\n{known}");
        let written = files::write_atomic(&list, text.as_bytes(), files::PRIVATE_FILE_MODE);
        written.map_err(|error| Failure::file("write", &list, error))?;
        self.new.push(list.display().to_string());
        Ok(())
    }

    /// Puts the public half of the key that signs the pages' access tokens first in the services' list. Older keys stay in
    /// it, so that their tokens are accepted until an operator removes them.
    fn page_token_keys(&mut self, keys: &Path, list: &Path) -> Result<(), Failure> {
        let secret = keys.join(PAGE_TOKENS_KEY);
        let seed = files::read_secret(&secret).map_err(|error| Failure::file("read", &secret, error))?;
        let own: Value = serde_json::from_str(&LocalAuthority::of_pages(&seed).jwks())
            .map_err(|error| Failure::file("use", &secret, error))?;
        let known: Value = match list.exists() {
            true => {
                let text = files::read_private(list).map_err(|error| Failure::file("read", list, error))?;
                serde_json::from_slice(&text).map_err(|error| Failure::file("use", list, error))?
            }
            false => json!({ "keys": [] }),
        };
        let (own, known) = (&own["keys"][0], known["keys"].as_array().cloned().unwrap_or_default());
        if known.iter().any(|key| key["kid"] == own["kid"]) {
            self.kept.push(list.display().to_string());
            return Ok(());
        }
        let all: Vec<&Value> = std::iter::once(own).chain(&known).collect();
        let text = json!({ "keys": all }).to_string();
        let written = files::write_atomic(list, text.as_bytes(), files::PRIVATE_FILE_MODE);
        written.map_err(|error| Failure::file("write", list, error))?;
        self.new.push(list.display().to_string());
        Ok(())
    }

    fn access(&mut self, path: &Path, clock: &dyn Clock, entropy: &dyn Entropy) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::local(
                "no access authority was created",
                error,
                "fix the cause and run it again",
            )
        };
        let authority = LocalAuthority::create_or_open(path, entropy).map_err(|error| failed(&error))?;
        self.file(&path.join("jwks.json"), || Ok(authority.jwks().into_bytes()))?;
        self.file(&path.join("issuer"), || Ok(authority.issuer().into_bytes()))?;
        // The token is new at each run; it has the longest lifetime that services accept.
        let grant = Grant {
            subject: "operator",
            roles: &[Role::Admin],
            card_reader: true,
            local_only: false,
            lifetime_seconds: MAX_LIFETIME_SECONDS,
        };
        let token = authority
            .mint(&grant, AUDIENCE, clock.now())
            .map_err(|error| failed(&error))?;
        let file = path.join("admin.token");
        let written = files::write_atomic(&file, token.as_bytes(), files::PRIVATE_FILE_MODE);
        written.map_err(|error| Failure::file("write", &file, error))
    }
}

fn folder(path: &Path) -> Result<(), Failure> {
    files::create_private_dir(path).map_err(|error| Failure::file("make", path, error))
}
