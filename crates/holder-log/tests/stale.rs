//! Tests of a writer whose register is behind another writer's: it must not refuse, report as done, or lease
//! based on missing commits.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use citycode_domain::event::{Event, HolderRegistered, Sealed, SigningKeyCompromised, StandingChanged};
use citycode_domain::ids::{CommandId, HolderId, KeyId};
use citycode_domain::lifecycle::HolderState;
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::{Progress, follow};
use citycode_event_store::memory::MemoryEventStore;
use citycode_event_store::{EventStore, Layout, LogId, LogPosition, Partition, Position};
use citycode_holder_log::{Begun, CommandContext, Decide, Decided, ExecuteError, HolderLog};
use citycode_log_folds::{RegisterFold, SystemFold, keys_stream};
use citycode_projection::register::HolderRegister;
use tokio::sync::oneshot;

const HOLDER: HolderId = HolderId([3; 16]);

fn store() -> Arc<MemoryEventStore> {
    let layout = Layout::new(1, 64).expect("a layout");
    Arc::new(MemoryEventStore::new(LogId([1; 16]), layout))
}

/// A writer that follows the log after its sender is used.
fn writer(store: &Arc<MemoryEventStore>, system_folds: Vec<Arc<dyn SystemFold>>) -> (HolderLog, oneshot::Sender<()>) {
    let register = Arc::new(HolderRegister::new(1));
    writer_of(store, register, system_folds)
}

fn writer_of(
    store: &Arc<MemoryEventStore>,
    register: Arc<HolderRegister>,
    system_folds: Vec<Arc<dyn SystemFold>>,
) -> (HolderLog, oneshot::Sender<()>) {
    let progress = Progress::new(&LogPosition::start(1));
    let (begin, begins) = oneshot::channel();
    let (followed, progress_of_fold) = (Arc::clone(store), progress.clone());
    let mut fold = RegisterFold::new(Arc::clone(&register), system_folds);
    tokio::spawn(async move {
        begins.await.expect("the test starts it");
        follow(&*followed, &mut fold, &progress_of_fold).await
    });
    let log: Arc<dyn EventStore> = store.clone();
    (HolderLog::new(log, register, progress, Vec::new()), begin)
}

fn context(id: u8) -> CommandContext {
    CommandContext {
        caller: "caller".into(),
        command_id: CommandId([id; 16]),
        request_digest: [0; 32],
        actor: "test".into(),
        trace_context: None,
        now: Timestamp(1_700_000_000),
        begun: Begun::default(),
    }
}

async fn register_and_set_red(log: &HolderLog) {
    let events = [
        Event::HolderRegistered(HolderRegistered { holder: HOLDER }),
        standing(Standing::Red),
    ];
    for (id, event) in (1..).zip(events) {
        let decision = |_: &HolderState, _| Ok::<_, ()>(vec![event.clone()]);
        log.execute(HOLDER, &context(id), &decision).await.expect("it is done");
    }
}

fn standing(standing: Standing) -> Event {
    Event::StandingChanged(StandingChanged {
        standing,
        codes: Vec::new(),
        reason: Sealed::default(),
    })
}

#[tokio::test]
async fn a_command_is_a_no_op_only_after_catching_up_with_the_log() {
    let store = store();
    let (first, begin) = writer(&store, Vec::new());
    begin.send(()).expect("it waits");
    register_and_set_red(&first).await;
    let (second, begin) = writer(&store, Vec::new());
    let decisions = AtomicU32::new(0);
    let set_green = |state: &HolderState, _| {
        decisions.fetch_add(1, Ordering::SeqCst);
        let red = state.standing == Standing::Red;
        Ok::<_, ()>(if red {
            vec![standing(Standing::Green)]
        } else {
            Vec::new()
        })
    };
    let context = context(9);
    let (executed, ()) = tokio::join!(second.execute(HOLDER, &context, &set_green), async {
        begin.send(()).expect("it waits");
    });
    assert!(
        executed.expect("it is done").is_new(),
        "the standing it had not folded was red"
    );
    assert_eq!(decisions.load(Ordering::SeqCst), 2);
}

/// Sets a standing; it counts its preparations and may refuse them.
struct Prepared {
    standing: Standing,
    prepared: AtomicU32,
    refuses: bool,
}

#[async_trait]
impl Decide for Prepared {
    type Refusal = &'static str;
    type Output = Standing;

    fn decide(&self, state: &HolderState, _: Timestamp) -> Result<Decided<Standing>, &'static str> {
        let events = match state.standing {
            current if current == self.standing => Vec::new(),
            _ => vec![standing(self.standing)],
        };
        // The output shows on which state the last decision was based.
        let output = state.standing;
        Ok(Decided { events, output })
    }

    async fn before_append(&self) -> Result<(), &'static str> {
        self.prepared.fetch_add(1, Ordering::SeqCst);
        if self.refuses { Err("not prepared") } else { Ok(()) }
    }
}

