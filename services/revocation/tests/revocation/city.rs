//! A city with one revocation service; the fixture appends residents and codes to the log like an issuer.
#![expect(clippy::unwrap_used, reason = "a test fixture may panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use citycode_auth::{Caller, CallerId, Role};
use citycode_command_auth::{Authorizer, CommandLimits};
use citycode_domain::event::{CodeIssued, CodeRef, Event, HolderRegistered, RelationshipRecorded, Sealed, Slot};
use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::{CodeId, CommandId, HolderId};
use citycode_domain::lifecycle::HolderState;
use citycode_domain::name::PersonName;
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::{Progress, follow};
use citycode_event_store::memory::MemoryEventStore;
use citycode_event_store::{EventStore, Layout, LogId, LogPosition, Revision};
use citycode_holder_log::{Begun, CommandContext, HolderLog};
use citycode_log_folds::{RegisterFold, events_of, holder_stream, projected};
use citycode_projection::register::HolderRegister;
use citycode_projection::status::{FingerprintKey, StatusReader, StatusWriter};
use citycode_revocation::grpc::RevocationGrpc;
use citycode_revocation::{Followed, Revocation, StatusLists};
use citycode_service_kit::clock::{Clock as _, ManualClock, UnixSeconds};
use citycode_service_kit::entropy::{Draw as _, Entropy, SeededEntropy};
use citycode_service_kit::problem::Problem;
use citycode_testkit::{code_at, code_issued};
use citycode_token::SigningKey;
use citycode_vault::Person;
use citycode_vault::embedded::EmbeddedVault;
use citycode_wire::proto::revocation::v1 as proto;
use citycode_wire::proto::revocation::v1::revocation_service_server::RevocationService;

/// The time at which every test starts.
pub(crate) const START: i64 = 1_661_904_000;
/// The two examples printed in GB 11643-1999.
pub(crate) const WANG: &str = "11010519491231002X";
pub(crate) const LI: &str = "440524188001010014";
pub(crate) const BASE_URI: &str = "https://s.example/";

const PARTITIONS: u16 = 2;

/// The service behind its gRPC API, called with a caller that was authenticated already.
pub(crate) struct Edge(RevocationGrpc);

impl std::ops::Deref for Edge {
    type Target = Revocation;

    fn deref(&self) -> &Revocation {
        &self.0.0
    }
}

macro_rules! edge {
    ($($method:ident: $request:ident => $response:ident,)+) => {
        impl Edge {
            $(
                pub(crate) async fn $method(
                    &self,
                    caller: &Arc<Caller>,
                    message: &proto::$request,
                ) -> Result<proto::$response, Problem> {
                    let mut request = tonic::Request::new(message.clone());
                    request.extensions_mut().insert(Arc::clone(caller));
                    let answer = RevocationService::$method(&self.0, request).await;
                    Ok(answer?.into_inner())
                }
            )+
        }
    };
}

edge! {
    report_loss: ReportLossRequest => ReportLossResponse,
    revoke: RevokeRequest => RevokeResponse,
    revoke_code: RevokeCodeRequest => RevokeCodeResponse,
    suspend: SuspendRequest => SuspendResponse,
    reinstate: ReinstateRequest => ReinstateResponse,
    set_standing: SetStandingRequest => SetStandingResponse,
}

pub(crate) struct City {
    pub(crate) revocation: Edge,
    pub(crate) store: Arc<MemoryEventStore>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) status: StatusReader,
    pub(crate) following: tokio::task::JoinHandle<()>,
    drawn: AtomicU32,
    _folder: tempfile::TempDir,
}

