//! One call: the bytes that it holds, whether it waits for its client, and its end if it takes too long.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use parking_lot::Mutex;

use super::connection::{Closing, Connection};
use super::connections::ClientClass;
use super::limits::millis;
use crate::problem::{Code, Problem};

/// Why a call is refused or ended by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The body of the request did not arrive in time.
    Incomplete,
    /// Request bodies and unread answers hold too many bytes.
    Bytes,
    /// There are too many calls.
    Calls,
}

impl Refusal {
    pub(super) fn problem(self) -> Problem {
        match self {
            Self::Incomplete => Problem::new(
                Code::InvalidRequest,
                "the request was not complete in time; nothing was done",
            )
            .with_status(408),
            Self::Bytes => Problem::new(
                Code::Unavailable,
                "requests and unread answers hold all the memory that is available; nothing was done",
            )
            .with_retry_after(1),
            Self::Calls => Problem::new(Code::Unavailable, "there are too many calls at once; nothing was done")
                .with_retry_after(1),
        }
    }

    pub(super) fn count(self) {
        let reason = match self {
            Self::Incomplete => "incomplete",
            Self::Bytes => "bytes",
            Self::Calls => "calls",
        };
        metrics::counter!("citycode_server_calls_refused_total", "reason" => reason).increment(1);
    }
}

/// A call, from its head until the last byte of its answer was handed to the operating system.
#[derive(Debug)]
pub(crate) struct Call {
    pub(super) id: u64,
    pub(super) connection: Arc<Connection>,
    control: Option<Arc<Control>>,
    authenticated: AtomicBool,
    began: u64,
    request: Mutex<RequestState>,
    /// Since when the client has not read the answer; 0 while it reads, or while there is none.
    unread_since: AtomicU64,
    /// Bytes counted for it, in each of the two budgets.
    held: AtomicUsize,
    held_anonymously: AtomicUsize,
}

/// The progress of the request. Its body has to arrive in time only until there is an answer: a call that is answered
/// before the end of its request is a stream, and a gate's stream of scans may pause for hours.
#[derive(Debug, Default)]
struct RequestState {
    ended: bool,
    answered: bool,
    /// Since when the handler has waited for the next byte; 0 while it does not.
    waiting_since: u64,
    waker: Option<Waker>,
    refusal: Option<Refusal>,
}

impl Call {
    pub(super) fn new(id: u64, connection: &Arc<Connection>, control: Option<Arc<Control>>) -> Arc<Self> {
        Arc::new(Self {
            id,
            connection: Arc::clone(connection),
            control,
            authenticated: AtomicBool::new(false),
            began: connection.server.now(),
            request: Mutex::default(),
            unread_since: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            held_anonymously: AtomicUsize::new(0),
        })
    }

    /// Records that the caller presented a valid token.
    pub(super) fn authenticate(&self) {
        if !self.authenticated.swap(true, Ordering::SeqCst) {
            let server = &self.connection.server;
            server.authenticated_call(self.id);
            server.promote(&self.connection, ClientClass::Authenticated);
        }
    }

    fn is_anonymous(&self) -> bool {
        !self.authenticated.load(Ordering::SeqCst)
    }

    /// Whether received bytes of its request count. After the answer has begun they do not, because a stream of scans
    /// may last for hours; without a token they always do.
    pub(super) fn counts_bytes(&self) -> bool {
        self.is_anonymous() || !self.request.lock().answered
    }

    /// Records that there is an answer. Returns the reason if a refusal is to be sent instead.
    pub(super) fn has_answer(&self) -> Option<Refusal> {
        let refusal = {
            let mut request = self.request.lock();
            request.answered = true;
            request.waiting_since = 0;
            request.refusal
        };
        self.release();
        refusal
    }

