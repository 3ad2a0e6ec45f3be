//! Tests of a writer whose register is behind another writer's: it must not refuse, report as done, or lease
//! based on missing commits.

use std::sync::{Arc, Mutex};

use citycode_domain::event::{Event, HolderRegistered, Sealed, SigningKeyCompromised, StandingChanged};
use citycode_domain::ids::{CommandId, HolderId, KeyId};
use citycode_domain::lifecycle::HolderState;
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::{Progress, follow};
use citycode_event_store::memory::MemoryEventStore;
use citycode_event_store::{EventStore, Layout, LogId, LogPosition, Position};
use citycode_holder_log::{Begun, CommandContext, HolderLog, PureDecision};
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
        let mut decision = PureDecision(|_: &HolderState, _| Ok::<_, ()>(vec![event.clone()]));
        log.execute(HOLDER, &context(id), &mut decision)
            .await
            .expect("it is done");
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
    let mut decisions = 0;
    let mut set_green = PureDecision(|state: &HolderState, _| {
        decisions += 1;
        let red = state.standing == Standing::Red;
        Ok::<_, ()>(if red {
            vec![standing(Standing::Green)]
        } else {
            Vec::new()
        })
    });
    let context = context(9);
    let (executed, ()) = tokio::join!(second.execute(HOLDER, &context, &mut set_green), async {
        begin.send(()).expect("it waits");
    });
    assert!(
        executed.expect("it is done").is_new(),
        "the standing it had not folded was red"
    );
    assert_eq!(decisions, 2);
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
