//! The past through the public API: what is answered as of a moment equals what a log would answer that ended there.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use citycode_audit::grpc::AuditGrpc;
use citycode_audit::{Audit, AuditIndex, Observer};
use citycode_auth::{Caller, CallerId, Role};
use citycode_domain::event::{
    CodeIssued, CodeRef, CodeReinstated, CodeReportedLost, CodeRevoked, CodeSuspended, EligibilityGround, Event,
    HolderErased, HolderRegistered, Sealed, Slot, StandingChanged,
};
use citycode_domain::ids::{ClaimsDigest, CodeId, CodeKind, HolderId, KeyId, ListId, StatusRef};
use citycode_domain::standing::Standing;
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::{Progress, follow};
use citycode_event_store::memory::MemoryEventStore;
use citycode_event_store::{AppendOutcome, EventStore, Layout, LogId, Position, StreamState};
use citycode_log_folds::holder_stream;
use citycode_policy_file::SHANGHAI;
use citycode_query_stream::Queries;
use citycode_query_stream::embedded::{EmbeddedQueryStore, ForLog};
use citycode_service_kit::clock::{ManualClock, UnixSeconds};
use citycode_service_kit::entropy::OsEntropy;
use citycode_service_kit::problem::{Code, Problem};
use citycode_testkit::commit_of;
use citycode_wire::proto::audit::v1 as proto;
use citycode_wire::proto::audit::v1::audit_service_server::AuditService as _;
use citycode_wire::proto::audit::v1::{as_of::Until, history_request::Subject, state_response::Update};
use citycode_wire::proto::issuer::v1::{CodeLife, CodeState};
use citycode_wire::proto::model::v1 as model;
use futures::StreamExt as _;
use proptest::prelude::*;
use tempfile::TempDir;

const START: i64 = 1_661_904_000;
const HOLDERS: u8 = 3;
/// Codes expire after this many seconds, so that some do within a history.
const VALIDITY: i64 = 60;

/// One commit: its holder, its event, and when it was decided.
type Act = (HolderId, Event, i64);

/// A random step: the holder, what is done, which code, and the seconds since the step before.
type Step = (u8, u8, u8, i64);

fn holder(number: u8) -> HolderId {
    HolderId([number + 1; 16])
}

fn code(holder: u8, kind: u8, number: u8) -> CodeRef {
    let kind = CodeKind::new(kind).expect("a kind");
    CodeRef {
        slot: Slot { kind, guardian: None },
        code_id: CodeId([holder, kind.number(), 0, 0, 0, 0, 0, number]),
        status: StatusRef {
            list: ListId::new(0, kind, Timestamp(START), 0).expect("a list"),
            index: u32::from(number),
        },
    }
}

fn issued(code: CodeRef, supersedes: Option<CodeRef>, at: i64) -> Event {
    Event::CodeIssued(CodeIssued {
        code,
        issued_at: Timestamp(at),
        expires_at: Timestamp(at + VALIDITY),
        supersedes,
        standing: Standing::Green,
        ground: EligibilityGround::Everyone,
        acting_guardian: None,
        key_id: KeyId([1; 4]),
        claims_digest: ClaimsDigest([9; 32]),
        sealed_token: Sealed(vec![7; 64]),
    })
}

