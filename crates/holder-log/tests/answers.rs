//! Tests that a completed change is never reported as "not done", even if the log cannot be read at that
//! moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use citycode_domain::event::{Event, HolderRegistered};
use citycode_domain::ids::{CommandId, HolderId};
use citycode_domain::lifecycle::HolderState;
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::{Progress, follow};
use citycode_event_store::memory::{AppendFault, MemoryEventStore};
use citycode_event_store::{
    AppendError, AppendOutcome, BucketId, BucketTail, EventStore, Layout, LogId, LogPosition, NewCommit, Position,
    RaiseError, ReadError, ReaderVersion, RecordedCommit, Revision, StreamName, Subscription, SubscriptionError,
};
use citycode_holder_log::{Begun, CommandContext, ExecuteError, Executed, HolderLog};
use citycode_log_folds::RegisterFold;
use citycode_projection::register::HolderRegister;

const HOLDER: HolderId = HolderId([3; 16]);

/// A store that accepts appends and, when `fails` is set, cannot be read.
struct UnreadableStore {
    inner: MemoryEventStore,
    blind: AtomicBool,
}

impl UnreadableStore {
    fn look(&self) -> Result<(), ReadError> {
        if self.blind.load(Ordering::SeqCst) {
            return Err(ReadError::Unavailable("it fails on purpose".into()));
        }
        Ok(())
    }
}

#[async_trait]
impl EventStore for UnreadableStore {
    fn log_id(&self) -> LogId {
        self.inner.log_id()
    }

    fn layout(&self) -> Layout {
        self.inner.layout()
    }

    fn minimum_reader(&self) -> ReaderVersion {
        self.inner.minimum_reader()
    }

    async fn raise_minimum_reader(&self, to: ReaderVersion) -> Result<ReaderVersion, RaiseError> {
        self.inner.raise_minimum_reader(to).await
    }

    async fn append_at(&self, commit: NewCommit, expected: BucketTail) -> Result<AppendOutcome, AppendError> {
        self.inner.append_at(commit, expected).await
    }

    async fn read_at(&self, position: Position) -> Result<Option<RecordedCommit>, ReadError> {
        self.look()?;
        self.inner.read_at(position).await
    }

    async fn read_bucket(&self, bucket: BucketId, after: Revision) -> Result<Vec<RecordedCommit>, ReadError> {
        self.look()?;
        self.inner.read_bucket(bucket, after).await
    }

    async fn bucket_tail(&self, bucket: BucketId) -> Result<BucketTail, ReadError> {
        self.inner.bucket_tail(bucket).await
    }

    async fn heads(&self) -> Result<LogPosition, ReadError> {
        self.inner.heads().await
    }

    async fn subscribe_to_all(&self, from: LogPosition) -> Result<Subscription, SubscriptionError> {
        self.inner.subscribe_to_all(from).await
    }
}

fn log() -> (Arc<UnreadableStore>, HolderLog) {
    let inner = MemoryEventStore::new(LogId([1; 16]), Layout::new(1, 64).expect("a layout"));
    let store = Arc::new(UnreadableStore {
        inner,
        blind: AtomicBool::new(false),
    });
    let register = Arc::new(HolderRegister::new(1));
    let progress = Progress::new(&LogPosition::start(1));
    let (followed, told) = (Arc::clone(&store), progress.clone());
    let mut fold = RegisterFold::new(Arc::clone(&register), Vec::new());
    tokio::spawn(async move { follow(&*followed, &mut fold, &told).await });
    let log = HolderLog::new(store.clone(), register, progress, Vec::new());
    (store, log)
}

fn context() -> CommandContext {
    CommandContext {
        caller: "caller".into(),
        command_id: CommandId([7; 16]),
        request_digest: [0; 32],
        actor: "test".into(),
        trace_context: None,
        now: Timestamp(1_700_000_000),
        begun: Begun::default(),
    }
}

async fn register(log: &HolderLog) -> Result<Executed, ExecuteError<()>> {
    register_marking(log, Begun::default()).await
}

/// Like [`register`], with this flag.
async fn register_marking(log: &HolderLog, begun: Begun) -> Result<Executed, ExecuteError<()>> {
    let context = CommandContext { begun, ..context() };
    let decision = |_: &HolderState, _| Ok::<_, ()>(vec![Event::HolderRegistered(HolderRegistered { holder: HOLDER })]);
    log.execute(HOLDER, &context, &decision).await
}

#[tokio::test]
async fn a_repeat_of_a_completed_command_is_unknown_if_the_log_cannot_be_searched() {
    let (store, log) = log();
    assert!(register(&log).await.unwrap().is_new());
    store.blind.store(true, Ordering::SeqCst);
    let repeated = register(&log).await;
    assert!(matches!(repeated, Err(ExecuteError::Unknown)), "{repeated:?}");
    store.blind.store(false, Ordering::SeqCst);
    assert!(register(&log).await.unwrap().duplicate);
}

/// An error after that, for example of the vault, must not report the change as not done.
#[tokio::test]
async fn a_repeat_that_finds_its_commit_marks_the_change_as_begun() {
    let (_store, log) = log();
    assert!(register(&log).await.unwrap().is_new());
    let flag = Arc::new(AtomicBool::new(false));
    let repeated = register_marking(&log, Begun::of(Arc::clone(&flag))).await;
    assert!(repeated.unwrap().duplicate);
    assert!(flag.load(Ordering::SeqCst));
}

/// A later foreign message does not change the result of a completed command.
#[tokio::test]
async fn a_system_command_without_effect_succeeds_in_a_confined_bucket() {
    let (store, log) = log();
    let stream = StreamName::new("keys").unwrap();
    let bucket = store.layout().bucket_of(&stream);
    let position = store.inner.put_foreign(bucket, b"no commit");
    log.catch_up_with(&stream).await.unwrap();
    let nothing = || Ok::<_, ()>(Vec::new());
    let done = log.execute_system(stream, &context(), nothing).await;
    assert!(!done.unwrap().is_new());
    let something = || Ok::<_, ()>(vec![Event::HolderRegistered(HolderRegistered { holder: HOLDER })]);
    let refused = log.execute_system(stream, &context(), something).await;
    assert!(
        matches!(refused, Err(ExecuteError::Confined(at)) if at == position),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_commit_whose_first_result_was_lost_is_unknown_if_it_cannot_be_read() {
    let (store, log) = log();
    store.inner.fail_next_append(AppendFault::CommittedButUnknown);
    store.blind.store(true, Ordering::SeqCst);
    let answer = register(&log).await;
    assert!(matches!(answer, Err(ExecuteError::Unknown)), "{answer:?}");
    store.blind.store(false, Ordering::SeqCst);
    assert!(register(&log).await.unwrap().duplicate);
}
