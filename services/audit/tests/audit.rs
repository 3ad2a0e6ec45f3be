//! Histories from outside: a log as issuer and revocation write it, the index on disk beside it, and who may ask.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
use citycode_service_kit::problem::Code;
use citycode_testkit::commit_of;
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

async fn tell(store: &MemoryEventStore, holder: HolderId, actor: &str, event: Event) {
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

/// WANG: a code reissued once and then lost, another kind beside it; LI: one code, revoked.
async fn lives(store: &MemoryEventStore) {
    for holder in [WANG, LI] {
        tell(
            store,
            holder,
            "admin;unspecified;abcd",
            Event::HolderRegistered(HolderRegistered { holder }),
        )
        .await;
    }
    tell(store, WANG, APP, issued(code(2, 1), None)).await;
    tell(store, LI, APP, issued(code(2, 9), None)).await;
    tell(store, WANG, "channel:kiosk;id_card;abcd", issued(code(3, 2), None)).await;
    tell(store, WANG, APP, issued(code(2, 3), Some(code(2, 1)))).await;
    let reason = Sealed(vec![1; 40]);
    tell(
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
    tell(store, WANG, APP, Event::CodeReportedLost(lost)).await;
}

struct Auditing {
    audit: Audit,
    following: tokio::task::JoinHandle<()>,
}

impl Auditing {
    async fn open(folder: &Path, store: &Arc<MemoryEventStore>) -> Self {
        let (mut index, from) = AuditIndex::open(folder, &**store).await.expect("an index");
        let progress = Progress::new(&from);
        let audit = Audit {
            store: Arc::clone(store) as _,
            index: index.reader(),
            progress: progress.clone(),
            policy: Arc::new(citycode_policy_file::parse(citycode_policy_file::SHANGHAI).expect("the policy")),
        };
        let store = Arc::clone(store);
        let following = tokio::spawn(async move {
            follow(&*store, &mut index, &progress).await;
        });
        Self { audit, following }
    }

    async fn stop(self) {
        self.following.abort();
        let ended = self.following.await;
        assert!(ended.is_err_and(|error| error.is_cancelled()));
    }

    /// How many events a code's history has.
    async fn length(&self, code_id: &str) -> usize {
        let history = self.history(Role::Auditor, code_id).await;
        history.expect("a history").len()
    }

    async fn history(&self, role: Role, code_id: &str) -> Result<Vec<HistoryEntry>, Code> {
        let caller = Caller::new(CallerId::new("test", "somebody").expect("an id"), vec![role]);
        let subject = Some(Subject::CodeId(code_id.into()));
        let answer = self.audit.history(&caller, &HistoryRequest { subject }).await;
        answer.map(|answer| answer.entries).map_err(|problem| problem.code())
    }
}

fn told(entries: &[HistoryEntry]) -> Vec<(&str, Option<&str>, &str)> {
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
async fn a_history_tells_the_whole_life_of_a_slot_and_of_nothing_else() {
    let (store, folder) = (log(1), tempfile::tempdir().expect("a folder"));
    lives(&store).await;
    let auditing = Auditing::open(folder.path(), &store).await;
    let (first, second) = ("0101010101010101", "0303030303030303");
    for asked in [first, second] {
        let entries = auditing.history(Role::Auditor, asked).await.expect("a history");
        assert_eq!(
            told(&entries),
            [
                ("CodeIssued", Some(first), "channel:app"),
                ("CodeIssued", Some(second), "channel:app"),
                ("CodeReportedLost", Some(second), "channel:app"),
            ],
            "asked by either code"
        );
        assert_eq!(entries[1].details["supersedes"], first);
        let order: Vec<_> = entries
            .iter()
            .map(|entry| entry.position.expect("a position").sequence)
            .collect();
        assert!(order.is_sorted());
    }
    let entries = auditing
        .history(Role::Officer, "0909090909090909")
        .await
        .expect("a history");
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1].details["reason"], "sealed");
}

#[tokio::test]
async fn a_history_holds_what_was_acknowledged_before_it_was_asked() {
    let (store, folder) = (log(1), tempfile::tempdir().expect("a folder"));
    let auditing = Auditing::open(folder.path(), &store).await;
    tell(
        &store,
        WANG,
        APP,
        Event::HolderRegistered(HolderRegistered { holder: WANG }),
    )
    .await;
    for number in 1..=100 {
        tell(&store, WANG, APP, issued(code(2, number), None)).await;
        let id = CodeId([number; 8]).to_string();
        let entries = auditing.history(Role::Auditor, &id).await.expect("it is there at once");
        assert_eq!(entries.len(), usize::from(number));
    }
}

#[tokio::test]
async fn only_auditors_officers_and_admins_ask_and_what_they_ask_must_be_a_code() {
    let (store, folder) = (log(1), tempfile::tempdir().expect("a folder"));
    lives(&store).await;
    let auditing = Auditing::open(folder.path(), &store).await;
    let verifier = Role::Verifier {
        places: vec!["sentinel".into()],
        device: "gate-1".into(),
    };
    for role in [Role::Channel("app".into()), Role::HealthAuthority, verifier] {
        assert_eq!(auditing.history(role, "0101010101010101").await, Err(Code::NotAllowed));
    }
    for text in ["", "xyz", "01", "0101010101010101ff", "０１"] {
        assert_eq!(
            auditing.history(Role::Auditor, text).await,
            Err(Code::InvalidRequest),
            "{text:?}"
        );
    }
    assert_eq!(
        auditing.history(Role::Admin, "ffffffffffffffff").await,
        Err(Code::NotFound)
    );
}

#[tokio::test]
async fn a_restart_goes_on_and_a_damaged_or_foreign_index_is_rebuilt() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = log(1);
    lives(&store).await;
    Auditing::open(folder.path(), &store).await.stop().await;
    tell(&store, WANG, APP, issued(code(2, 4), None)).await;
    let auditing = Auditing::open(folder.path(), &store).await;
    assert_eq!(auditing.length("0404040404040404").await, 4);
    auditing.stop().await;

    let file = folder.path().join("audit.redb");
    for damage in [b"".as_slice(), b"not an index at all", &[0; 70_000]] {
        std::fs::write(&file, damage).expect("written");
        let auditing = Auditing::open(folder.path(), &store).await;
        assert_eq!(auditing.length("0404040404040404").await, 4);
        auditing.stop().await;
    }

    let other = log(2);
    let auditing = Auditing::open(folder.path(), &other).await;
    assert_eq!(
        auditing.history(Role::Auditor, "0404040404040404").await,
        Err(Code::NotFound),
        "another log"
    );
    auditing.stop().await;

    lives(&other).await;
    let auditing = Auditing::open(folder.path(), &other).await;
    auditing
        .history(Role::Auditor, "0101010101010101")
        .await
        .expect("a history");
    auditing.stop().await;
    let restored = log(2);
    let auditing = Auditing::open(folder.path(), &restored).await;
    let lost = auditing.history(Role::Auditor, "0101010101010101").await;
    assert_eq!(
        lost,
        Err(Code::NotFound),
        "a log of this id that went back: the index does not outlive it"
    );
}