/// The acts of a small city that follow from random steps.
fn acts(steps: &[Step]) -> Vec<Act> {
    let mut acts: Vec<Act> = Vec::new();
    let mut codes: Vec<(u8, CodeRef)> = Vec::new();
    let mut erased = [false; HOLDERS as usize];
    let mut at = START;
    for number in 0..HOLDERS {
        let holder = holder(number);
        acts.push((holder, Event::HolderRegistered(HolderRegistered { holder }), at));
    }
    for (number, (who, what, which, later)) in steps.iter().enumerate() {
        at += later;
        if erased[usize::from(*who)] {
            continue;
        }
        let own: Vec<CodeRef> = codes
            .iter()
            .filter(|(owner, _)| owner == who)
            .map(|(_, code)| *code)
            .collect();
        let some = own.get(usize::from(*which) % own.len().max(1)).copied();
        let reason = || Sealed(vec![1; 8]);
        let event = match (what, some) {
            (0..=5, _) | (_, None) => {
                let new = code(*who, 2 + which % 2, u8::try_from(number).expect("few"));
                let old = own.iter().rev().find(|old| old.slot == new.slot).copied();
                codes.push((*who, new));
                issued(new, old, at)
            }
            (6, Some(code)) => Event::CodeReportedLost(CodeReportedLost {
                code,
                acting_guardian: None,
            }),
            (7, Some(code)) => Event::CodeRevoked(CodeRevoked { code, reason: reason() }),
            (8, Some(code)) => Event::CodeSuspended(CodeSuspended { code, reason: reason() }),
            (9, Some(code)) => Event::CodeReinstated(CodeReinstated {
                slot: code.slot,
                code: Some(code),
                reason: reason(),
            }),
            (10, Some(_)) => Event::StandingChanged(StandingChanged {
                standing: Standing::Red,
                codes: own,
                reason: reason(),
            }),
            _ => {
                erased[usize::from(*who)] = true;
                Event::HolderErased(HolderErased {
                    codes: own,
                    by_officer: true,
                })
            }
        };
        acts.push((holder(*who), event, at));
    }
    acts
}

async fn append(store: &MemoryEventStore, number: usize, (holder, event, at): &Act) -> Position {
    let commit = commit_of(holder_stream(*holder), event, number as u64 + 1, *at);
    match store
        .append_to_stream(commit, StreamState::Any)
        .await
        .expect("appended")
    {
        AppendOutcome::Appended { position, .. } => position,
        other => panic!("{other:?}"),
    }
}

/// An audit service over a log, with the folder of its index.
struct City {
    store: Arc<MemoryEventStore>,
    clock: Arc<ManualClock>,
    positions: Vec<Position>,
    folder: TempDir,
}

impl City {
    fn empty() -> Self {
        let layout = Layout::new(2, 64).expect("a layout");
        Self {
            store: Arc::new(MemoryEventStore::new(LogId([5; 16]), layout)),
            clock: Arc::new(ManualClock::at(UnixSeconds(START + 1_000_000))),
            positions: Vec::new(),
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    async fn of(acts: impl Iterator<Item = &Act>) -> Self {
        let mut city = Self::empty();
        for act in acts {
            let position = append(&city.store, city.positions.len(), act).await;
            city.positions.push(position);
        }
        city
    }

    async fn audit(&self) -> Running {
        Running::open(self, self.folder.path()).await
    }
}

struct Running {
    audit: Arc<Audit>,
    following: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.following.abort();
    }
}

struct Patient;

impl Observer for Patient {
    fn progress(&mut self, _: proto::AuditProgress) -> bool {
        true
    }
}

fn instant(at: i64) -> Option<proto::AsOf> {
    Some(proto::AsOf {
        until: Some(Until::Instant(at)),
    })
}

fn position(position: Position) -> Option<proto::AsOf> {
    Some(proto::AsOf {
        until: Some(Until::Position(model::Position {
            partition: u32::from(position.partition.0),
            sequence: position.sequence.0,
        })),
    })
}

/// A stream of queries of its own for each audit service.
fn queries(folder: &Path) -> Arc<Queries> {
    static OPENED: AtomicU32 = AtomicU32::new(0);
    let name = format!("queries-{}", OPENED.fetch_add(1, Ordering::Relaxed));
    let store = EmbeddedQueryStore::open_for_log(&folder.join(name), &[1; 16], ForLog::Make);
    Arc::new(Queries::new(Arc::new(store.expect("a stream")), Arc::new(OsEntropy)))
}

impl Running {
    async fn open(city: &City, folder: &Path) -> Self {
        let (mut index, from) = AuditIndex::open(folder, &*city.store).await.expect("an index");
        let progress = Progress::new(&from);
        let audit = Audit {
            store: Arc::clone(&city.store) as _,
            index: index.reader(),
            progress: progress.clone(),
            policy: Arc::new(citycode_policy_file::parse(SHANGHAI).expect("the policy")),
            records: None,
            queries: Some(queries(folder)),
            trees: None,
            clock: Arc::clone(&city.clock) as _,
        };
        let store = Arc::clone(&city.store);
        let following = tokio::spawn(async move {
            follow(&*store, &mut index, &progress).await;
        });
        Self {
            audit: Arc::new(audit),
            following,
        }
    }