impl Prepared {
    fn new(standing: Standing) -> Self {
        Self {
            standing,
            prepared: AtomicU32::new(0),
            refuses: false,
        }
    }

    fn count(&self) -> u32 {
        self.prepared.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn after_a_conflict_a_command_is_prepared_again_and_has_the_output_of_its_last_decision() {
    let store = store();
    let (first, begin) = writer(&store, Vec::new());
    begin.send(()).expect("it waits");
    register_and_set_red(&first).await;
    let (second, begin) = writer(&store, Vec::new());
    let (yellow, context) = (Prepared::new(Standing::Yellow), context(9));
    let (executed, ()) = tokio::join!(second.execute(HOLDER, &context, &yellow), async {
        begin.send(()).expect("it waits");
    });
    let executed = executed.expect("it is done");
    assert_eq!((executed.is_new(), executed.output), (true, Some(Standing::Red)));
    assert_eq!(yellow.count(), 2, "the first append was based on an empty register");

    let repeated = second.execute(HOLDER, &context, &yellow).await.expect("found");
    assert_eq!((repeated.duplicate, repeated.output), (true, None));
    let unchanged = second
        .execute(HOLDER, &self::context(10), &yellow)
        .await
        .expect("decided");
    assert_eq!((unchanged.position, unchanged.output), (None, None));
    assert_eq!(yellow.count(), 2, "nothing was appended");
}

#[tokio::test]
async fn a_command_that_cannot_be_prepared_is_refused_and_not_begun() {
    let store = store();
    let (log, begin) = writer(&store, Vec::new());
    begin.send(()).expect("it waits");
    register_and_set_red(&log).await;
    let refusing = Prepared {
        refuses: true,
        ..Prepared::new(Standing::Green)
    };
    let head = store.head(Partition(0)).await.expect("an answer");
    let begun = Arc::new(AtomicBool::new(false));
    let context = CommandContext {
        begun: Begun::of(Arc::clone(&begun)),
        ..context(9)
    };
    let forecast = log.forecast(HOLDER, &context, &refusing).expect("it is decided");
    assert_eq!(
        (forecast.events.len(), refusing.count()),
        (1, 0),
        "a forecast prepares nothing"
    );
    let refused = log.execute(HOLDER, &context, &refusing).await;
    assert!(
        matches!(refused, Err(ExecuteError::Refused("not prepared"))),
        "{refused:?}"
    );
    assert!(!begun.load(Ordering::SeqCst));
    assert_eq!(store.head(Partition(0)).await.expect("an answer"), head);
}

#[tokio::test]
async fn the_current_state_of_a_holder_includes_changes_of_other_writers() {
    let store = store();
    let (first, begin) = writer(&store, Vec::new());
    begin.send(()).expect("it waits");
    register_and_set_red(&first).await;
    let (second, begin) = writer(&store, Vec::new());
    assert!(!second.state(HOLDER).is_known());
    let (state, ()) = tokio::join!(second.current_state(HOLDER), async {
        begin.send(()).expect("it waits");
    });
    assert!(state.expect("it is known").is_known());
}

/// For each event, whether the register already contained the commit's tail.
struct TailObserver {
    register: Arc<HolderRegister>,
    bucket: u16,
    had_tail: Mutex<Vec<bool>>,
}

impl SystemFold for TailObserver {
    fn fold_system(&self, _: &Event, position: Position) -> Result<(), String> {
        let tail = self.register.tail(position.partition.0, self.bucket);
        self.had_tail.lock().expect("no panic").push(tail.is_some());
        Ok(())
    }
}

#[tokio::test]
async fn system_folds_are_up_to_date_with_the_tail_of_a_system_stream() {
    let store = store();
    let stream = keys_stream();
    let register = Arc::new(HolderRegister::new(1));
    let observer = Arc::new(TailObserver {
        register: Arc::clone(&register),
        bucket: store.layout().bucket_of(&stream).bucket,
        had_tail: Mutex::default(),
    });
    let (log, begin) = writer_of(&store, register, vec![observer.clone()]);
    begin.send(()).expect("it waits");
    let event = Event::SigningKeyCompromised(SigningKeyCompromised { key_id: KeyId([1; 4]) });
    let decide = || Ok::<_, ()>(vec![event.clone()]);
    let executed = log.execute_system(stream, &context(1), decide).await;
    assert!(executed.expect("it is done").is_new());
    assert_eq!(*observer.had_tail.lock().expect("no panic"), [false]);
    let earlier = log
        .earlier_system::<()>(&stream, &context(1))
        .await
        .expect("it is found");
    assert!(earlier.is_some_and(|earlier| earlier.duplicate));
    assert!(
        log.earlier_system::<()>(&stream, &context(2))
            .await
            .expect("an answer")
            .is_none()
    );
}
