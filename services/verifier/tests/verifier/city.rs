//! A city with one verifier over the in-memory log: real events, real tokens, a clock that the test moves.
#![expect(clippy::unwrap_used, reason = "a failure of the fixture fails the test")]

use std::path::Path;
use std::sync::Arc;

use citycode_auth::{Caller, CallerId, Role};
use citycode_domain::admission::{Decision, Reason};
use citycode_domain::event::{CodeIssued, CodeRef, Event, SigningKeyAdded, Slot};
use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::{CodeId, HolderId, ListId, StatusRef};
use citycode_domain::name::PersonName;
use citycode_domain::policy::{PlacePolicy, Policy};
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::{Progress, follow};
use citycode_event_store::memory::MemoryEventStore;
use citycode_event_store::{AppendOutcome, EventStore, Layout, LogId, Partition, Position, StreamName, StreamState};
use citycode_policy_file::PolicyFile;
use citycode_projection::LogIdentity;
use citycode_scan_records::ScanRecords;
use citycode_scan_records::embedded::EmbeddedScanRecords;
use citycode_service_kit::clock::{Clock as _, ManualClock, UnixSeconds};
use citycode_service_kit::entropy::{Entropy, SeededEntropy};
use citycode_service_kit::problem::Problem;
use citycode_testkit::{code_issued, commit_of};
use citycode_token::{CodeClaimsToSign, DeviceSigner, IdCheckKey, SigningKey, id_commitment, present, sign_code};
use citycode_vault::embedded::EmbeddedVault;
use citycode_vault::{Person, Vault as _};
use citycode_verifier::{Answer, PresentedCard, Scan, Verifier, VerifierParts, When};
use citycode_wire::proto::verifier::v1::verify_request::Scan as Shown;
use citycode_wire::proto::verifier::v1::{VerifyRequest, VerifyResponse};
use citycode_wire::request::ScanRequest;
use citycode_wire::verdict;

use crate::slow_vault::SlowVault;

/// The start of every test.
pub(crate) const START: i64 = 1_661_904_000;
/// The two examples printed in GB 11643-1999.
pub(crate) const WANG: &str = "11010519491231002X";
pub(crate) const LI: &str = "440524188001010014";

const LOG_ID: [u8; 16] = [7; 16];
const PARTITIONS: u16 = 2;
const BUCKETS: u32 = 64;

/// A code that was signed, whether or not it is in the log.
pub(crate) struct Code {
    pub(crate) text: String,
    pub(crate) issued: CodeIssued,
}

pub(crate) struct City {
    pub(crate) store: MemoryEventStore,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) policy_file: PolicyFile,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) progress: Progress,
    pub(crate) vault: Arc<SlowVault>,
    pub(crate) records: Arc<EmbeddedScanRecords>,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) key: SigningKey,
    following: tokio::task::JoinHandle<()>,
    commands: std::sync::atomic::AtomicU64,
}

fn identity() -> LogIdentity {
    LogIdentity {
        log_id: LOG_ID,
        partitions: PARTITIONS,
        buckets_per_partition: BUCKETS,
        hash_version: 1,
    }
}

fn id_check_key() -> IdCheckKey {
    IdCheckKey::from_bytes([2; 32])
}

impl City {
    /// A city whose log contains one signing key, and a verifier whose freshness is proved.
    pub(crate) async fn new() -> Self {
        let layout = Layout::new(PARTITIONS, BUCKETS).unwrap();
        let store = MemoryEventStore::new(LogId(LOG_ID), layout);
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::from_seed([3; 32]);
        let city = Self::open(store, folder, key, UnixSeconds(START)).await;
        city.add_key(&city.key).await;
        city.prove().await;
        city
    }

