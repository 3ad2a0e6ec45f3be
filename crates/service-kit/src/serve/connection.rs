//! One open connection: its class, its calls in flight, and its time limits.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::call::Call;
use super::connections::{ClientClass, Connections};
use super::limits::millis;

/// Streams of one connection without a token that may wait for their first poll while the server has a backlog. A gate
/// that reconnects has one call in flight.
const ANONYMOUS_STREAM_BACKLOG: usize = 16;

/// Calls of a connection without a token that may be evicted before the connection is closed. A health probe has one
/// call, which it repeats.
const MAX_EVICTIONS: usize = 512;

/// Why the server closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    /// No request arrived, or only a part of its head.
    NoRequest,
    /// It had no call for too long.
    Idle,
    /// The client does not read what is sent.
    Unread,
    /// It was closed to admit a new connection, or because too many of its calls were evicted.
    Evicted,
    /// The server stops.
    Stopping,
    /// The server stops, and the connection is quiet or its calls have used up their time.
    Cut,
}

impl Closing {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::NoRequest => "no_request",
            Self::Idle => "idle",
            Self::Unread => "unread",
            Self::Evicted => "makes_room",
            Self::Stopping => "stopping",
            Self::Cut => "cut",
        }
    }

    /// Whether the connection is shut down gracefully (HTTP/2 GOAWAY) before it is closed.
    pub(super) fn is_graceful(self) -> bool {
        matches!(self, Self::Idle | Self::Stopping)
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) remote: SocketAddr,
    /// The address or network as which its remote address is counted.
    pub(super) origin: IpAddr,
    pub(super) server: Arc<Connections>,
    class: AtomicU8,
    calls: Mutex<BTreeMap<u64, Weak<Call>>>,
    calls_under_way: AtomicUsize,
    /// Calls on which this process works.
    pub(super) working: AtomicUsize,
    /// Bytes received and sent.
    pub(super) moved: AtomicU64,
    /// Bytes that its calls hold.
    pub(super) held: AtomicUsize,
    /// HTTP/2 streams whose task has not started, or has to end and has not ended.
    pub(super) stream_backlog: AtomicUsize,
    /// Number of its calls that were evicted and of its streams that were reset.
    evictions: AtomicUsize,
    accepted: u64,
    /// Since when no call is in flight.
    idle_since: AtomicU64,
    /// Whether a request has ever arrived.
    had_request: AtomicBool,
    /// Since when a part of an HTTP/1 request head has been there; 0 for none.
    head_since: AtomicU64,
    is_http2: AtomicBool,
    /// Since when the operating system has accepted no more bytes to send; 0 while it does.
    blocked_since: AtomicU64,
    closing: watch::Sender<Option<Closing>>,
}

impl Connection {
    pub(super) fn new(
        id: u64,
        remote: SocketAddr,
        origin: IpAddr,
        class: ClientClass,
        server: &Arc<Connections>,
    ) -> Self {
        let now = server.now();
        Self {
            id,
            remote,
            origin,
            server: Arc::clone(server),
            class: AtomicU8::new(class as u8),
            calls: Mutex::default(),
            calls_under_way: AtomicUsize::new(0),
            working: AtomicUsize::new(0),
            moved: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            stream_backlog: AtomicUsize::new(0),
            evictions: AtomicUsize::new(0),
            accepted: now,
            idle_since: AtomicU64::new(now),
            had_request: AtomicBool::new(false),
            head_since: AtomicU64::new(0),
            is_http2: AtomicBool::new(false),
            blocked_since: AtomicU64::new(0),
            closing: watch::Sender::new(None),
        }
    }

    pub(super) fn class(&self) -> ClientClass {
        match self.class.load(Ordering::SeqCst) {
            0 => ClientClass::Anonymous,
            1 => ClientClass::Authenticated,
            _ => ClientClass::Peer,
        }
    }

    pub(super) fn set_class(&self, class: ClientClass) {
        self.class.store(class as u8, Ordering::SeqCst);
    }

    /// Whether it was accepted longer ago than `than`.
    pub(super) fn is_older(&self, now: u64, than: Duration) -> bool {
        now.saturating_sub(self.accepted) >= millis(than)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.calls_under_way.load(Ordering::SeqCst) == 0
    }

    /// Records that its client uses HTTP/2.
    pub(super) fn speaks_http2(&self) {
        self.is_http2.store(true, Ordering::SeqCst);
        self.idle_since.store(self.server.now(), Ordering::SeqCst);
    }

    /// Records received bytes.
    pub(super) fn received(&self, bytes: usize) {
        self.moved.fetch_add(bytes as u64, Ordering::Relaxed);
        let head_may_begin = self.is_idle() && self.head_since.load(Ordering::Relaxed) == 0;
        if head_may_begin && !self.is_http2.load(Ordering::Relaxed) {
            self.head_since.store(self.server.now(), Ordering::Relaxed);
        }
    }

