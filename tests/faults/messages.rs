//! Duplicated and delayed messages: the expectation in each prevents a second append.

use citycode_domain::event::{Event, Sealed, StandingChanged};
use citycode_domain::standing::Standing;
use citycode_event_store::{
    AppendOutcome, BucketTail, CommandId, EventStore as _, Layout, LogId, NewCommit, StreamName, message_id,
};
use citycode_event_store_jetstream::{Config, Connection, JetStreamEventStore, NewLog, provision};
use citycode_testkit::checker::{Answer, Attempt, Command, Run, WholeLog, check};
use citycode_testkit::{NatsProxy, NatsServer, Traffic, commit_of, eventually};

use crate::servers::alone;
use crate::town::{PATIENCE, Town};

/// Prefix of the subjects of commits.
const COMMITS: &str = "cc.ev.";

fn through(proxy: &NatsProxy, config: &Config) -> Config {
    Config {
        connection: Connection {
            servers: vec![proxy.address().to_owned()],
            ..config.connection.clone()
        },
        ..config.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heavy_duplicated_messages_are_appended_once() {
    let seed = 51;
    let server = NatsServer::start().await;
    let config = alone(&server);
    let proxy = NatsProxy::to(&server.url(), COMMITS).await;
    proxy.set(Traffic::Duplicate);
    let town = Town::start_by(&config, &[through(&proxy, &config)], seed).await;
    town.progress(300).await;
    assert!(
        proxy.duplicated() > 300,
        "{} messages were repeated",
        proxy.duplicated()
    );
    town.end().await;
}

/// A commit with a change of standing.
fn commit(stream: &StreamName, number: u8) -> NewCommit {
    let event = Event::StandingChanged(StandingChanged {
        standing: Standing::Green,
        codes: Vec::new(),
        reason: Sealed::default(),
    });
    let command_id = CommandId([number; 16]);
    NewCommit {
        message_id: message_id("test", stream, &command_id),
        command_id,
        ..commit_of(*stream, &event, 0, 0)
    }
}

/// The client gave up, another writer appended, and only then the message and its retries arrive.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_arrives_after_another_append_to_its_bucket_is_refused() {
    let server = NatsServer::start().await;
    let config = alone(&server);
    let new = NewLog::new(LogId([5; 16]), Layout::new(1, 64).expect("a layout"));
    provision(&config, &new).await.expect("the log is made");
    let proxy = NatsProxy::to(&server.url(), COMMITS).await;
    let late = JetStreamEventStore::open(&through(&proxy, &config))
        .await
        .expect("the log opens");
    let direct = JetStreamEventStore::open(&config).await.expect("the log opens");
    let stream = StreamName::new(&format!("holder-{:032x}", 1)).expect("a name");
    let appended = direct.append_at(commit(&stream, 1), BucketTail::EMPTY).await;
    let Ok(AppendOutcome::Appended { revision, hash, .. }) = appended else {
        panic!("{appended:?}")
    };
    let tail = BucketTail { revision, hash };
    proxy.set(Traffic::Hold);
    let outcome = late.append_at(commit(&stream, 2), tail).await;
    assert_eq!(outcome, Ok(AppendOutcome::Unknown), "never \"not done\"");
    assert!(proxy.held().await > 1, "it was sent again meanwhile");
    let moved_on = direct.append_at(commit(&stream, 3), tail).await;
    assert!(matches!(moved_on, Ok(AppendOutcome::Appended { .. })), "{moved_on:?}");
    proxy.set(Traffic::Forward);
    assert!(proxy.release().await > 1, "they are on their way");
    // A request through the same proxy arrives after them.
    let again = late.append_at(commit(&stream, 2), tail).await;
    assert!(
        matches!(again, Ok(AppendOutcome::WrongExpectedVersion { .. })),
        "{again:?}"
    );
    eventually("both stand there", PATIENCE, || async {
        direct.heads().await.is_ok_and(|heads| heads.commits() == 2)
    })
    .await;
    let mut command = Command::new(CommandId([2; 16]));
    // The final answer is "not done", and no message is in flight any more.
    command.attempts.push(Attempt {
        invoked_at: std::time::Duration::ZERO,
        answered_at: std::time::Duration::ZERO,
        answer: Answer::NotDone,
    });
    let run = Run {
        log: WholeLog::read(&direct).await.expect("the log can be read"),
        commands: vec![command],
        verdicts: Vec::new(),
        projections: Vec::new(),
    };
    assert_eq!(check(&run), Vec::new());
}