    async fn open(store: MemoryEventStore, folder: tempfile::TempDir, key: SigningKey, now: UnixSeconds) -> Self {
        let clock = Arc::new(ManualClock::at(now));
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(5));
        let policy = PolicyFile::open(None).unwrap();
        let random = Arc::clone(&entropy);
        let fill: citycode_vault::FillRandom = Arc::new(move |bytes| random.fill(bytes));
        let master = zeroize::Zeroizing::new([1; 32]);
        let vault = EmbeddedVault::open(&folder.path().join("vault"), &master, fill).unwrap();
        let vault = Arc::new(SlowVault::new(vault, Arc::clone(&clock)));
        let records = Arc::new(EmbeddedScanRecords::open(&folder.path().join("scans"), entropy).unwrap());
        let parts = VerifierParts {
            policy: policy.clone(),
            clock: Arc::clone(&clock) as _,
            vault: Arc::clone(&vault) as _,
            id_check_key: id_check_key(),
            records: Arc::clone(&records) as _,
            fingerprint_key: [9; 16],
            witnessed_after_seconds: None,
            identity: identity(),
        };
        let snapshot = folder.path().join("status");
        let (verifier, mut fold, from) = Verifier::open(parts, &store, Some(&snapshot)).await.unwrap();
        let progress = Progress::new(&from);
        let (followed, following) = (store.clone(), progress.clone());
        let following = tokio::spawn(async move {
            follow(&followed, &mut fold, &following).await;
        });
        Self {
            store,
            clock,
            policy: Arc::clone(&policy.policy),
            policy_file: policy,
            verifier,
            progress,
            vault,
            records,
            folder,
            key,
            following,
            commands: std::sync::atomic::AtomicU64::new(1),
        }
    }

    /// Another verifier of the city, with the same records.
    pub(crate) async fn another_verifier(&self) -> Arc<Verifier> {
        self.verifier_with(Arc::clone(&self.records) as _).await
    }

    /// Another verifier of the city, with the given records.
    pub(crate) async fn verifier_with(&self, records: Arc<dyn ScanRecords>) -> Arc<Verifier> {
        self.verifier_from(records, None, None).await.0
    }

    /// Another verifier, which may demand witnesses for codes of an age and start from a snapshot, and its follower.
    pub(crate) async fn verifier_from(
        &self,
        records: Arc<dyn ScanRecords>,
        witnessed_after_seconds: Option<u64>,
        snapshot: Option<&Path>,
    ) -> (Arc<Verifier>, Progress) {
        let parts = VerifierParts {
            policy: self.policy_file.clone(),
            clock: Arc::clone(&self.clock) as _,
            vault: Arc::clone(&self.vault) as _,
            id_check_key: id_check_key(),
            records,
            fingerprint_key: [8; 16],
            witnessed_after_seconds,
            identity: identity(),
        };
        let (verifier, mut fold, from) = Verifier::open(parts, &self.store, snapshot).await.unwrap();
        let progress = Progress::new(&from);
        let (followed, following) = (self.store.clone(), progress.clone());
        tokio::spawn(async move {
            follow(&followed, &mut fold, &following).await;
        });
        let freshness = Arc::clone(verifier.freshness());
        freshness.probe(&self.store, &progress, &*self.clock).await.unwrap();
        (verifier, progress)
    }

    /// The process ends and starts again on the same log and folder.
    pub(crate) async fn restart(self) -> Self {
        let Self {
            store,
            folder,
            key,
            following,
            commands,
            clock,
            verifier,
            vault,
            records,
            ..
        } = self;
        following.abort();
        // The verifier holds the files of records and vault open.
        let _ = following.await;
        drop((verifier, vault, records));
        for file in ["scans/scans.redb", "vault/vault.redb"] {
            released(&folder.path().join(file)).await;
        }
        let mut city = Self::open(store, folder, key, clock.now()).await;
        city.commands = commands;
        city.progress.wait_until_live().await.unwrap();
        city.prove().await;
        city
    }

    pub(crate) async fn prove(&self) {
        let freshness = Arc::clone(self.verifier.freshness());
        freshness
            .probe(&self.store, &self.progress, &*self.clock)
            .await
            .unwrap();
    }

    /// One probe of the log while a partition does not answer: the others are proved.
    pub(crate) fn prove_others(&self) {
        let freshness = Arc::clone(self.verifier.freshness());
        let mut probe = Box::pin(freshness.probe(&self.store, &self.progress, &*self.clock));
        let polled = probe
            .as_mut()
            .poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        assert!(polled.is_pending(), "it waits for the partition that does not answer");
    }

    /// Stops the follower, as if the network were interrupted.
    pub(crate) fn stop_following(&self) {
        self.following.abort();
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.clock.now().0)
    }

    pub(crate) fn place(&self, name: &str) -> &PlacePolicy {
        self.policy.place(name).unwrap()
    }

    /// Appends without waiting for the verifier.
    pub(crate) async fn append(&self, stream: &str, event: &Event) -> Position {
        self.append_at(stream, event, self.now()).await
    }

    /// As `append`, by a writer with another clock.
    pub(crate) async fn append_at(&self, stream: &str, event: &Event, decided_at: Timestamp) -> Position {
        let number = self.commands.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let commit = commit_of(StreamName::new(stream).unwrap(), event, number, decided_at.0);
        match self.store.append_to_stream(commit, StreamState::Any).await.unwrap() {
            AppendOutcome::Appended { position, .. } => position,
            other => panic!("{other:?}"),
        }
    }

    /// Appends, and waits until the verifier has folded the commit.
    pub(crate) async fn tell(&self, stream: &str, event: Event) {
        let position = self.append(stream, &event).await;
        self.progress.wait_for(position).await.unwrap();
    }

    pub(crate) async fn add_key(&self, key: &SigningKey) {
        let added = SigningKeyAdded {
            key_id: key.key_id(),
            public_key: key.public_key(),
            signs_from: Timestamp(START),
        };
        self.tell("keys", Event::SigningKeyAdded(added)).await;
    }

    /// Signs a code of a kind at this index of its list, for WANG if the kind commits to an ID number.
    pub(crate) fn sign(&self, kind: &str, number: u32, phone: Option<&DeviceSigner>) -> Code {
        self.sign_by(&self.key, kind, number, phone)
    }

    pub(crate) fn sign_by(&self, key: &SigningKey, kind: &str, number: u32, phone: Option<&DeviceSigner>) -> Code {
        self.sign_for(HOLDER, key, kind, number, phone)
    }

    pub(crate) fn sign_for(
        &self,
        holder: HolderId,
        key: &SigningKey,
        kind: &str,
        number: u32,
        phone: Option<&DeviceSigner>,
    ) -> Code {
        let kind = self.policy.kind_named(kind).unwrap();
        let issued_at = self.now();
        let expires_at = issued_at.plus_seconds(kind.validity_seconds);
        let partition = u8::try_from(partition_of(&stream_of(holder)).0).unwrap();
        let list = ListId::new(partition, kind.kind, expires_at, 0).unwrap();
        let mut id = [kind.kind.number(); 8];
        id[4..].copy_from_slice(&number.to_be_bytes());
        let code_id = CodeId(id);
        let needs = self.policy.needs_id_commitment(kind.kind);
        let status = StatusRef { list, index: number };
        let claims = CodeClaimsToSign {
            code_id,
            kind: kind.kind,
            issued_at,
            expires_at,
            status,
            id_commitment: needs.then(|| id_commitment(&id_check_key(), code_id, WANG.as_bytes())),
            device_key: phone.map(DeviceSigner::device_key),
        };
        let signed = sign_code(&claims, &self.policy.status_base_uri, key).unwrap();
        let slot = Slot {
            kind: kind.kind,
            guardian: None,
        };
        let issued = CodeIssued {
            key_id: key.key_id(),
            claims_digest: signed.digest,
            ..code_issued(CodeRef { slot, code_id, status }, issued_at, expires_at)
        };
        Code {
            text: signed.text,
            issued,
        }
    }

    /// Signs a code of another holder and appends it to the log.
    pub(crate) async fn issue_to(&self, holder: HolderId, kind: &str, number: u32) -> Code {
        let code = self.sign_for(holder, &self.key, kind, number, None);
        self.tell(&stream_of(holder), Event::CodeIssued(code.issued.clone()))
            .await;
        code
    }

    /// Signs a code and appends it to the log.
    pub(crate) async fn issue(&self, kind: &str, number: u32) -> Code {
        let code = self.sign(kind, number, None);
        self.tell(&holder_stream(), Event::CodeIssued(code.issued.clone()))
            .await;
        code
    }

    pub(crate) async fn issue_live(&self, number: u32, phone: &DeviceSigner) -> Code {
        let code = self.sign("live", number, Some(phone));
        self.tell(&holder_stream(), Event::CodeIssued(code.issued.clone()))
            .await;
        code
    }

    /// The presentation that the phone shows now.
    pub(crate) fn shown(&self, code: &Code, phone: &DeviceSigner) -> String {
        present(&code.text, phone, self.now(), None).unwrap()
    }

    pub(crate) fn at_once(&self) -> When {
        When::Now(self.clock.reading())
    }

    pub(crate) fn scan(&self, place: &str, text: &str) -> Answer {
        self.verifier.scan(&Scan {
            place: self.place(place),
            text,
            card: PresentedCard::Absent,
            when: self.at_once(),
        })
    }

    pub(crate) fn scan_with_card(&self, place: &str, text: &str, number: &str) -> Answer {
        let card = IdNumber::parse(number, citycode_policy_file::local_date(&self.policy, self.now())).unwrap();
        self.verifier.scan(&Scan {
            place: self.place(place),
            text,
            card: PresentedCard::Number(card.as_bytes()),
            when: self.at_once(),
        })
    }

    pub(crate) fn reason(&self, place: &str, text: &str) -> Reason {
        self.scan(place, text).verdict.reason
    }

    /// Adds the person with this number to the vault.
    pub(crate) async fn know(&self, number: &str) {
        let number = IdNumber::parse(number, citycode_policy_file::local_date(&self.policy, self.now())).unwrap();
        let person = Person {
            name: PersonName::parse("王小明").unwrap(),
            disability: false,
            group: None,
        };
        self.vault.find_or_create(&number, HOLDER, person).await.unwrap();
    }

    pub(crate) async fn verify(&self, caller: &Caller, request: VerifyRequest) -> Result<VerifyResponse, Problem> {
        verify(&self.verifier, caller, &request).await
    }
}

