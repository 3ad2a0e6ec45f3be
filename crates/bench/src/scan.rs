//! What one scan costs, beside the bare signature check of the same library in the same run.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use citycode_domain::claims::DeviceKey;
use citycode_domain::event::{CodeIssued, CodeRef, EligibilityGround, Event, Sealed, SigningKeyAdded, Slot};
use citycode_domain::ids::{CodeId, CodeKind, HolderId, ListId, StatusRef};
use citycode_domain::policy::Policy;
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::{Progress, follow};
use citycode_event_store::memory::MemoryEventStore;
use citycode_event_store::{
    CommandId, EventData, EventStore, Layout, LogId, MessageId, NewCommit, RequestDigest, StreamName, StreamState,
};
use citycode_projection::LogIdentity;
use citycode_service_kit::clock::{Clock, SystemClock};
use citycode_service_kit::entropy::{Draw as _, Entropy, OsEntropy};
use citycode_token::{CodeClaimsToSign, DeviceSigner, IdCheckKey, SigningKey, present, sign_code};
use citycode_vault::embedded::EmbeddedVault;
use citycode_verifier::{Scan, ScanRecords, Verifier, VerifierParts};
use ed25519_dalek::Signer as _;

use crate::Scale;
use crate::folder;
use crate::report::{Figure, Goal, Report};

/// Codes that are scanned as new ones, each once a round.
const CODES: u64 = 4_000;
/// Scans of codes seen before.
const SEEN: u64 = 2_000_000;

pub(crate) fn run(report: &mut Report, scale: Scale) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let gate = runtime.block_on(Gate::new(scale.of(CODES)))?;
    let bare = bare_check();
    let place = gate.verifier_place("sampling_desk")?;
    let started = Instant::now();
    for token in &gate.tokens {
        gate.scan(&place, token)?;
    }
    let new = started.elapsed().as_secs_f64() * 1e6 / gate.tokens.len() as f64;
    report.push(
        Figure::new("scan_new", new, "µs")
            .beside(bare)
            .asked(Goal::RatioAtMost(1.15)),
    );
    let rounds = scale.of(SEEN);
    let started = Instant::now();
    for round in 0..rounds {
        let token = &gate.tokens[(round % gate.tokens.len() as u64) as usize];
        black_box(gate.verifier.scan(&gate.question(&place, token)));
    }
    let seen = started.elapsed().as_secs_f64() * 1e6 / rounds as f64;
    report.push(
        Figure::new("scan_seen", seen, "µs")
            .beside(bare)
            .asked(Goal::AtMost(1.0)),
    );
    let live = gate.verifier_place("sentinel")?;
    let shown: Vec<String> = gate
        .live
        .iter()
        .map(|(token, phone)| present(token, phone, gate.now(), None))
        .collect::<Result<_, _>>()?;
    for text in &shown {
        gate.scan(&live, text)?;
    }
    let started = Instant::now();
    for text in &shown {
        black_box(gate.verifier.scan(&gate.question(&live, text)));
    }
    let live_seen = started.elapsed().as_secs_f64() * 1e6 / shown.len() as f64;
    report.push(
        Figure::new("scan_live_seen", live_seen, "µs")
            .beside(bare)
            .asked(Goal::RatioAtMost(1.2)),
    );
    Ok(())
}

/// One bare strict check of a message of a token's size, in microseconds.
fn bare_check() -> f64 {
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let messages: Vec<[u8; 160]> = (0..2_000u32).map(|n| [(n % 251) as u8; 160]).collect();
    let signed: Vec<_> = messages.iter().map(|message| key.sign(message)).collect();
    let public = key.verifying_key();
    let started = Instant::now();
    for (message, signature) in messages.iter().zip(&signed) {
        black_box(public.verify_strict(message, signature).is_ok());
    }
    started.elapsed().as_secs_f64() * 1e6 / messages.len() as f64
}

/// A live code: its token and the phone that shows it.
type Live = (String, DeviceSigner);

struct Gate {
    verifier: Arc<Verifier>,
    clock: Arc<dyn Clock>,
    policy: Arc<citycode_domain::policy::Policy>,
    tokens: Vec<String>,
    live: Vec<Live>,
    _folder: tempfile::TempDir,
}

