//! Histories through the public API: the content of a history, the index on disk, and authorisation.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use citycode_audit::grpc::AuditGrpc;
use citycode_audit::{Audit, AuditIndex};
use citycode_auth::{Caller, CallerId, Role};
use citycode_domain::event::{
    CodeIssued, CodeRef, CodeReportedLost, CodeRevoked, EligibilityGround, Event, HolderRegistered, Sealed, Slot,
};
use citycode_domain::ids::{ClaimsDigest, CodeId, CodeKind, HolderId, KeyId, ListId, StatusRef};
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::{Progress, follow};
use citycode_event_store::memory::MemoryEventStore;
use citycode_event_store::{EventStore, Layout, LogId, NewCommit, StreamState};
use citycode_log_folds::holder_stream;
use citycode_service_kit::problem::{Code, Problem};
use citycode_testkit::commit_of;
use citycode_wire::proto::audit::v1::audit_service_server::AuditService as _;
use citycode_wire::proto::audit::v1::{HistoryEntry, HistoryRequest, history_request::Subject};

const START: i64 = 1_661_904_000;
const WANG: HolderId = HolderId([1; 16]);
const LI: HolderId = HolderId([2; 16]);
const APP: &str = "channel:app;app_login;abcd";

fn log(id: u8) -> Arc<MemoryEventStore> {
    Arc::new(MemoryEventStore::new(
        LogId([id; 16]),
        Layout::new(2, 64).expect("a layout"),
    ))
}

async fn append(store: &MemoryEventStore, holder: HolderId, actor: &str, event: Event) {
    static COMMANDS: AtomicU64 = AtomicU64::new(1);
    let commit = NewCommit {
        actor: actor.into(),
        ..commit_of(
            holder_stream(holder),
            &event,
            COMMANDS.fetch_add(1, Ordering::Relaxed),
            START,
        )
    };
    store
        .append_to_stream(commit, StreamState::Any)
        .await
        .expect("appended");
}

fn code(kind: u8, number: u8) -> CodeRef {
    let kind = CodeKind::new(kind).expect("a kind");
    CodeRef {
        slot: Slot { kind, guardian: None },
        code_id: CodeId([number; 8]),
        status: StatusRef {
            list: ListId::new(0, kind, Timestamp(START), 0).expect("a list"),
            index: u32::from(number),
        },
    }
}

fn issued(code: CodeRef, supersedes: Option<CodeRef>) -> Event {
    Event::CodeIssued(CodeIssued {
        code,
        issued_at: Timestamp(START),
        expires_at: Timestamp(START + 86_400),
        supersedes,
        standing: Standing::Green,
        ground: EligibilityGround::Everyone,
        acting_guardian: None,
        key_id: KeyId([1; 4]),
        claims_digest: ClaimsDigest([9; 32]),
        sealed_token: Sealed(vec![7; 64]),
    })
}

/// WANG has a code that was reissued and then lost, and a code of another kind; LI has one code, which was revoked.
async fn append_histories(store: &MemoryEventStore) {
    for holder in [WANG, LI] {
        append(
            store,
            holder,
            "admin;unspecified;abcd",
            Event::HolderRegistered(HolderRegistered { holder }),
        )
        .await;
    }
    append(store, WANG, APP, issued(code(2, 1), None)).await;
    append(store, LI, APP, issued(code(2, 9), None)).await;
    append(store, WANG, "channel:kiosk;id_card;abcd", issued(code(3, 2), None)).await;
    append(store, WANG, APP, issued(code(2, 3), Some(code(2, 1)))).await;
    let reason = Sealed(vec![1; 40]);
    append(
        store,
        LI,
        "officer;unspecified;abcd",
        Event::CodeRevoked(CodeRevoked {
            code: code(2, 9),
            reason,
        }),
    )
    .await;
    let lost = CodeReportedLost {
        code: code(2, 3),
        acting_guardian: None,
    };
    append(store, WANG, APP, Event::CodeReportedLost(lost)).await;
}

