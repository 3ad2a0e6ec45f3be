//! Tests of each outcome of an append: what the caller is told, and when the same bytes are sent again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use citycode_domain::event::{Event, HolderRegistered, PolicyAdopted};
use citycode_domain::ids::{CommandId, HolderId, PolicyDigest};
use citycode_domain::lifecycle::HolderState;
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::{Progress, follow};
use citycode_event_store::memory::MemoryEventStore;
use citycode_event_store::{
    AppendError, AppendOutcome, BucketId, BucketTail, EventStore, Layout, LogId, LogPosition, MessageId, NewCommit,
    Position, RaiseError, ReadError, ReaderVersion, RecordedCommit, Revision, StreamName, Subscription,
    SubscriptionError,
};
use citycode_holder_log::{Begun, CommandContext, ExecuteError, Executed, HolderLog, is_auditable};
use citycode_log_folds::{RegisterFold, SystemFold, events_of, holder_stream, policies_stream};
use citycode_projection::register::HolderRegister;

const HOLDER: HolderId = HolderId([3; 16]);
const NOW: Timestamp = Timestamp(1_700_000_000);
/// How often the same bytes are sent before the caller is told that the outcome is unknown.
const SENDINGS: usize = 9;
/// How often a command is decided before the caller is told to try again.
const DECISIONS: usize = 16;

/// What happens to one append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// It is lost, and the outcome is unknown.
    Lost,
    /// It is written, and the outcome is unknown.
    WrittenButUnknown,
    /// The engine cannot be reached.
    Unavailable,
    /// Another writer's commit of the same bucket is written first.
    Overtaken,
    /// The engine has forgotten the message id and compares only the tail.
    Forgotten,
    /// The tail has the expected revision and another hash: it is the tail of another log.
    OtherLog,
}

/// A store whose next appends follow a script; after its end they succeed.
struct ScriptedStore {
    inner: MemoryEventStore,
    script: Mutex<VecDeque<Step>>,
    sent: Mutex<Vec<MessageId>>,
    /// Whether buckets cannot be read.
    blind: AtomicBool,
}