/// Parses and answers a request, as the gRPC API does.
pub(crate) async fn verify(
    verifier: &Verifier,
    caller: &Caller,
    request: &VerifyRequest,
) -> Result<VerifyResponse, Problem> {
    let parsed = ScanRequest::try_from(request).map_err(|invalid| Problem::invalid_request(&invalid))?;
    verifier.verify(caller, &parsed).await
}

/// Waits until the writer's thread has released the file's lock.
async fn released(path: &std::path::Path) {
    let path = path.to_owned();
    let wait = move || std::fs::File::open(path).unwrap().lock().unwrap();
    tokio::task::spawn_blocking(wait).await.unwrap();
}

/// The holder of every code in these tests.
pub(crate) const HOLDER: HolderId = HolderId([0xAB; 16]);

pub(crate) fn holder_stream() -> String {
    stream_of(HOLDER)
}

pub(crate) fn stream_of(holder: HolderId) -> String {
    format!("holder-{holder}")
}

/// A holder whose events are in this partition.
pub(crate) fn holder_in(partition: Partition) -> HolderId {
    let mut holders = (0..=u8::MAX).map(|number| HolderId([number; 16]));
    holders
        .find(|holder| partition_of(&stream_of(*holder)) == partition)
        .unwrap()
}

pub(crate) fn partition_of(stream: &str) -> Partition {
    let layout = Layout::new(PARTITIONS, BUCKETS).unwrap();
    layout.bucket_of(&StreamName::new(stream).unwrap()).partition
}