    async fn stop(mut self) {
        self.following.abort();
        let ended = (&mut self.following).await;
        assert!(ended.is_err_and(|error| error.is_cancelled()));
    }

    fn request<T>(message: T, role: Role) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        let caller = Caller::new(CallerId::new("test", "somebody").expect("an id"), vec![role]);
        request.extensions_mut().insert(Arc::new(caller));
        request
    }

    async fn history(&self, code_id: CodeId, as_of: Option<proto::AsOf>) -> Result<Vec<proto::HistoryEntry>, Code> {
        let message = proto::HistoryRequest {
            subject: Some(Subject::CodeId(code_id.to_string())),
            as_of,
            purpose: "a test".into(),
            whole_slot: false,
        };
        let answer = AuditGrpc(Arc::clone(&self.audit))
            .history(Self::request(message, Role::Officer))
            .await;
        let answer = answer.map(|answer| answer.into_inner().entries);
        answer.map_err(|status| Problem::from(status).code())
    }

    async fn codes(&self, code_id: CodeId, as_of: Option<proto::AsOf>) -> Result<Vec<CodeState>, Code> {
        let message = proto::CodesRequest {
            code_id: code_id.to_string(),
            as_of,
            purpose: "a test".into(),
        };
        let answer = AuditGrpc(Arc::clone(&self.audit))
            .codes(Self::request(message, Role::Auditor))
            .await;
        let answer = answer.map(|answer| answer.into_inner().codes);
        answer.map_err(|status| Problem::from(status).code())
    }

    /// The exact counts, or those that everybody may see.
    async fn state(&self, as_of: i64, exact: bool) -> proto::StateResult {
        self.audit.state(as_of, exact, &mut Patient).await.expect("counts")
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn the_state_at_every_moment_is_that_of_a_log_that_ended_there(
        steps in prop::collection::vec((0..HOLDERS, 0_u8..12, 0_u8..8, 0_i64..40), 4..24),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 4),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let acts = acts(&steps);
            let city = City::of(acts.iter()).await;
            let whole = city.audit().await;
            let codes: Vec<CodeId> = acts.iter().filter_map(|(_, event, _)| match event {
                Event::CodeIssued(issued) => Some(issued.code.code_id),
                _ => None,
            }).collect();
            for cut in &cuts {
                let cut = cut.index(acts.len());
                let (at, last) = (acts[cut].2, city.positions[cut]);
                let until_then = City::of(acts.iter().filter(|(_, _, decided_at)| *decided_at <= at)).await;
                let then = until_then.audit().await;
                prop_assert_eq!(whole.state(at, true).await, then.state(at, true).await);
                let included = |number: &usize| {
                    let position = city.positions[*number];
                    position.partition != last.partition || position.sequence <= last.sequence
                };
                let numbers: Vec<usize> = (0..acts.len()).filter(included).collect();
                let until_there = City::of(numbers.iter().map(|number| &acts[*number])).await;
                let there = until_there.audit().await;
                for code_id in &codes {
                    let history = whole.history(*code_id, instant(at)).await;
                    prop_assert_eq!(history, then.history(*code_id, None).await);
                    if let Ok(of_prefix) = then.codes(*code_id, instant(at)).await {
                        prop_assert_eq!(whole.codes(*code_id, instant(at)).await, Ok(of_prefix));
                    }
                    let history = whole.history(*code_id, position(last)).await;
                    // Positions of two partitions have no order.
                    if history != Err(Code::InvalidRequest) {
                        prop_assert_eq!(history, there.history(*code_id, None).await);
                        if let Ok(of_prefix) = there.codes(*code_id, position(last)).await {
                            prop_assert_eq!(whole.codes(*code_id, position(last)).await, Ok(of_prefix));
                        }
                    }
                }
            }
            Ok(())
        })?;
    }
}

