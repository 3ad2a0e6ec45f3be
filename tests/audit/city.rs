//! A small city whose history follows from a seed.

mod mishaps;

use std::sync::Arc;

use citycode_audit::{Audit, AuditIndex};
use citycode_auth::{Caller, CallerId, Role};
use citycode_domain::event::{
    CodeIssued, CodeRef, CodeReinstated, CodeReportedLost, CodeRevoked, CodeSuspended, EligibilityGround, Event,
    HolderErased, HolderRegistered, ScanBatchesSealed, Sealed, SigningKeyAdded, SigningKeyCompromised,
    SigningKeyRetired, Slot, StandingChanged,
};
use citycode_domain::ids::{CodeId, HolderId, ListId, StatusRef};
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::{Progress, follow};
use citycode_event_store::memory::MemoryEventStore;
use citycode_event_store::{AppendOutcome, EventStore, Layout, LogId, StreamName, StreamState};
use citycode_log_folds::{holder_stream, identity_of};
use citycode_policy_file::{PolicyFile, SHANGHAI};
use citycode_projection::status::StatusReader;
use citycode_query_stream::Queries;
use citycode_query_stream::embedded::EmbeddedQueryStore;
use citycode_scan_records::embedded::EmbeddedScanRecords;
use citycode_scan_records::{RecordArchive, ScanRecords as _};
use citycode_service_kit::clock::{Clock as _, ManualClock, UnixSeconds};
use citycode_service_kit::entropy::{Entropy, SeededEntropy};
use citycode_testkit::commit_of;
use citycode_token::{CodeClaimsToSign, DeviceSigner, IdCheckKey, SigningKey, id_commitment, present, sign_code};
use citycode_vault::Vault;
use citycode_vault::embedded::EmbeddedVault;
use citycode_vault::log_binding::ForLog;
use citycode_verifier::{Verifier, VerifierParts};
use citycode_wire::proto::verifier::v1::VerifyRequest;
use citycode_wire::proto::verifier::v1::verify_request::Scan as Shown;
use citycode_wire::request::ScanRequest;
use tempfile::TempDir;

/// 2022-09-01T00:00:00Z, the start of a UTC day.
pub(crate) const START: i64 = 1_661_990_400;
/// Days of the month.
const DAYS: u64 = 34;
/// Steps of a day: each is an act of a holder or officer, an event of the machines, or scans.
const STEPS_PER_DAY: u64 = 8;
const HOLDERS: u64 = 24;
/// Codes that a thief makes in a month.
const FORGED: usize = 2;
const KINDS: [&str; 3] = ["live", "sampling", "offline"];
const PLACES: [&str; 3] = ["sentinel", "staffed", "sampling_desk"];
/// The ID number of every holder of a paper code; a mismatch is another number.
const WANG: &str = "11010519491231002X";
const LI: &str = "440524188001010014";

struct Code {
    text: String,
    issued: CodeIssued,
    holder: HolderId,
    phone: Option<DeviceSigner>,
}

/// One verifier with its follower.
struct Gate {
    verifier: Arc<Verifier>,
    progress: Progress,
    following: tokio::task::JoinHandle<()>,
    policy: PolicyFile,
    device: String,
    /// Whether it stopped following the log.
    lags: bool,
}

/// The city. Its clock moves only by its own steps.
pub(crate) struct City {
    pub(crate) store: MemoryEventStore,
    clock: Arc<ManualClock>,
    pub(crate) folder: TempDir,
    records: Option<Arc<EmbeddedScanRecords>>,
    vault: Arc<dyn Vault>,
    entropy: Arc<dyn Entropy>,
    dice: SeededEntropy,
    keys: Vec<SigningKey>,
    codes: Vec<Code>,
    forged: Vec<String>,
    erased: Vec<HolderId>,
    gates: Vec<Gate>,
    commands: u64,
    indexes: u32,
    scans: u64,
}

/// Shanghai's policy, and one under which paper codes pass the sentinel and standing does not count there.
fn policies() -> [PolicyFile; 2] {
    let other = SHANGHAI
        .replace(
            "accepts = { live = \"admit\", family = \"admit\", id_card = \"admit\" }",
            "accepts = { live = \"admit\", family = \"admit\", offline = \"admit\", id_card = \"admit\" }",
        )
        .replacen("standing_counts = true", "standing_counts = false", 1);
    let policies = [SHANGHAI, &other].map(|text| PolicyFile::parse(text).expect("a policy"));
    assert_ne!(policies[0].digest, policies[1].digest);
    policies
}