struct Running {
    audit: Arc<Audit>,
    following: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn open(folder: &Path, store: &Arc<MemoryEventStore>) -> Self {
        let (mut index, from) = AuditIndex::open(folder, &**store).await.expect("an index");
        let progress = Progress::new(&from);
        let audit = Audit {
            store: Arc::clone(store) as _,
            index: index.reader(),
            progress: progress.clone(),
            policy: Arc::new(citycode_policy_file::parse(citycode_policy_file::SHANGHAI).expect("the policy")),
            records: None,
            queries: None,
            trees: None,
            clock: Arc::new(citycode_service_kit::clock::ManualClock::at(
                citycode_service_kit::clock::UnixSeconds(0),
            )),
        };
        let store = Arc::clone(store);
        let following = tokio::spawn(async move {
            follow(&*store, &mut index, &progress).await;
        });
        Self {
            audit: Arc::new(audit),
            following,
        }
    }

    async fn stop(self) {
        self.following.abort();
        let ended = self.following.await;
        assert!(ended.is_err_and(|error| error.is_cancelled()));
    }

    /// The number of events of a code's history.
    async fn length(&self, code_id: &str) -> usize {
        let history = self.history(Role::Auditor, code_id).await;
        history.expect("a history").len()
    }

    async fn history(&self, role: Role, code_id: &str) -> Result<Vec<HistoryEntry>, Code> {
        let caller = Caller::new(CallerId::new("test", "somebody").expect("an id"), vec![role]);
        let subject = Some(Subject::CodeId(code_id.into()));
        let mut request = tonic::Request::new(HistoryRequest {
            subject,
            ..HistoryRequest::default()
        });
        request.extensions_mut().insert(Arc::new(caller));
        let answer = AuditGrpc(Arc::clone(&self.audit)).history(request).await;
        let answer = answer.map(|answer| answer.into_inner().entries);
        answer.map_err(|status| Problem::from(status).code())
    }
}

fn summary(entries: &[HistoryEntry]) -> Vec<(&str, Option<&str>, &str)> {
    entries
        .iter()
        .map(|entry| {
            (
                entry.event_type.as_str(),
                entry.code_id.as_deref(),
                entry.actor_role.as_str(),
            )
        })
        .collect()
}

#[tokio::test]
async fn a_history_contains_all_events_of_a_slot_and_no_others() {
    let (store, folder) = (log(1), tempfile::tempdir().expect("a folder"));
    append_histories(&store).await;
    let running = Running::open(folder.path(), &store).await;
    let (first, second) = ("0101010101010101", "0303030303030303");
    for code_id in [first, second] {
        let entries = running.history(Role::Auditor, code_id).await.expect("a history");
        assert_eq!(
            summary(&entries),
            [
                ("CodeIssued", Some(first), "channel:app"),
                ("CodeIssued", Some(second), "channel:app"),
                ("CodeReportedLost", Some(second), "channel:app"),
            ],
            "both codes have the same history"
        );
        assert_eq!(entries[1].details["supersedes"], first);
        let order: Vec<_> = entries
            .iter()
            .map(|entry| entry.position.expect("a position").sequence)
            .collect();
        assert!(order.is_sorted());
    }
    let entries = running
        .history(Role::Officer, "0909090909090909")
        .await
        .expect("a history");
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1].details["reason"], "sealed");
}

#[tokio::test]
async fn a_history_includes_everything_acknowledged_before_the_request() {
    let (store, folder) = (log(1), tempfile::tempdir().expect("a folder"));
    let running = Running::open(folder.path(), &store).await;
    append(
        &store,
        WANG,
        APP,
        Event::HolderRegistered(HolderRegistered { holder: WANG }),
    )
    .await;
    for number in 1..=100 {
        append(&store, WANG, APP, issued(code(2, number), None)).await;
        let id = CodeId([number; 8]).to_string();
        let entries = running.history(Role::Auditor, &id).await.expect("a history");
        assert_eq!(entries.len(), usize::from(number));
    }
}

