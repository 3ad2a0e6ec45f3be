//! Status indices are reserved before the holder's lock is taken, and an index is used by one code at most.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use citycode_domain::event::{CodeIssued, Event, IndexBlockLeased, Sealed};
use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::{CommandId, HolderId, ListFacts};
use citycode_domain::lifecycle::{HolderState, Refusal, change_standing};
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;
use citycode_holder_log::{Begun, CommandContext, Decide, Decided};
use citycode_projection::status::BLOCK_LEN;
use citycode_testkit::{IdNumbers, eventually};
use citycode_wire::proto::issuer::v1::IssueRequest;
use tokio::sync::Semaphore;

use crate::fixture::{City, TODAY};
use crate::issue;

const PATIENCE: Duration = Duration::from_secs(30);

async fn leases(city: &City) -> Vec<IndexBlockLeased> {
    let events = city.logged().await.into_iter();
    let blocks = events.filter_map(|event| match event {
        Event::IndexBlockLeased(block) => Some(block),
        _ => None,
    });
    blocks.collect()
}

async fn codes(city: &City) -> Vec<CodeIssued> {
    let events = city.logged().await.into_iter();
    let codes = events.filter_map(|event| match event {
        Event::CodeIssued(issued) => Some(issued),
        _ => None,
    });
    codes.collect()
}

async fn holder(city: &City, id_number: &str) -> HolderId {
    let number = IdNumber::parse(id_number, TODAY).expect("a number");
    let found = city.issuer.authorizer.vault.find(&number).await;
    found.expect("an answer").expect("registered")
}

/// A change of standing that waits right before its append, while it holds the lock of the holder's bucket.
struct Waiting {
    waits: Semaphore,
    released: Semaphore,
}

#[async_trait]
impl Decide for Waiting {
    type Refusal = Refusal;
    type Output = ();

    fn decide(&self, state: &HolderState, now: Timestamp) -> Result<Decided, Refusal> {
        let events = change_standing::decide(state, Standing::Yellow, Sealed::default(), now)?;
        Ok(Decided { events, output: () })
    }

    async fn before_append(&self) -> Result<(), Refusal> {
        self.waits.add_permits(1);
        self.released.acquire().await.expect("it is never closed").forget();
        Ok(())
    }
}

/// An issue that reserved an index meets a holder whose time is one window later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_is_leased_without_the_holders_lock_and_an_index_of_another_window_is_not_used() {
    let city = City::new().await;
    let person = city.resident(IdNumbers::new(90).aged(40, TODAY)).await;
    let (holder, log) = (holder(&city, &person).await, &city.issuer.authorizer.log);
    let later = Timestamp(city.issuer.authorizer.now().expect("a clock").0 + ListFacts::WINDOW_SECONDS);
    let context = CommandContext {
        caller: "another service".into(),
        command_id: CommandId([1; 16]),
        request_digest: [0; 32],
        actor: "test".into(),
        trace_context: None,
        now: later,
        begun: Begun::default(),
    };
    let waiting = Arc::new(Waiting {
        waits: Semaphore::new(0),
        released: Semaphore::new(0),
    });
    let (other, log) = (Arc::clone(&waiting), Arc::clone(log));
    let changing = tokio::spawn(async move { log.execute(holder, &context, &*other).await.map(drop) });
    waiting.waits.acquire().await.expect("it is never closed").forget();

    let (issuer, admin) = (city.issuer.clone(), Arc::clone(&city.admin));
    let request = issue("sampling", "app", &person);
    let issuing = tokio::spawn(async move { issuer.issue(&admin, &request).await });
    eventually("a block is leased", PATIENCE, async || leases(&city).await.len() == 1).await;
    assert!(!issuing.is_finished(), "the other change holds the lock");
    waiting.released.add_permits(1);

    changing.await.expect("no panic").expect("the standing is changed");
    issuing.await.expect("no panic").expect("issued");
    let [first, second] = leases(&city).await[..] else {
        panic!("one block for each window");
    };
    let [code] = &codes(&city).await[..] else {
        panic!("one code");
    };
    assert_eq!(code.issued_at, later);
    assert_eq!(code.code.status.list, second.list);
    assert_ne!(first.list, second.list);
    let right = ListFacts::for_code(second.facts.partition, code.code.slot.kind, code.expires_at);
    assert_eq!(Some(second.facts), right);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn issuers_in_conflict_use_no_index_and_no_nonce_twice() {
    let first = City::new().await;
    let vault = Arc::clone(&first.issuer.authorizer.vault);
    let second = City::with_vault(Arc::clone(&first.store), |_| vault).await;
    let person = first.resident(IdNumbers::new(91).aged(40, TODAY)).await;
    let mut reissues = tokio::task::JoinSet::new();
    for number in 0..60 {
        let city = if number % 2 == 0 { &first } else { &second };
        let (issuer, admin) = (city.issuer.clone(), Arc::clone(&city.admin));
        let request = issue("sampling", "app", &person);
        reissues.spawn(async move { issuer.issue(&admin, &request).await });
    }
    let mut tokens = HashSet::new();
    while let Some(issued) = reissues.join_next().await {
        let code = issued.expect("no panic").expect("issued").code.expect("a code");
        tokens.insert(code.token);
    }
    let codes = codes(&first).await;
    assert_eq!((tokens.len(), codes.len()), (60, 60));
    let indices: HashSet<_> = codes.iter().map(|code| code.code.status).collect();
    assert_eq!(indices.len(), 60);
    let nonces: HashSet<_> = codes.iter().map(|code| &code.sealed_token.0[..12]).collect();
    assert_eq!(nonces.len(), 60);
}

/// More repeats than a block has indices: each reserves one and returns it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeats_of_a_command_use_up_no_index() {
    let city = City::new().await;
    let person = city.resident(IdNumbers::new(92).aged(40, TODAY)).await;
    let request = IssueRequest {
        command_id: vec![7; 16],
        ..issue("sampling", "app", &person)
    };
    let issued = city.issuer.issue(&city.admin, &request).await.expect("issued");
    for _ in 0..=BLOCK_LEN {
        let again = city.issuer.issue(&city.admin, &request).await.expect("the same");
        assert_eq!(again, issued);
    }
    assert_eq!(leases(&city).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_index_of_a_block_is_used_once_before_the_next_block_is_leased() {
    let city = City::new().await;
    let person = city.resident(IdNumbers::new(93).aged(40, TODAY)).await;
    let request = issue("sampling", "app", &person);
    for _ in 0..BLOCK_LEN {
        city.issuer.issue(&city.admin, &request).await.expect("issued");
    }
    let codes = codes(&city).await;
    let indices: HashSet<_> = codes.iter().map(|code| code.code.status.index).collect();
    assert_eq!((indices.len(), codes.len()), (BLOCK_LEN as usize, BLOCK_LEN as usize));
    assert_eq!(leases(&city).await.len(), 1);
    city.issuer.issue(&city.admin, &request).await.expect("issued");
    assert_eq!(leases(&city).await.len(), 2);
}