    /// Records sent bytes.
    pub(super) fn sent(&self, bytes: usize) {
        self.moved.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Records whether the operating system accepts bytes to send.
    pub(super) fn blocked(&self, is_blocked: bool) {
        let was_blocked = self.blocked_since.load(Ordering::Relaxed) != 0;
        if is_blocked != was_blocked {
            let since = if is_blocked { self.server.now() } else { 0 };
            self.blocked_since.store(since, Ordering::Relaxed);
        }
    }

    pub(super) fn began(&self, call: &Arc<Call>) {
        self.had_request.store(true, Ordering::SeqCst);
        self.calls_under_way.fetch_add(1, Ordering::SeqCst);
        self.head_since.store(0, Ordering::Relaxed);
        self.calls.lock().insert(call.id, Arc::downgrade(call));
    }

    pub(super) fn ended(&self, call: u64) {
        self.calls.lock().remove(&call);
        self.head_since.store(0, Ordering::Relaxed);
        if self.calls_under_way.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.idle_since.store(self.server.now(), Ordering::SeqCst);
        }
    }

    /// Counts bytes that one of its calls holds; returns whether they fit into this connection's limit.
    pub(super) fn hold(&self, bytes: usize) -> bool {
        let limits = &self.server.limits;
        let most = match self.class() {
            ClientClass::Anonymous => limits.anonymous_bytes_per_connection,
            ClientClass::Authenticated => limits.bytes_per_connection,
            ClientClass::Peer => limits.peer_bytes_per_connection,
        };
        if self.held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= most {
            return true;
        }
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        false
    }

    /// Counts a call that was evicted or a stream that was reset. A connection without a token with too many of them is
    /// closed, because it only costs work.
    pub(super) fn count_eviction(&self) {
        let times = self.evictions.fetch_add(1, Ordering::Relaxed) + 1;
        if times >= MAX_EVICTIONS && self.class() == ClientClass::Anonymous {
            self.close(Closing::Evicted);
        }
    }

    /// Whether a further stream has to be reset: the server has a backlog of streams, and this client, which has
    /// presented no token, has more than its share of it.
    pub(super) fn has_too_many_streams(&self) -> bool {
        self.class() == ClientClass::Anonymous
            && self.stream_backlog.load(Ordering::Relaxed) >= ANONYMOUS_STREAM_BACKLOG
            && self.server.stream_backlog.load(Ordering::Relaxed) >= self.server.limits.anonymous_calls
    }

    /// Closes the connection, or ends its calls, if a time limit is exceeded.
    pub(super) fn enforce_time_limits(&self, now: u64) {
        let limits = &self.server.limits;
        let is_over = |since: u64, limit| since != 0 && now.saturating_sub(since) > millis(limit);
        if is_over(self.blocked_since.load(Ordering::Relaxed), limits.unread) {
            return self.close(Closing::Unread);
        }
        if self.is_idle() {
            let no_request = !self.had_request.load(Ordering::SeqCst)
                && !self.is_http2.load(Ordering::SeqCst)
                && is_over(self.accepted, limits.request_head);
            if no_request || is_over(self.head_since.load(Ordering::Relaxed), limits.request_head) {
                return self.close(Closing::NoRequest);
            }
            let idle = match self.class() {
                ClientClass::Anonymous => limits.anonymous_idle,
                ClientClass::Authenticated => limits.idle,
                ClientClass::Peer => return,
            };
            if is_over(self.idle_since.load(Ordering::SeqCst), idle) {
                self.close(Closing::Idle);
            }
            return;
        }
        let calls: Vec<_> = self.calls.lock().values().filter_map(Weak::upgrade).collect();
        for call in calls {
            call.enforce_time_limits(now);
        }
    }

    /// Closes it. The first reason counts, except that an abrupt close overrides a graceful one.
    pub(super) fn close(&self, why: Closing) {
        let changed = self.closing.send_if_modified(|closing| {
            let changes = closing.is_none_or(|before| before.is_graceful() && !why.is_graceful());
            if changes {
                *closing = Some(why);
            }
            changes
        });
        if changed {
            metrics::counter!("citycode_server_connections_closed_total", "reason" => why.reason()).increment(1);
        }
    }

    /// Waits until it has to be closed.
    pub(super) async fn wait_for_end(&self) {
        self.wait_for(|_| true).await;
    }

    /// Waits until it has to be closed abruptly.
    pub(super) async fn wait_for_abrupt_end(&self) {
        self.wait_for(|why| !why.is_graceful()).await;
    }

    async fn wait_for(&self, which: impl Fn(Closing) -> bool) {
        // `self` owns the sender, so this cannot fail.
        let _ = self
            .closing
            .subscribe()
            .wait_for(|closing| closing.is_some_and(&which))
            .await;
    }
}