    /// Counts bytes that it holds.
    ///
    /// # Errors
    /// A budget is exhausted.
    pub(super) fn hold(&self, bytes: usize) -> Result<(), Refusal> {
        let anonymous = self.is_anonymous();
        if !self.connection.hold(bytes) {
            return Err(Refusal::Bytes);
        }
        if !self.connection.server.hold(bytes, anonymous) {
            self.connection.held.fetch_sub(bytes, Ordering::Relaxed);
            self.connection
                .server
                .log
                .warn("a call was refused: requests and unread answers hold too much memory");
            return Err(Refusal::Bytes);
        }
        let held = if anonymous { &self.held_anonymously } else { &self.held };
        held.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Releases all bytes that it holds.
    pub(super) fn release(&self) {
        for (held, anonymous) in [(&self.held, false), (&self.held_anonymously, true)] {
            let bytes = held.swap(0, Ordering::Relaxed);
            if bytes > 0 {
                self.connection.held.fetch_sub(bytes, Ordering::Relaxed);
                self.connection.server.release(bytes, anonymous);
            }
        }
    }

    /// Returns why the request cannot be read to its end, if so. Otherwise `waker` is woken when that happens.
    pub(super) fn wait_for_request(&self, waker: &Waker) -> Option<Refusal> {
        let mut request = self.request.lock();
        if request.refusal.is_none() {
            if !request.answered && request.waiting_since == 0 {
                request.waiting_since = self.connection.server.now();
            }
            request.waker = Some(waker.clone());
        }
        request.refusal
    }

    /// Records that a part of the request arrived.
    pub(super) fn request_goes_on(&self) {
        self.request.lock().waiting_since = 0;
    }

    /// Records that the request is complete, or that its body was dropped.
    pub(super) fn request_ended(&self) {
        let mut request = self.request.lock();
        request.ended = true;
        request.waiting_since = 0;
        request.waker = None;
    }

    pub(super) fn refuse(&self, refusal: Refusal) {
        let waker = {
            let mut request = self.request.lock();
            request.refusal.get_or_insert(refusal);
            request.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Records that a part of the answer was passed on: the client has to read it, until more is polled.
    pub(super) fn answered(&self) {
        self.unread_since.store(self.connection.server.now(), Ordering::Relaxed);
    }

    /// Records that the client has read all that was passed on.
    pub(super) fn is_read(&self) {
        self.unread_since.store(0, Ordering::Relaxed);
    }

    /// Ends the call if it exceeds a time limit.
    pub(super) fn enforce_time_limits(&self, now: u64) {
        let limits = &self.connection.server.limits;
        let is_over = |since: u64, limit| since != 0 && now.saturating_sub(since) > millis(limit);
        let incomplete = {
            let request = self.request.lock();
            !request.ended
                && !request.answered
                && request.waiting_since != 0
                && (is_over(request.waiting_since, limits.body_stall) || is_over(self.began, limits.body))
        };
        if incomplete {
            self.refuse(Refusal::Incomplete);
        }
        if is_over(self.unread_since.load(Ordering::Relaxed), limits.unread) {
            self.end(Closing::Unread);
        }
    }

    /// Ends the call without an answer: resets the HTTP/2 stream, or closes the HTTP/1 connection, which has no other
    /// call.
    pub(super) fn end(&self, why: Closing) {
        match &self.control {
            None => self.connection.close(why),
            Some(control) if control.end() => {
                // If another task reads the request, as in server reflection, the stream is reset only when that task
                // drops the request's body.
                self.refuse(Refusal::Calls);
                metrics::counter!("citycode_server_calls_refused_total", "reason" => why.reason()).increment(1);
            }
            // The last piece of the unread answer is already in the connection. A peer's connection carries other
            // callers' calls and stays open: there the bytes count until they are read.
            Some(_) if self.connection.class() == ClientClass::Peer => {}
            Some(_) => self.connection.close(why),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.release();
        self.connection.server.ended_call(self.id, self.is_anonymous());
        self.connection.ended(self.id);
    }
}

/// Ends the task that answers one HTTP/2 stream, which resets the stream.
///
/// A task that has not started, or has to end and has not ended, holds memory that the limit on calls does not count.
/// It is counted here instead, per connection and in total (`stream_backlog`).
#[derive(Debug)]
pub(super) struct Control {
    connection: Arc<Connection>,
    state: Mutex<ControlState>,
}

#[derive(Debug)]
struct ControlState {
    stage: Stage,
    waker: Option<Waker>,
}

/// The stage of a stream's task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has not been polled.
    Waiting,
    /// Its call has begun.
    Running,
    /// It has to end.
    Ending,
    Ended,
}

impl Stage {
    fn is_backlog(self) -> bool {
        matches!(self, Self::Waiting | Self::Ending)
    }
}

impl Control {
    /// The control of a task that has not been polled.
    pub(super) fn of(connection: &Arc<Connection>) -> Arc<Self> {
        connection.stream_backlog.fetch_add(1, Ordering::Relaxed);
        connection.server.stream_backlog.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            connection: Arc::clone(connection),
            state: Mutex::new(ControlState {
                stage: Stage::Waiting,
                waker: None,
            }),
        })
    }

    fn enter(&self, state: &mut ControlState, stage: Stage) {
        let (before, after) = (state.stage.is_backlog(), stage.is_backlog());
        state.stage = stage;
        for backlog in [&self.connection.stream_backlog, &self.connection.server.stream_backlog] {
            match (before, after) {
                (false, true) => backlog.fetch_add(1, Ordering::Relaxed),
                (true, false) => backlog.fetch_sub(1, Ordering::Relaxed),
                _ => continue,
            };
        }
    }

    /// Records that its call begins.
    pub(super) fn has_begun(&self) {
        self.enter(&mut self.state.lock(), Stage::Running);
    }

    /// Ends the task; returns whether it was still there.
    fn end(&self) -> bool {
        let mut state = self.state.lock();
        if state.stage == Stage::Ended {
            return false;
        }
        self.enter(&mut state, Stage::Ending);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        true
    }

    pub(super) fn has_ended(&self) {
        self.enter(&mut self.state.lock(), Stage::Ended);
    }

    /// Waits until the task has to end.
    pub(super) async fn must_end(&self) {
        poll_fn(|context| {
            let mut state = self.state.lock();
            if state.stage == Stage::Ending {
                return Poll::Ready(());
            }
            state.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Control {
    /// A task that is dropped unfinished, with its runtime or its connection, no longer counts as backlog.
    fn drop(&mut self) {
        self.has_ended();
    }
}

/// The handle to its call that a request carries, for the layer that authenticates it.
#[derive(Debug, Clone)]
pub struct CallHandle(pub(super) Arc<Call>);

impl CallHandle {
    /// Counts the call and its connection as authenticated: the caller presented a valid token.
    pub fn authenticate(&self) {
        self.0.authenticate();
    }
}

/// Marks a call as in progress while this process has to do something for it; the shutdown waits for such calls.
#[derive(Debug)]
pub(super) struct InProgress {
    connection: Arc<Connection>,
    working: bool,
}

impl InProgress {
    /// Begins a call, which this process has to answer.
    pub(super) fn begin(connection: &Arc<Connection>) -> Self {
        connection.working.fetch_add(1, Ordering::SeqCst);
        Self {
            connection: Arc::clone(connection),
            working: true,
        }
    }

    /// Sets whether this process works on the call or waits for its client.
    pub(super) fn set_working(&mut self, working: bool) {
        if working == self.working {
            return;
        }
        self.working = working;
        if working {
            self.connection.working.fetch_add(1, Ordering::SeqCst);
        } else {
            self.connection.working.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.set_working(false);
    }
}