#[tokio::test]
async fn an_index_in_use_is_refused_and_left_as_it_is() {
    let (store, folder) = (log(1), tempfile::tempdir().expect("a folder"));
    lives(&store).await;
    let auditing = Auditing::open(folder.path(), &store).await;
    let refused = AuditIndex::open(folder.path(), &*store)
        .await
        .err()
        .expect("it is in use");
    assert!(refused.to_string().contains("audit index"), "{refused}");
    assert_eq!(
        auditing
            .history(Role::Auditor, "0101010101010101")
            .await
            .expect("unharmed")
            .len(),
        3
    );
}

#[tokio::test]
async fn an_index_that_is_behind_says_so_instead_of_telling_half_a_life() {
    let (store, folder) = (log(1), tempfile::tempdir().expect("a folder"));
    lives(&store).await;
    let auditing = Auditing::open(folder.path(), &store).await;
    auditing
        .history(Role::Auditor, "0101010101010101")
        .await
        .expect("a history");
    auditing.following.abort();
    tell(&store, WANG, APP, issued(code(2, 5), None)).await;
    // Only timers move now: nobody folds what was told last.
    tokio::time::pause();
    assert_eq!(
        auditing.history(Role::Auditor, "0101010101010101").await,
        Err(Code::Unavailable)
    );
}