/// A holder has a code that is reported lost and replaced; the new one expires.
fn loss_and_expiry() -> Vec<Act> {
    let (first, second) = (code(0, 2, 1), code(0, 2, 2));
    let lost = Event::CodeReportedLost(CodeReportedLost {
        code: first,
        acting_guardian: None,
    });
    vec![
        (
            holder(0),
            Event::HolderRegistered(HolderRegistered { holder: holder(0) }),
            START,
        ),
        (holder(0), issued(first, None, START + 10), START + 10),
        (holder(0), lost, START + 20),
        (holder(0), issued(second, None, START + 30), START + 30),
    ]
}

#[tokio::test]
async fn a_code_lives_in_the_past_and_dies_when_the_log_says() {
    let city = City::of(loss_and_expiry().iter()).await;
    let running = city.audit().await;
    let (first, second) = (CodeId([0, 2, 0, 0, 0, 0, 0, 1]), CodeId([0, 2, 0, 0, 0, 0, 0, 2]));
    let codes_at = async |at: i64| {
        let codes = running.codes(second, instant(START + at)).await.expect("codes");
        codes
            .iter()
            .map(|code| (code.code_id.clone(), code.state()))
            .collect::<Vec<_>>()
    };
    assert_eq!(codes_at(9).await, []);
    assert_eq!(codes_at(10).await, [(first.to_string(), CodeLife::Valid)]);
    assert_eq!(codes_at(20).await, [(first.to_string(), CodeLife::ReportedLost)]);
    assert_eq!(codes_at(30).await, [(second.to_string(), CodeLife::Valid)]);
    assert_eq!(codes_at(30 + VALIDITY).await, [(second.to_string(), CodeLife::Expired)]);
    assert_eq!(running.history(second, instant(START + 29)).await, Err(Code::NotFound));
    let entries = running.history(first, instant(START + 29)).await.expect("a history");
    assert_eq!(entries.len(), 2);
    // The slot of a code that was issued later has the earlier code.
    let message = proto::HistoryRequest {
        subject: Some(Subject::CodeId(second.to_string())),
        as_of: instant(START + 29),
        purpose: "a test".into(),
        whole_slot: true,
    };
    let grpc = AuditGrpc(Arc::clone(&running.audit));
    let answer = grpc
        .history(Running::request(message, Role::Admin))
        .await
        .expect("a history");
    assert_eq!(answer.into_inner().entries, entries);
}

#[tokio::test]
async fn moments_that_the_log_does_not_reach_are_refused() {
    let city = City::of(loss_and_expiry().iter()).await;
    let running = city.audit().await;
    let first = CodeId([0, 2, 0, 0, 0, 0, 0, 1]);
    let (own, other) = match city.positions[0].partition.0 {
        0 => (0, 1),
        own => (own, 0),
    };
    for (as_of, refused) in [
        (instant(START - 1), Code::NotFound),
        (instant(START + 2_000_000), Code::InvalidRequest),
        (position(Position::new(own, 5)), Code::InvalidRequest),
        (position(Position::new(other, 1)), Code::InvalidRequest),
        (position(Position::new(7, 1)), Code::InvalidRequest),
    ] {
        assert_eq!(running.history(first, as_of).await, Err(refused), "{as_of:?}");
        assert_eq!(running.codes(first, as_of).await, Err(refused), "{as_of:?}");
    }
    let state = running.audit.state(START - 1, false, &mut Patient).await;
    assert_eq!(state.map_err(|problem| problem.code()), Err(Code::NotFound));
}