impl City {
    /// A month that follows from the seed, whose records are on disk and sealed in the log.
    pub(crate) async fn month(seed: u64) -> Self {
        let mut city = Self::begin(seed).await;
        for _ in 0..DAYS * STEPS_PER_DAY {
            city.step().await;
        }
        city.seal().await;
        city
    }

    async fn begin(seed: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(seed));
        let layout = Layout::new(4, 64).expect("a layout");
        let records = EmbeddedScanRecords::open(&folder.path().join("scans"), Arc::clone(&entropy)).expect("records");
        let random = Arc::clone(&entropy);
        let fill: citycode_vault::FillRandom = Arc::new(move |bytes| random.fill(bytes));
        let master = zeroize::Zeroizing::new([1; 32]);
        let vault = EmbeddedVault::open(&folder.path().join("vault"), &master, fill).expect("a vault");
        let mut city = Self {
            vault: Arc::new(vault),
            store: MemoryEventStore::new(LogId([7; 16]), layout),
            clock: Arc::new(ManualClock::at(UnixSeconds(START))),
            folder,
            records: Some(Arc::new(records)),
            entropy,
            dice: SeededEntropy::new(seed ^ 0xD1CE),
            keys: Vec::new(),
            codes: Vec::new(),
            forged: Vec::new(),
            erased: Vec::new(),
            gates: Vec::new(),
            commands: 0,
            indexes: 0,
            scans: 0,
        };
        for policy in policies() {
            city.append("policies", Event::PolicyAdopted(policy.adopted())).await;
        }
        city.rotate().await;
        for number in 0..HOLDERS {
            let holder = holder(number);
            let registered = HolderRegistered { holder };
            city.append(holder_stream(holder).as_str(), Event::HolderRegistered(registered))
                .await;
        }
        for (number, policy) in policies().into_iter().enumerate() {
            let gate = city.open_gate(policy, format!("gate-{number}")).await;
            city.gates.push(gate);
        }
        city
    }

    /// The stream of queries, opened anew in the city's folder.
    pub(crate) fn queries(&self) -> Arc<Queries> {
        let path = self.folder.path().join("queries");
        let store = EmbeddedQueryStore::open_for_log(&path, &[1; 16], ForLog::Make).expect("a stream of queries");
        Arc::new(Queries::new(Arc::new(store), Arc::clone(&self.entropy)))
    }

    fn records(&self) -> &Arc<EmbeddedScanRecords> {
        self.records.as_ref().expect("open")
    }

    fn below(&self, limit: u64) -> u64 {
        let mut bytes = [0; 8];
        self.dice.fill(&mut bytes);
        u64::from_le_bytes(bytes) % limit
    }

    fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.clock.now().0)
    }

    pub(crate) async fn append(&mut self, stream: &str, event: Event) {
        self.commands += 1;
        let name = StreamName::new(stream).expect("a name");
        let commit = commit_of(name, &event, self.commands, self.now().0);
        let appended = self
            .store
            .append_to_stream(commit, StreamState::Any)
            .await
            .expect("appended");
        assert!(matches!(appended, AppendOutcome::Appended { .. }), "{appended:?}");
    }

    async fn open_gate(&self, policy: PolicyFile, device: String) -> Gate {
        let parts = VerifierParts {
            policy: policy.clone(),
            clock: Arc::clone(&self.clock) as _,
            vault: Arc::clone(&self.vault),
            id_check_key: id_check_key(),
            records: Arc::clone(self.records()) as _,
            fingerprint_key: [9; 16],
            witnessed_after_seconds: None,
            identity: identity_of(&self.store),
        };
        let (verifier, mut fold, from) = Verifier::open(parts, &self.store, None).await.expect("a verifier");
        let progress = Progress::new(&from);
        let (store, followed) = (self.store.clone(), progress.clone());
        let following = tokio::spawn(async move {
            follow(&store, &mut fold, &followed).await;
        });
        let gate = Gate {
            verifier,
            progress,
            following,
            policy,
            device,
            lags: false,
        };
        self.prove(&gate).await;
        gate
    }

    async fn prove(&self, gate: &Gate) {
        let freshness = Arc::clone(gate.verifier.freshness());
        freshness
            .probe(&self.store, &gate.progress, &*self.clock)
            .await
            .expect("a proof");
    }

    /// One step: the clock moves on, something happens, and codes are scanned.
    async fn step(&mut self) {
        self.clock.advance(std::time::Duration::from_secs(
            86_400 / STEPS_PER_DAY - 20 + self.below(40),
        ));
        match self.below(20) {
            0..=8 => self.issue().await,
            9 => {
                self.change(|code| {
                    Event::CodeReportedLost(CodeReportedLost {
                        code,
                        acting_guardian: None,
                    })
                })
                .await
            }
            10 => {
                self.change(|code| {
                    Event::CodeRevoked(CodeRevoked {
                        code,
                        reason: Sealed::default(),
                    })
                })
                .await
            }
            11 => {
                self.change(|code| {
                    Event::CodeSuspended(CodeSuspended {
                        code,
                        reason: Sealed::default(),
                    })
                })
                .await
            }
            12 => {
                self.change(|code| {
                    Event::CodeReinstated(CodeReinstated {
                        slot: code.slot,
                        code: Some(code),
                        reason: Sealed::default(),
                    })
                })
                .await;
            }
            13..=14 => self.change_standing().await,
            15 if self.chance(30) => self.erase().await,
            16 if self.chance(30) => self.rotate().await,
            17 if self.chance(20) => self.crash().await,
            18 if self.chance(10) => self.compromise().await,
            19 if self.chance(50) => self.seal().await,
            _ => {}
        }
        for number in 0..self.gates.len() {
            // A gate that is not proved is stale after the hour of this step.
            if !self.gates[number].lags && self.chance(90) {
                self.prove(&self.gates[number]).await;
            }
        }
        for _ in 0..4 {
            self.scan().await;
        }
    }

    fn holder(&self) -> Option<HolderId> {
        let holder = holder(self.below(HOLDERS));
        (!self.erased.contains(&holder)).then_some(holder)
    }

    async fn issue(&mut self) {
        let Some(holder) = self.holder() else { return };
        let kind = KINDS[usize::try_from(self.below(3)).expect("an index")];
        let mut code = self.sign(holder, kind, self.now());
        let slot = code.issued.code.slot;
        let earlier = self
            .codes
            .iter()
            .rev()
            .find(|earlier| earlier.holder == holder && earlier.issued.code.slot == slot);
        code.issued.supersedes = earlier.map(|earlier| earlier.issued.code);
        let event = Event::CodeIssued(code.issued.clone());
        self.append(holder_stream(holder).as_str(), event).await;
        self.codes.push(code);
    }

    fn sign(&mut self, holder: HolderId, kind: &str, issued_at: Timestamp) -> Code {
        let policy = &self.gates[0].policy.policy;
        let kind = policy.kind_named(kind).expect("a kind").clone();
        let needs = policy.needs_id_commitment(kind.kind);
        let base = policy.status_base_uri.clone();
        let expires_at = issued_at.plus_seconds(kind.validity_seconds);
        let partition = self.store.layout().bucket_of(&holder_stream(holder)).partition.0;
        self.indexes += 1;
        let status = StatusRef {
            list: ListId::new(u8::try_from(partition).expect("few"), kind.kind, expires_at, 0).expect("a list"),
            index: self.indexes,
        };
        let mut id = [kind.kind.number(); 8];
        id[4..].copy_from_slice(&self.indexes.to_be_bytes());
        let mut seed = [3; 32];
        seed[..4].copy_from_slice(&self.indexes.to_be_bytes());
        let phone = kind.device_bound.then(|| DeviceSigner::from_seed(seed));
        let claims = CodeClaimsToSign {
            code_id: CodeId(id),
            kind: kind.kind,
            issued_at,
            expires_at,
            status,
            id_commitment: needs.then(|| id_commitment(&id_check_key(), CodeId(id), WANG.as_bytes())),
            device_key: phone.as_ref().map(DeviceSigner::device_key),
        };
        let key = self.keys.last().expect("a key");
        let signed = sign_code(&claims, &base, key).expect("signed");
        let slot = Slot {
            kind: kind.kind,
            guardian: None,
        };
        let issued = CodeIssued {
            code: CodeRef {
                slot,
                code_id: CodeId(id),
                status,
            },
            issued_at,
            expires_at,
            supersedes: None,
            standing: Standing::Green,
            ground: EligibilityGround::Everyone,
            acting_guardian: None,
            key_id: key.key_id(),
            claims_digest: signed.digest,
            sealed_token: Sealed::default(),
        };
        Code {
            text: signed.text,
            issued,
            holder,
            phone,
        }
    }

    fn some_code(&self) -> Option<usize> {
        let count = self.codes.len() as u64;
        (count > 0).then(|| usize::try_from(self.below(count)).expect("an index"))
    }

    async fn change(&mut self, event: impl FnOnce(CodeRef) -> Event) {
        if let Some(number) = self.some_code() {
            let (code, holder) = (self.codes[number].issued.code, self.codes[number].holder);
            self.append(holder_stream(holder).as_str(), event(code)).await;
        }
    }

    fn codes_of(&self, holder: HolderId) -> Vec<CodeRef> {
        let codes = self.codes.iter().filter(|code| code.holder == holder);
        codes.map(|code| code.issued.code).collect()
    }

    async fn change_standing(&mut self) {
        let Some(holder) = self.holder() else { return };
        let standings = [Standing::Green, Standing::Yellow, Standing::Red];
        let standing = standings[usize::try_from(self.below(3)).expect("an index")];
        let changed = StandingChanged {
            standing,
            codes: self.codes_of(holder),
            reason: Sealed::default(),
        };
        self.append(holder_stream(holder).as_str(), Event::StandingChanged(changed))
            .await;
    }

    async fn erase(&mut self) {
        let Some(holder) = self.holder() else { return };
        self.erased.push(holder);
        let erased = HolderErased {
            codes: self.codes_of(holder),
            by_officer: true,
        };
        self.append(holder_stream(holder).as_str(), Event::HolderErased(erased))
            .await;
    }

    async fn rotate(&mut self) {
        let now = self.now();
        if let Some(old) = self.keys.last() {
            let retired = SigningKeyRetired {
                key_id: old.key_id(),
                signs_until: now,
                verifies_until: now.plus_seconds(400 * 86_400),
            };
            self.append("keys", Event::SigningKeyRetired(retired)).await;
        }
        let mut seed = [5; 32];
        seed[..8].copy_from_slice(&(self.keys.len() as u64).to_be_bytes());
        let key = SigningKey::from_seed(seed);
        let added = SigningKeyAdded {
            key_id: key.key_id(),
            public_key: key.public_key(),
            signs_from: now,
        };
        self.append("keys", Event::SigningKeyAdded(added)).await;
        self.keys.push(key);
    }

    async fn compromise(&mut self) {
        let key_id = self.keys.last().expect("a key").key_id();
        self.append("keys", Event::SigningKeyCompromised(SigningKeyCompromised { key_id }))
            .await;
    }

    /// A verifier stops and is replaced, or stops following the log for a while.
    async fn crash(&mut self) {
        let number = usize::try_from(self.below(2)).expect("an index");
        self.gates[number].following.abort();
        if self.chance(50) {
            self.gates[number].lags = true;
            return;
        }
        let (policy, device) = (self.gates[number].policy.clone(), self.gates[number].device.clone());
        self.gates[number] = self.open_gate(policy, device).await;
    }

    /// Ends the process that writes records, puts the digests of the batches into the log, and opens the records again.
    pub(crate) async fn seal(&mut self) {
        for gate in &self.gates {
            gate.following.abort();
        }
        let policies: Vec<_> = self.gates.drain(..).map(|gate| (gate.policy, gate.device)).collect();
        // The last reference writes the buffer.
        self.reopen_records().await;
        let batches = self.records().unrecorded().expect("read");
        if !batches.is_empty() {
            let sealed = Event::ScanBatchesSealed(ScanBatchesSealed {
                batches: batches.clone(),
            });
            self.append("scan-batches", sealed).await;
            self.records().mark_recorded(&batches).expect("marked");
        }
        for (policy, device) in policies {
            let gate = self.open_gate(policy, device).await;
            self.gates.push(gate);
        }
    }

    async fn reopen_records(&mut self) {
        let records = self.records.take().expect("open");
        records.flush().await;
        let mut last = Some(records);
        // The followers hold the verifiers until their tasks have ended.
        while let Some(records) = last.take() {
            match Arc::try_unwrap(records) {
                Ok(records) => drop(records),
                Err(shared) => {
                    tokio::task::yield_now().await;
                    last = Some(shared);
                }
            }
        }
        let path = self.folder.path().join("scans");
        let records = EmbeddedScanRecords::open(&path, Arc::clone(&self.entropy)).expect("records");
        self.records = Some(Arc::new(records));
    }

    /// One scan: a code of the city, one that a thief signed, something unreadable, or an ID card.
    async fn scan(&mut self) {
        let number = usize::try_from(self.below(2)).expect("an index");
        let place = PLACES[usize::try_from(self.below(3)).expect("an index")];
        self.scans += 1;
        let mut request = VerifyRequest {
            place: place.into(),
            device: self.gates[number].device.clone(),
            scan_id: format!("{}", self.scans),
            ..VerifyRequest::default()
        };
        request.scan = Some(match self.below(20) {
            0 => Shown::Code("not one of ours".into()),
            1 => Shown::IdCard(LI.into()),
            2 => Shown::Code(self.forged()),
            _ => match self.some_code() {
                Some(code) => Shown::Code(self.shown(code)),
                None => Shown::Code(String::new()),
            },
        });
        if place == "staffed" && matches!(request.scan, Some(Shown::Code(_))) && self.chance(60) {
            let number = if self.chance(80) { WANG } else { LI };
            request.id_number = number.into();
        }
        let caller = Caller::new(CallerId::new("test", "month").expect("an id"), vec![Role::Admin]);
        // A held card is refused after too many wrong ones; such a call has no verdict and no record.
        let parsed = ScanRequest::try_from(&request).expect("the fields are valid");
        let _ = self.gates[number].verifier.verify(&caller, &parsed).await;
    }

    /// A code that a thief of the signing key made. A verifier says that it is not in the log only if it was shown
    /// before the last proof of freshness, so the few forged codes are shown again and again; the first answer takes a
    /// second, for which the verifier waits for such a proof.
    fn forged(&mut self) -> String {
        if self.forged.len() < FORGED {
            let forged = self.sign(holder(0), "sampling", self.now().plus_seconds(-600));
            self.forged.push(forged.text);
        }
        let number = usize::try_from(self.below(FORGED as u64)).expect("an index");
        self.forged[number.min(self.forged.len() - 1)].clone()
    }

    /// What a phone or paper shows of a code.
    fn shown(&self, number: usize) -> String {
        let code = &self.codes[number];
        match &code.phone {
            Some(phone) if self.chance(80) => {
                let ages = [0, 30, 59, 61, 3_600];
                let age = ages[usize::try_from(self.below(5)).expect("an index")];
                present(&code.text, phone, self.now().plus_seconds(-age), None).expect("a presentation")
            }
            _ => code.text.clone(),
        }
    }

    /// The audit service of this city, which has read the whole log.
    pub(crate) async fn audit(&self) -> Audit {
        let path = self.folder.path().join(format!("audit-{}", self.below(u64::MAX)));
        std::fs::create_dir(&path).expect("a folder");
        self.audit_with_index(&path).await.0
    }

    /// The same with an index in a folder, and the task that follows the log.
    pub(crate) async fn audit_with_index(&self, path: &std::path::Path) -> (Audit, tokio::task::JoinHandle<()>) {
        let (mut index, from) = AuditIndex::open(path, &self.store).await.expect("an index");
        let (reader, progress) = (index.reader(), Progress::new(&from));
        let (store, followed) = (self.store.clone(), progress.clone());
        let following = tokio::spawn(async move {
            follow(&store, &mut index, &followed).await;
        });
        progress
            .wait_for_all(&self.store.heads().await.expect("heads"))
            .await
            .expect("followed");
        let audit = Audit {
            store: Arc::new(self.store.clone()),
            index: reader,
            progress,
            policy: Arc::clone(&policies()[0].policy),
            records: Some(Arc::new(self.records().archive()) as Arc<dyn RecordArchive>),
            queries: Some(self.queries()),
            trees: None,
            clock: Arc::clone(&self.clock) as _,
        };
        (audit, following)
    }

    /// The paper and phone codes of the sampling kind, as they were issued, with their texts.
    pub(crate) fn sampling_codes(&self) -> impl Iterator<Item = (&CodeIssued, &str)> {
        let policy = &self.gates[0].policy.policy;
        let kind = policy.kind_named("sampling").expect("a kind").kind;
        let codes = self.codes.iter().filter(move |code| code.issued.code.slot.kind == kind);
        codes.map(|code| (&code.issued, code.text.as_str()))
    }

    /// The status of codes of a verifier that has read the whole log.
    pub(crate) async fn fresh_reader(&self) -> StatusReader {
        let gate = self.open_gate(self.gates[0].policy.clone(), "fresh".into()).await;
        let heads = self.store.heads().await.expect("heads");
        gate.progress.wait_for_all(&heads).await.expect("followed");
        gate.following.abort();
        gate.verifier.status().clone()
    }

    /// The city's present time.
    pub(crate) fn time(&self) -> i64 {
        self.now().0
    }

    /// Closes the records, so that a test can change their file, and opens them again afterwards.
    pub(crate) async fn while_closed(&mut self, change: impl FnOnce(&std::path::Path)) {
        self.gates.drain(..).for_each(|gate| gate.following.abort());
        self.reopen_records().await;
        self.records = None;
        let path = self.folder.path().join("scans");
        change(&path);
        let records = EmbeddedScanRecords::open(&path, Arc::clone(&self.entropy)).expect("records");
        self.records = Some(Arc::new(records));
    }
}

/// The holder with this number.
fn holder(number: u64) -> HolderId {
    let mut id = [0xA0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    HolderId(id)
}

fn id_check_key() -> IdCheckKey {
    IdCheckKey::from_bytes([2; 32])
}