#[async_trait]
impl EventStore for ScriptedStore {
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
        let step = self.script.lock().expect("no panic").pop_front();
        self.sent.lock().expect("no panic").push(commit.message_id);
        match step {
            None => self.inner.append_at(commit, expected).await,
            Some(Step::Lost) => Ok(AppendOutcome::Unknown),
            Some(Step::WrittenButUnknown) => {
                self.inner.append_at(commit, expected).await?;
                Ok(AppendOutcome::Unknown)
            }
            Some(Step::Unavailable) => Err(AppendError::Unavailable("it fails on purpose".into())),
            Some(Step::Overtaken) => {
                let other = MessageId([u8::try_from(self.sent.lock().expect("no panic").len()).expect("few"); 32]);
                let overtaking = NewCommit {
                    message_id: other,
                    ..commit.clone()
                };
                self.inner.append_at(overtaking, expected).await?;
                self.inner.append_at(commit, expected).await
            }
            Some(Step::Forgotten) => {
                let tail = self.inner.bucket_tail(self.layout().bucket_of(&commit.stream)).await;
                Ok(AppendOutcome::WrongExpectedVersion {
                    current: tail.expect("memory can be read").revision,
                })
            }
            Some(Step::OtherLog) => Ok(AppendOutcome::WrongExpectedVersion {
                current: expected.revision,
            }),
        }
    }

    async fn read_at(&self, position: Position) -> Result<Option<RecordedCommit>, ReadError> {
        self.inner.read_at(position).await
    }

    async fn read_bucket(&self, bucket: BucketId, after: Revision) -> Result<Vec<RecordedCommit>, ReadError> {
        if self.blind.load(Ordering::SeqCst) {
            return Err(ReadError::Unavailable("it fails on purpose".into()));
        }
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

/// Refuses every event, so that its follower stops at the first one.
struct Refusing;

impl SystemFold for Refusing {
    fn fold_system(&self, _: &Event, _: Position) -> Result<(), String> {
        Err("it refuses on purpose".into())
    }
}

struct City {
    store: Arc<ScriptedStore>,
    log: HolderLog,
    begun: Arc<AtomicBool>,
    decisions: AtomicUsize,
}

/// A follower of the log into a register of its own, or into the given one.
fn follower(store: &Arc<ScriptedStore>, register: Arc<HolderRegister>, folds: Vec<Arc<dyn SystemFold>>) -> Progress {
    let progress = Progress::new(&LogPosition::start(4));
    let (followed, of_fold) = (Arc::clone(store), progress.clone());
    let mut fold = RegisterFold::new(register, folds);
    tokio::spawn(async move { follow(&*followed, &mut fold, &of_fold).await });
    progress
}

impl City {
    fn new(script: &[Step]) -> Self {
        Self::acknowledging(script, |_| Vec::new())
    }

    /// With followers that must apply a change before it is acknowledged.
    fn acknowledging(script: &[Step], followers: impl FnOnce(&Arc<ScriptedStore>) -> Vec<Progress>) -> Self {
        let store = Arc::new(ScriptedStore {
            inner: MemoryEventStore::new(LogId([1; 16]), Layout::new(4, 64).expect("a layout")),
            script: Mutex::new(script.iter().copied().collect()),
            sent: Mutex::default(),
            blind: AtomicBool::new(false),
        });
        let register = Arc::new(HolderRegister::new(4));
        let progress = follower(&store, Arc::clone(&register), Vec::new());
        let acknowledged_by = followers(&store);
        Self {
            log: HolderLog::new(store.clone(), register, progress, acknowledged_by),
            store,
            begun: Arc::default(),
            decisions: AtomicUsize::new(0),
        }
    }

    fn context(&self, id: u8) -> CommandContext {
        CommandContext {
            caller: "caller".into(),
            command_id: CommandId([id; 16]),
            request_digest: [0; 32],
            actor: "test".into(),
            trace_context: None,
            now: NOW,
            begun: Begun::of(Arc::clone(&self.begun)),
        }
    }

    async fn execute(&self, context: &CommandContext) -> Result<Executed, ExecuteError<()>> {
        let decision = |_: &HolderState, _| {
            self.decisions.fetch_add(1, Ordering::SeqCst);
            Ok::<_, ()>(vec![Event::HolderRegistered(HolderRegistered { holder: HOLDER })])
        };
        self.log.execute(HOLDER, context, &decision).await
    }

    async fn register(&self) -> Result<Executed, ExecuteError<()>> {
        self.execute(&self.context(7)).await
    }

    fn has_begun(&self) -> bool {
        self.begun.load(Ordering::SeqCst)
    }

    /// The number of appends, all of which must have been of the same message.
    fn sendings_of_one_message(&self) -> usize {
        let sent = self.store.sent.lock().expect("no panic");
        assert!(sent.iter().all(|id| *id == sent[0]), "another message was sent");
        sent.len()
    }

    async fn commits(&self) -> usize {
        let bucket = self.store.layout().bucket_of(&holder_stream(HOLDER));
        let commits = self.store.inner.read_bucket(bucket, Revision::EMPTY).await;
        commits.expect("memory can be read").len()
    }
}

#[tokio::test]
async fn after_an_unknown_outcome_the_same_bytes_are_sent_until_there_is_one() {
    let city = City::new(&[Step::Lost; SENDINGS - 1]);
    let executed = city.register().await.expect("the last sending succeeds");
    assert!(executed.is_new() && executed.position.is_some());
    assert_eq!(city.sendings_of_one_message(), SENDINGS);
    assert_eq!(city.commits().await, 1);

    let city = City::new(&[Step::Lost; SENDINGS]);
    let unknown = city.register().await;
    assert!(matches!(unknown, Err(ExecuteError::Unknown)), "{unknown:?}");
    assert_eq!(city.sendings_of_one_message(), SENDINGS);
    assert!(city.has_begun());
}

#[tokio::test]
async fn a_commit_whose_outcome_was_unknown_is_found_by_its_message_id() {
    // The engine still knows the message id, or has forgotten it and sees only that the tail has moved.
    for script in [
        &[Step::WrittenButUnknown][..],
        &[Step::WrittenButUnknown, Step::Forgotten],
        &[Step::Lost, Step::WrittenButUnknown, Step::Forgotten],
    ] {
        let city = City::new(script);
        let executed = city.register().await.expect("it is found");
        assert!(executed.duplicate && !executed.is_new(), "{script:?}");
        assert_eq!(executed.events.len(), 1);
        assert_eq!(city.commits().await, 1, "{script:?}");
        assert!(city.has_begun());
    }
}

#[tokio::test]
async fn a_commit_whose_outcome_was_unknown_and_that_cannot_be_searched_stays_unknown() {
    let city = City::new(&[Step::WrittenButUnknown, Step::Forgotten]);
    city.store.blind.store(true, Ordering::SeqCst);
    let unknown = city.register().await;
    assert!(matches!(unknown, Err(ExecuteError::Unknown)), "{unknown:?}");
    assert!(city.has_begun());
}

#[tokio::test]
async fn a_lost_commit_that_another_one_overtook_is_decided_again() {
    let city = City::new(&[Step::Lost, Step::Overtaken]);
    let executed = city.register().await.expect("the second decision is appended");
    assert!(executed.is_new());
    assert_eq!(city.decisions.load(Ordering::SeqCst), 2);
    assert_eq!(city.commits().await, 2);
}

/// Without an unknown outcome the commit is surely not in the log, so that nothing is searched.
#[tokio::test]
async fn after_a_conflict_the_command_is_decided_again_on_newer_state() {
    let city = City::new(&[Step::Overtaken]);
    city.store.blind.store(true, Ordering::SeqCst);
    let executed = city.register().await.expect("the second decision is appended");
    assert!(executed.is_new());
    assert_eq!(city.decisions.load(Ordering::SeqCst), 2);
    assert_eq!(executed.position.map(|position| position.sequence.0), Some(2));
}

#[tokio::test]
async fn after_sixteen_conflicts_the_command_was_not_done() {
    let city = City::new(&[Step::Overtaken; DECISIONS]);
    let refused = city.register().await;
    assert!(matches!(refused, Err(ExecuteError::NotDone(_))), "{refused:?}");
    assert_eq!(city.decisions.load(Ordering::SeqCst), DECISIONS);
    assert!(!city.has_begun(), "the change was surely not made");
}

#[tokio::test]
async fn an_error_means_not_done_only_if_no_outcome_before_it_was_unknown() {
    let city = City::new(&[Step::Unavailable]);
    let refused = city.register().await;
    assert!(matches!(refused, Err(ExecuteError::NotDone(_))), "{refused:?}");
    let city = City::new(&[Step::Lost, Step::Unavailable]);
    let unknown = city.register().await;
    assert!(matches!(unknown, Err(ExecuteError::Unknown)), "{unknown:?}");
}

#[tokio::test]
async fn a_register_of_another_log_is_reported_and_nothing_is_repeated() {
    let city = City::new(&[Step::OtherLog]);
    let refused = city.register().await;
    let Err(ExecuteError::NotDone(why)) = refused else {
        panic!("not refused: {refused:?}");
    };
    assert!(why.contains("another log"), "{why}");
    assert_eq!(city.sendings_of_one_message(), 1);
}

#[tokio::test]
async fn a_command_id_belongs_to_one_request() {
    let city = City::new(&[]);
    assert!(city.register().await.expect("done").is_new());
    let other = CommandContext {
        request_digest: [1; 32],
        ..city.context(7)
    };
    let refused = city.execute(&other).await;
    assert!(
        matches!(refused, Err(ExecuteError::IdempotencyKeyReused)),
        "{refused:?}"
    );
    let again = city.register().await.expect("found");
    assert!(again.duplicate && again.output.is_none());
}

#[tokio::test]
async fn only_a_recent_command_of_the_holder_may_be_a_repeat() {
    let city = City::new(&[]);
    assert!(!city.log.may_be_repeat(HOLDER, &city.context(7)));
    city.register().await.expect("done");
    assert!(city.log.may_be_repeat(HOLDER, &city.context(7)));
    assert!(!city.log.may_be_repeat(HOLDER, &city.context(8)));
    assert!(!city.log.may_be_repeat(HolderId([4; 16]), &city.context(7)));
}

/// A city may treat a change as acknowledged only if, for example, verifiers in the same process know it.
#[tokio::test]
async fn a_change_that_a_follower_cannot_apply_is_unknown() {
    let stream = StreamName::new("keys").expect("a name");
    let stopping = |store: &Arc<ScriptedStore>| {
        let folds: Vec<Arc<dyn SystemFold>> = vec![Arc::new(Refusing)];
        vec![follower(store, Arc::new(HolderRegister::new(4)), folds)]
    };
    let city = City::acknowledging(&[], stopping);
    let decide = || Ok::<_, ()>(vec![Event::HolderRegistered(HolderRegistered { holder: HOLDER })]);
    let unknown = city.log.execute_system(stream, &city.context(1), decide).await;
    assert!(matches!(unknown, Err(ExecuteError::Unknown)), "{unknown:?}");
    let earlier = city.log.earlier_system::<()>(&stream, &city.context(1)).await;
    assert!(matches!(earlier, Err(ExecuteError::Unknown)), "{earlier:?}");
}

#[tokio::test]
async fn a_holders_time_never_goes_back() {
    let city = City::new(&[]);
    city.register().await.expect("done");
    let earlier = CommandContext {
        now: NOW.plus_seconds(-100),
        ..city.context(8)
    };
    let times = Mutex::new(Vec::new());
    let decision = |_: &HolderState, now| {
        times.lock().expect("no panic").push(now);
        Ok::<_, ()>(Vec::new())
    };
    city.log.execute(HOLDER, &earlier, &decision).await.expect("done");
    city.log.forecast(HOLDER, &earlier, &decision).expect("no refusal");
    let later = CommandContext {
        now: NOW.plus_seconds(100),
        ..city.context(9)
    };
    city.log.forecast(HOLDER, &later, &decision).expect("no refusal");
    let times = times.into_inner().expect("no panic");
    assert_eq!(times, [NOW, NOW, NOW, NOW.plus_seconds(100)]);
}

/// A refusal or a command without effect is decided once more after catching up; one with events only once.
#[tokio::test]
async fn only_a_result_without_an_append_is_decided_twice() {
    let city = City::new(&[]);
    city.register().await.expect("done");
    assert_eq!(city.decisions.load(Ordering::SeqCst), 1);
    for result in [Ok(Vec::new()), Err(())] {
        let decisions = AtomicUsize::new(0);
        let decision = |_: &HolderState, _| {
            decisions.fetch_add(1, Ordering::SeqCst);
            result.clone()
        };
        let executed = city.log.execute(HOLDER, &city.context(8), &decision).await;
        match (&result, executed) {
            (Ok(_), Ok(executed)) => assert!(!executed.is_new() && !executed.duplicate),
            (Err(()), Err(ExecuteError::Refused(()))) => {}
            (_, executed) => panic!("{executed:?}"),
        }
        assert_eq!(decisions.load(Ordering::SeqCst), 2, "{result:?}");
    }
}

#[tokio::test]
async fn the_events_of_a_position_are_read_and_an_empty_position_is_an_error() {
    let city = City::new(&[]);
    let position = city.register().await.expect("done").position.expect("appended");
    let at = |sequence| Position::new(position.partition.0, sequence);
    let events = city.log.read_at(at(1)).await.expect("it is there");
    assert_eq!(events, [Event::HolderRegistered(HolderRegistered { holder: HOLDER })]);
    assert!(matches!(city.log.read_at(at(2)).await, Err(ExecuteError::NotDone(_))));
}

#[tokio::test]
async fn catching_up_covers_every_partition() {
    let city = City::new(&[]);
    let holders: Vec<HolderId> = (0..40).map(|number| HolderId([number; 16])).collect();
    for holder in &holders {
        let decision =
            |_: &HolderState, _| Ok::<_, ()>(vec![Event::HolderRegistered(HolderRegistered { holder: *holder })]);
        let executed = city.log.execute(*holder, &city.context(1), &decision).await;
        assert!(executed.expect("done").is_new());
    }
    let partitions = holders.iter().map(|holder| city.log.partition_of(*holder));
    assert_eq!(partitions.collect::<std::collections::BTreeSet<_>>().len(), 4);
    // Another process that begins to follow only now.
    let register = Arc::new(HolderRegister::new(4));
    let progress = Progress::new(&LogPosition::start(4));
    let mut fold = RegisterFold::new(Arc::clone(&register), Vec::new());
    let late = HolderLog::new(city.store.clone(), register, progress.clone(), Vec::new());
    assert!(holders.iter().all(|holder| !late.state(*holder).is_known()));
    tokio::select! {
        stopped = follow(&*city.store, &mut fold, &progress) => panic!("{stopped}"),
        caught_up = late.catch_up_with_all() => caught_up.expect("it follows"),
    }
    assert!(holders.iter().all(|holder| late.state(*holder).is_known()));
}

#[tokio::test]
async fn a_policy_is_adopted_once_by_all_writers_and_again_after_another_policy() {
    let city = City::new(&[]);
    assert!(is_auditable(&*city.store));
    let layout = Layout::new(1, 64).expect("a layout");
    let of_version = |version| MemoryEventStore::with_minimum_reader(LogId([1; 16]), layout, ReaderVersion(version));
    assert!(!is_auditable(&of_version(2)) && is_auditable(&of_version(3)));

    let policy = |number| PolicyAdopted {
        digest: PolicyDigest([number; 32]),
        text: format!("policy {number}"),
    };
    let adopted = |number| (0..2).map(move |_| policy(number));
    for policy in adopted(1).chain(adopted(2)).chain(adopted(1)) {
        city.log.adopt_policy(&policy, NOW).await.expect("adopted");
    }
    let commits = city.store.read_stream(&policies_stream(), Revision::EMPTY).await;
    let commits = commits.expect("memory can be read");
    let adopted = commits.iter().flat_map(|commit| events_of(commit).expect("events"));
    let numbers = adopted.map(|event| match event {
        Event::PolicyAdopted(adopted) => adopted.digest.0[0],
        other => panic!("{other:?}"),
    });
    assert_eq!(numbers.collect::<Vec<_>>(), [1, 2, 1]);
}