#[tokio::test]
async fn a_question_about_the_past_needs_a_purpose_and_one_about_the_present_does_not() {
    let city = City::of(loss_and_expiry().iter()).await;
    let running = city.audit().await;
    let grpc = AuditGrpc(Arc::clone(&running.audit));
    let history = |as_of| proto::HistoryRequest {
        subject: Some(Subject::CodeId("0002000000000001".into())),
        as_of,
        ..proto::HistoryRequest::default()
    };
    grpc.history(Running::request(history(None), Role::Auditor))
        .await
        .expect("a history");
    let refused = grpc
        .history(Running::request(history(instant(START + 10)), Role::Auditor))
        .await;
    assert_eq!(
        refused.map_err(|status| Problem::from(status).code()).err(),
        Some(Code::InvalidRequest)
    );
}

/// Eleven valid codes of one kind, twelve lost ones, and one revoked of another kind.
fn crowd() -> Vec<Act> {
    let mut acts = Vec::new();
    for number in 0..24 {
        let code = code(1, if number == 23 { 3 } else { 2 }, number);
        acts.push((holder(number), issued(code, None, START), START));
        if number >= 11 {
            let event = match number {
                23 => Event::CodeRevoked(CodeRevoked {
                    code,
                    reason: Sealed(vec![1; 8]),
                }),
                _ => Event::CodeReportedLost(CodeReportedLost {
                    code,
                    acting_guardian: None,
                }),
            };
            acts.push((holder(number), event, START + 1));
        }
    }
    acts
}

#[tokio::test]
async fn small_counts_of_the_city_are_hidden_and_only_auditors_may_ask() {
    let city = City::of(crowd().iter()).await;
    let running = city.audit().await;
    let counts = |result: proto::StateResult| {
        let by = result
            .by
            .iter()
            .map(|group| (group.state(), group.count))
            .collect::<Vec<_>>();
        (result.codes, by)
    };
    let exact = counts(running.state(START + 2, true).await);
    let (valid, lost, revoked) = (CodeLife::Valid, CodeLife::ReportedLost, CodeLife::Revoked);
    assert_eq!(
        exact,
        (Some(24), vec![(valid, Some(11)), (lost, Some(12)), (revoked, Some(1))])
    );
    let shown = counts(running.state(START + 2, false).await);
    assert_eq!(
        shown,
        (Some(24), vec![(valid, None), (lost, Some(12)), (revoked, None)])
    );

    let grpc = AuditGrpc(Arc::clone(&running.audit));
    let asked = |exact| proto::StateRequest {
        as_of: START + 2,
        exact,
        ..proto::StateRequest::default()
    };
    let refused = grpc.state(Running::request(asked(false), Role::Officer)).await;
    assert_eq!(
        refused.map_err(|status| Problem::from(status).code()).err(),
        Some(Code::NotAllowed)
    );
    let updates = grpc
        .state(Running::request(asked(true), Role::Auditor))
        .await
        .expect("updates");
    let last = updates.into_inner().collect::<Vec<_>>().await.pop();
    let Some(Ok(proto::StateResponse {
        update: Some(Update::Result(result)),
    })) = last
    else {
        panic!("{last:?}");
    };
    assert_eq!(counts(result), exact);
}

#[tokio::test]
async fn counts_of_an_index_that_was_restarted_are_those_of_a_fresh_one() {
    let (mut city, acts) = (City::empty(), crowd());
    for part in acts.chunks(7) {
        for act in part {
            let position = append(&city.store, city.positions.len(), act).await;
            city.positions.push(position);
        }
        let running = city.audit().await;
        running.state(START + 2, true).await;
        running.stop().await;
    }
    let restarted = city.audit().await;
    let folder = tempfile::tempdir().expect("a folder");
    let fresh = Running::open(&city, folder.path()).await;
    for at in [START, START + 1, START + VALIDITY] {
        let counts = restarted.state(at, true).await;
        assert_eq!(counts, fresh.state(at, true).await);
        assert_eq!(counts.codes, Some(24));
    }
}