#[tokio::test]
async fn only_auditors_officers_and_admins_may_read_histories_and_the_code_id_is_checked() {
    let (store, folder) = (log(1), tempfile::tempdir().expect("a folder"));
    append_histories(&store).await;
    let running = Running::open(folder.path(), &store).await;
    let verifier = Role::Verifier {
        places: vec!["sentinel".into()],
        device: "gate-1".into(),
    };
    for role in [Role::Channel("app".into()), Role::HealthAuthority, verifier] {
        assert_eq!(running.history(role, "0101010101010101").await, Err(Code::NotAllowed));
    }
    for text in ["", "xyz", "01", "0101010101010101ff", "０１"] {
        assert_eq!(
            running.history(Role::Auditor, text).await,
            Err(Code::InvalidRequest),
            "{text:?}"
        );
    }
    assert_eq!(
        running.history(Role::Admin, "ffffffffffffffff").await,
        Err(Code::NotFound)
    );
}

#[tokio::test]
async fn a_restart_continues_and_a_damaged_index_or_one_of_another_log_is_rebuilt() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = log(1);
    append_histories(&store).await;
    Running::open(folder.path(), &store).await.stop().await;
    append(&store, WANG, APP, issued(code(2, 4), None)).await;
    let running = Running::open(folder.path(), &store).await;
    assert_eq!(running.length("0404040404040404").await, 4);
    running.stop().await;

    let file = folder.path().join("audit.redb");
    for damage in [b"".as_slice(), b"not an index at all", &[0; 70_000]] {
        std::fs::write(&file, damage).expect("written");
        let running = Running::open(folder.path(), &store).await;
        assert_eq!(running.length("0404040404040404").await, 4);
        running.stop().await;
    }

    let other = log(2);
    let running = Running::open(folder.path(), &other).await;
    assert_eq!(
        running.history(Role::Auditor, "0404040404040404").await,
        Err(Code::NotFound),
        "another log"
    );
    running.stop().await;

    append_histories(&other).await;
    let running = Running::open(folder.path(), &other).await;
    running
        .history(Role::Auditor, "0101010101010101")
        .await
        .expect("a history");
    running.stop().await;
    let restored = log(2);
    let running = Running::open(folder.path(), &restored).await;
    let lost = running.history(Role::Auditor, "0101010101010101").await;
    assert_eq!(
        lost,
        Err(Code::NotFound),
        "the log with this id was rolled back, so the index is rebuilt"
    );
}

#[tokio::test]
async fn an_index_in_use_is_refused_and_left_unchanged() {
    let (store, folder) = (log(1), tempfile::tempdir().expect("a folder"));
    append_histories(&store).await;
    let running = Running::open(folder.path(), &store).await;
    let refused = AuditIndex::open(folder.path(), &*store)
        .await
        .err()
        .expect("it is in use");
    assert!(refused.to_string().contains("audit index"), "{refused}");
    assert_eq!(
        running
            .history(Role::Auditor, "0101010101010101")
            .await
            .expect("a history")
            .len(),
        3
    );
}

#[tokio::test]
async fn an_index_that_is_behind_is_unavailable_instead_of_incomplete() {
    let (store, folder) = (log(1), tempfile::tempdir().expect("a folder"));
    append_histories(&store).await;
    let running = Running::open(folder.path(), &store).await;
    running
        .history(Role::Auditor, "0101010101010101")
        .await
        .expect("a history");
    running.following.abort();
    append(&store, WANG, APP, issued(code(2, 5), None)).await;
    // From here only timers advance: the last commit is never folded.
    tokio::time::pause();
    assert_eq!(
        running.history(Role::Auditor, "0101010101010101").await,
        Err(Code::Unavailable)
    );
}
