//! The measured verifier, and the codes for its scans.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use citycode_domain::claims::DeviceKey;
use citycode_domain::event::{CodeIssued, CodeRef, EligibilityGround, Event, Sealed, SigningKeyAdded, Slot};
use citycode_domain::ids::{CodeId, CodeKind, HolderId, ListId, StatusRef};
use citycode_domain::policy::Policy;
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::{Progress, follow};
use citycode_event_store::memory::MemoryEventStore;
use citycode_event_store::{EventStore, Layout, LogId, StreamName, StreamState};
use citycode_policy_file::PolicyFile;
use citycode_projection::LogIdentity;
use citycode_scan_records::embedded::EmbeddedScanRecords;
use citycode_service_kit::clock::{Clock, SystemClock};
use citycode_service_kit::entropy::{Draw as _, Entropy, OsEntropy};
use citycode_testkit::commit_of;
use citycode_token::{CodeClaimsToSign, DeviceSigner, IdCheckKey, SigningKey, sign_code};
use citycode_vault::embedded::EmbeddedVault;
use citycode_verifier::{FreshnessWatch, PresentedCard, Scan, Verifier, VerifierParts, When};

use crate::folder;

/// Numbers of kinds in the policy.
const LIVE: u8 = 1;
const OFFLINE: u8 = 4;

/// A live code: its token and the phone that presents it.
pub(super) type Live = (String, DeviceSigner);

/// Codes that were issued on a log.
#[derive(Default)]
pub(crate) struct Codes {
    /// Codes on paper.
    pub(crate) tokens: Vec<String>,
    /// Codes on phones.
    pub(super) live: Vec<Live>,
}

/// A verifier of a log with codes.
pub(crate) struct Gate {
    pub(super) verifier: Arc<Verifier>,
    pub(super) clock: Arc<dyn Clock>,
    policy: Arc<Policy>,
    pub(super) codes: Codes,
    _folder: tempfile::TempDir,
}

impl Gate {
    /// With a log in memory that has these numbers of codes on paper and on phones.
    pub(super) async fn new(paper: u64, phones: u64) -> Result<Self> {
        let store = MemoryEventStore::new(LogId([1; 16]), Layout::new(1, 256)?);
        let codes = Codes::issue(&store, paper, phones).await?;
        Self::open(Arc::new(store), codes).await
    }

    /// With any log, which is completely folded and proved fresh when this returns; `codes` are those for the scans.
    pub(crate) async fn open(store: Arc<dyn EventStore>, codes: Codes) -> Result<Self> {
        let folder = folder::temporary()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
        let policy = PolicyFile::open(None)?;
        let random = Arc::clone(&entropy);
        let master = zeroize::Zeroizing::new([1; 32]);
        let vault = EmbeddedVault::open(
            &folder.path().join("vault"),
            &master,
            Arc::new(move |bytes| random.fill(bytes)),
        )?;
        let layout = store.layout();
        let parts = VerifierParts {
            policy: policy.clone(),
            clock: Arc::clone(&clock),
            vault: Arc::new(vault),
            id_check_key: IdCheckKey::from_bytes([2; 32]),
            records: Arc::new(EmbeddedScanRecords::open(
                &folder.path().join("scans"),
                Arc::clone(&entropy),
            )?),
            fingerprint_key: entropy.array(),
            witnessed_after_seconds: None,
            identity: LogIdentity {
                log_id: store.log_id().0,
                partitions: layout.partitions(),
                buckets_per_partition: layout.buckets_per_partition(),
                hash_version: layout.hash_version(),
            },
        };
        let (verifier, mut fold, from) = Verifier::open(parts, &*store, None).await.map_err(anyhow::Error::msg)?;
        let progress = Progress::new(&from);
        let (followed, following) = (Arc::clone(&store), progress.clone());
        tokio::spawn(async move { follow(&*followed, &mut fold, &following).await });
        progress.wait_for_all(&store.heads().await?).await?;
        let freshness = Arc::clone(verifier.freshness());
        freshness
            .probe(&*store, &progress, &*clock)
            .await
            .map_err(anyhow::Error::msg)?;
        let component = citycode_service_kit::health::HealthRegistry::new().component("freshness");
        let policy = policy.policy;
        let watch = FreshnessWatch::new(policy.tightest_knowledge_age_ms(), component);
        tokio::spawn(freshness.keep_probing(store, progress, Arc::clone(&clock), watch));
        Ok(Self {
            verifier,
            clock,
            policy,
            codes,
            _folder: folder,
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp(self.clock.now().0)
    }

    pub(super) fn verifier_place(&self, name: &str) -> Result<citycode_domain::policy::PlacePolicy> {
        Ok(self.policy.place(name).context("a place of the policy")?.clone())
    }

    pub(super) fn question<'a>(&self, place: &'a citycode_domain::policy::PlacePolicy, text: &'a str) -> Scan<'a> {
        Scan {
            place,
            text,
            card: PresentedCard::Absent,
            when: When::Now(self.clock.reading()),
        }
    }
}

impl Codes {
    /// Issues these numbers of offline and live codes, and appends them to the first partition of the log.
    pub(crate) async fn issue(store: &dyn EventStore, paper: u64, phones: u64) -> Result<Self> {
        let policy = citycode_policy_file::parse(citycode_policy_file::SHANGHAI)?;
        let now = Timestamp(SystemClock::new().now().0);
        issue_all(store, &policy, now, paper, phones).await
    }
}

async fn issue_all(store: &dyn EventStore, policy: &Policy, now: Timestamp, paper: u64, phones: u64) -> Result<Codes> {
    let entropy = OsEntropy;
    let key = SigningKey::from_seed([3; 32]);
    let added = SigningKeyAdded {
        key_id: key.key_id(),
        public_key: key.public_key(),
        signs_from: Timestamp(0),
    };
    append(store, "keys", &Event::SigningKeyAdded(added), 0).await?;
    let (mut tokens, mut live) = (Vec::new(), Vec::new());
    for number in 0..paper + phones {
        let phone = (number >= paper).then(|| DeviceSigner::from_seed(entropy.array()));
        let kind = CodeKind::new(if phone.is_some() { LIVE } else { OFFLINE }).context("a kind")?;
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
            id_commitment: phone.is_none().then(|| entropy.array()),
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
    Ok(Codes { tokens, live })
}

async fn append(store: &dyn EventStore, stream: &str, event: &Event, number: u64) -> Result<()> {
    let commit = commit_of(StreamName::new(stream)?, event, number, 1_700_000_000);
    store.append_to_stream(commit, StreamState::Any).await?;
    Ok(())
}