impl Gate {
    async fn new(codes: u64) -> Result<Self> {
        let folder = folder::throw_away()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
        let policy = Arc::new(citycode_policy_file::parse(citycode_policy_file::SHANGHAI)?);
        let layout = Layout::new(1, 256)?;
        let store = MemoryEventStore::new(LogId([1; 16]), layout);
        let random = Arc::clone(&entropy);
        let master = zeroize::Zeroizing::new([1; 32]);
        let vault = EmbeddedVault::open(
            &folder.path().join("vault"),
            &master,
            Arc::new(move |bytes| random.fill(bytes)),
        )?;
        let parts = VerifierParts {
            policy: Arc::clone(&policy),
            clock: Arc::clone(&clock),
            vault: Arc::new(vault),
            id_check_key: IdCheckKey::from_bytes([2; 32]),
            records: Arc::new(ScanRecords::open(&folder.path().join("scans"), Arc::clone(&entropy))?),
            fingerprint_key: entropy.array(),
            identity: LogIdentity {
                log_id: [1; 16],
                partitions: 1,
                buckets_per_partition: 256,
                hash_version: 1,
            },
        };
        let (verifier, mut fold, from) = Verifier::open(parts, &store, None).await.map_err(anyhow::Error::msg)?;
        let progress = Progress::new(&from);
        let (followed, following) = (store.clone(), progress.clone());
        tokio::spawn(async move { follow(&followed, &mut fold, &following).await });
        let (tokens, live) = issue_all(&store, &policy, Timestamp(clock.now().0), codes).await?;
        progress.wait_for_all(&store.heads().await?).await?;
        verifier
            .freshness()
            .probe(&store, &progress, &*clock)
            .await
            .map_err(anyhow::Error::msg)?;
        Ok(Self {
            verifier,
            clock,
            policy,
            tokens,
            live,
            _folder: folder,
        })
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.clock.now().0)
    }

    fn verifier_place(&self, name: &str) -> Result<citycode_domain::policy::PlacePolicy> {
        let mut place = self.policy.place(name).context("a place of the policy")?.clone();
        // The bench probes once: its knowledge may be as old as the bench.
        place.max_knowledge_age_ms = 3_600_000;
        Ok(place)
    }

    fn question<'a>(&self, place: &'a citycode_domain::policy::PlacePolicy, text: &'a str) -> Scan<'a> {
        Scan {
            place,
            text,
            id_number: None,
            now: self.now(),
            what_if: false,
        }
    }

    /// One scan that must admit: a bench of refusals would measure nothing.
    fn scan(&self, place: &citycode_domain::policy::PlacePolicy, text: &str) -> Result<()> {
        let reason = self.verifier.scan(&self.question(place, text)).verdict.reason;
        anyhow::ensure!(reason.name() == "ok", "a good code was answered with {}", reason.name());
        Ok(())
    }
}

/// Issues so many sampling codes and as many live ones, and writes them into the log.
async fn issue_all(
    store: &MemoryEventStore,
    policy: &Policy,
    now: Timestamp,
    codes: u64,
) -> Result<(Vec<String>, Vec<Live>)> {
    let entropy = OsEntropy;
    let key = SigningKey::from_seed([3; 32]);
    let added = SigningKeyAdded {
        key_id: key.key_id(),
        public_key: key.public_key(),
        signs_from: Timestamp(0),
    };
    append(store, "keys", &Event::SigningKeyAdded(added), 0).await?;
    let (mut tokens, mut live) = (Vec::new(), Vec::new());
    for number in 0..codes * 2 {
        let phone = (number >= codes).then(|| DeviceSigner::from_seed(entropy.array()));
        let kind = CodeKind::new(if phone.is_some() { 1 } else { 3 }).context("a kind")?;
        let expires_at = now.plus_seconds(30 * 86_400);
        let list = ListId::new(0, kind, expires_at, 0).context("a list")?;
        let status = StatusRef {
            list,
            index: u32::try_from(number)?,
        };
        let device_key: Option<DeviceKey> = phone.as_ref().map(DeviceSigner::device_key);
        let code_id = CodeId(entropy.array());
        let claims = CodeClaimsToSign {
            code_id,
            kind,
            issued_at: now,
            expires_at,
            status,
            id_commitment: None,
            device_key,
        };
        let signed = sign_code(&claims, &policy.status_base_uri, &key)?;
        let holder = HolderId(entropy.array());
        let issued = CodeIssued {
            code: CodeRef {
                slot: Slot { kind, guardian: None },
                code_id,
                status,
            },
            issued_at: now,
            expires_at,
            supersedes: None,
            standing: Standing::Green,
            ground: EligibilityGround::Everyone,
            acting_guardian: None,
            key_id: key.key_id(),
            claims_digest: signed.digest,
            sealed_token: Sealed(vec![0; 64]),
        };
        append(
            store,
            &format!("holder-{holder}"),
            &Event::CodeIssued(issued),
            number + 1,
        )
        .await?;
        match phone {
            Some(phone) => live.push((signed.text, phone)),
            None => tokens.push(signed.text),
        }
    }
    Ok((tokens, live))
}

async fn append(store: &MemoryEventStore, stream: &str, event: &Event, number: u64) -> Result<()> {
    let (event_type, version, payload) = citycode_wire::event::encode(event);
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let commit = NewCommit {
        stream: StreamName::new(stream)?,
        events: vec![EventData {
            event_type: event_type.into(),
            version,
            payload: payload.into(),
        }],
        message_id: MessageId(id),
        request_digest: RequestDigest([0; 32]),
        command_id: CommandId([0; 16]),
        actor: "bench".into(),
        causation_id: None,
        correlation_id: None,
        decided_at: 1_700_000_000,
        trace_context: None,
    };
    store.append_to_stream(commit, StreamState::Any).await?;
    Ok(())
}