/// The number on WANG's card.
pub(crate) fn wang() -> [u8; 18] {
    WANG.as_bytes().try_into().unwrap()
}

/// A caller with these roles.
pub(crate) fn caller(roles: &[&str]) -> Caller {
    let roles = roles.iter().map(|role| Role::parse(role).unwrap().unwrap()).collect();
    Caller::new(CallerId::new("test", &format!("caller-{}", 1)).unwrap(), roles)
}

pub(crate) fn desk() -> Caller {
    caller(&["verifier:sampling_desk,staffed,sentinel:desk-1"])
}

/// One scan of a code, as a device sends it.
pub(crate) fn request(place: &str, text: &str, scan_id: &str) -> VerifyRequest {
    VerifyRequest {
        place: place.into(),
        scan: Some(Shown::Code(text.into())),
        scan_id: scan_id.into(),
        ..VerifyRequest::default()
    }
}

/// An ID card read instead of a code.
pub(crate) fn card(place: &str, number: &str, scan_id: &str) -> VerifyRequest {
    VerifyRequest {
        scan: Some(Shown::IdCard(number.into())),
        ..request(place, "", scan_id)
    }
}

pub(crate) fn words(response: &VerifyResponse) -> (Decision, Reason) {
    let decision = verdict::decision(response.decision).unwrap();
    (decision, verdict::reason(response.reason).unwrap())
}