impl City {
    pub(crate) async fn new() -> Self {
        let layout = Layout::new(PARTITIONS, 64).unwrap();
        let store = Arc::new(MemoryEventStore::new(LogId([7; 16]), layout));
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(UnixSeconds(START)));
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(5));
        let random = Arc::clone(&entropy);
        let fill: citycode_vault::FillRandom = Arc::new(move |bytes| random.fill(bytes));
        let master = zeroize::Zeroizing::new([1; 32]);
        let vault = EmbeddedVault::open(&folder.path().join("vault"), &master, fill).unwrap();
        let register = Arc::new(HolderRegister::new(PARTITIONS));
        let progress = Progress::new(&LogPosition::start(PARTITIONS));
        let (status, following) = Self::follow(&store, &register, &progress);
        let dyn_store = Arc::clone(&store) as Arc<dyn EventStore>;
        let authorizer = Authorizer {
            policy: Arc::new(citycode_policy_file::parse(citycode_policy_file::SHANGHAI).unwrap()),
            vault: Arc::new(vault),
            log: Arc::new(HolderLog::new(dyn_store, register, progress.clone(), Vec::new())),
            clock: Arc::clone(&clock) as _,
            limits: CommandLimits::new(&*entropy),
            entropy,
            assertions: None,
        };
        let followed = Followed {
            status: status.clone(),
            progress: progress.clone(),
            store: Arc::clone(&store) as _,
        };
        let key = SigningKey::from_seed([4; 32]);
        let lists = StatusLists::new(followed, key, BASE_URI.into(), Arc::clone(&clock) as _);
        Self {
            revocation: Edge(RevocationGrpc(Arc::new(Revocation {
                authorizer: Arc::new(authorizer),
                lists: Arc::new(lists),
            }))),
            store,
            clock,
            status,
            following,
            drawn: AtomicU32::new(0),
            _folder: folder,
        }
    }

    /// The register and the status projection, folded by one follower.
    fn follow(
        store: &Arc<MemoryEventStore>,
        register: &Arc<HolderRegister>,
        progress: &Progress,
    ) -> (StatusReader, tokio::task::JoinHandle<()>) {
        let (writer, status) = citycode_projection::status::new(PARTITIONS, FingerprintKey([9; 16]));
        let mut fold = BothFolds(RegisterFold::new(Arc::clone(register), Vec::new()), writer);
        let (followed, following) = (Arc::clone(store), progress.clone());
        let task = tokio::spawn(async move {
            follow(&*followed, &mut fold, &following).await;
        });
        (status, task)
    }

    /// Registers a resident in the log and the vault.
    pub(crate) async fn resident(&self, id_number: &str) -> HolderId {
        let number = IdNumber::parse(
            id_number,
            citycode_policy_file::local_date(&self.revocation.authorizer.policy, Timestamp(START)),
        )
        .unwrap();
        let person = Person {
            name: PersonName::parse("王小明").unwrap(),
            disability: false,
            group: None,
        };
        let candidate = HolderId(self.revocation.authorizer.entropy.array());
        let vault = &self.revocation.authorizer.vault;
        let holder = vault.find_or_create(&number, candidate, person).await.unwrap().holder;
        self.append(holder, Event::HolderRegistered(HolderRegistered { holder }))
            .await;
        holder
    }

    pub(crate) async fn relate(&self, guardian: HolderId, dependent: HolderId) {
        let event = Event::RelationshipRecorded(RelationshipRecorded { guardian });
        self.append(dependent, event).await;
    }

    /// Issues a code of a kind to the holder.
    pub(crate) async fn issue(&self, holder: HolderId, kind: &str, guardian: Option<HolderId>) -> CodeIssued {
        let number = self.drawn.fetch_add(1, Ordering::Relaxed);
        let kind = self.revocation.authorizer.policy.kind_named(kind).unwrap();
        let issued_at = Timestamp(self.clock.now().0);
        let expires_at = issued_at.plus_seconds(kind.validity_seconds);
        let partition = u8::try_from(self.revocation.authorizer.log.partition_of(holder).0).unwrap();
        let mut id = [kind.kind.number(); 8];
        id[4..].copy_from_slice(&number.to_be_bytes());
        let code = CodeRef {
            slot: Slot {
                kind: kind.kind,
                guardian,
            },
            code_id: CodeId(id),
            ..code_at(partition, kind.kind, expires_at, number)
        };
        let issued = CodeIssued {
            acting_guardian: guardian,
            sealed_token: Sealed(vec![0; 64]),
            ..code_issued(code, issued_at, expires_at)
        };
        self.append(holder, Event::CodeIssued(issued.clone())).await;
        issued
    }

    async fn append(&self, holder: HolderId, event: Event) {
        let context = CommandContext {
            caller: "test".into(),
            command_id: CommandId(self.revocation.authorizer.entropy.array()),
            request_digest: [0; 32],
            actor: "test;test;test".into(),
            trace_context: None,
            now: Timestamp(self.clock.now().0),
            begun: Begun::default(),
        };
        let decide = |_: &HolderState, _| Ok::<_, ()>(vec![event.clone()]);
        self.revocation
            .authorizer
            .log
            .execute(holder, &context, &decide)
            .await
            .unwrap();
    }

    /// The holder's events, oldest first.
    pub(crate) async fn events(&self, holder: HolderId) -> Vec<Event> {
        let commits = self
            .store
            .read_stream(&holder_stream(holder), Revision::EMPTY)
            .await
            .unwrap();
        commits.iter().flat_map(|commit| events_of(commit).unwrap()).collect()
    }

    /// All bytes of the holder's stream, including its metadata.
    pub(crate) async fn log_bytes(&self, holder: HolderId) -> Vec<u8> {
        let commits = self
            .store
            .read_stream(&holder_stream(holder), Revision::EMPTY)
            .await
            .unwrap();
        let mut bytes = Vec::new();
        for commit in &commits {
            bytes.extend_from_slice(format!("{commit:?}").as_bytes());
            for event in &commit.commit.events {
                bytes.extend_from_slice(&event.payload);
            }
        }
        bytes
    }
}

struct BothFolds(RegisterFold, StatusWriter);

impl citycode_event_store::follow::Fold for BothFolds {
    fn fold(&mut self, commit: &citycode_event_store::RecordedCommit) -> Result<(), String> {
        let events = events_of(commit).map_err(|error| error.to_string())?;
        self.1
            .apply(&projected(commit, &events))
            .map_err(|error| error.to_string())?;
        self.0.fold(commit)
    }
}

pub(crate) fn caller(roles: Vec<Role>) -> Arc<Caller> {
    let name = format!("{roles:?}").replace([' ', '"'], "");
    Arc::new(Caller::new(CallerId::new("test", &name).unwrap(), roles))
}
