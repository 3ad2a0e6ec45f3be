//! One open connection: what it counts as, which calls are under way on it, and when it has taken too long.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::call::Call;
use super::connections::{Connections, Standing};
use super::limits::millis;

/// Streams of one connection without a token that may wait for their first turn while the server is behind. A gate that
/// comes back has one call under way.
const ANONYMOUS_STREAM_BACKLOG: usize = 16;

/// Calls of a connection without a token that end for the sake of others before the connection does. A probe has one call,
/// which it makes again.
const MOST_ROOM_MADE: usize = 512;

/// Why a connection ends before its client wants it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    /// No request came, or only a part of its head.
    NoRequest,
    /// It had no call for too long.
    Idle,
    /// The client takes nothing of what is sent.
    Unread,
    /// A new connection takes its place.
    MakesRoom,
    /// The server stops.
    Stopping,
    /// The server stops, and nothing moves here for which it would wait; or its calls had their time.
    Cut,
}

impl Closing {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::NoRequest => "no_request",
            Self::Idle => "idle",
            Self::Unread => "unread",
            Self::MakesRoom => "makes_room",
            Self::Stopping => "stopping",
            Self::Cut => "cut",
        }
    }

    /// Whether the client hears of it first: it has done nothing wrong.
    pub(super) fn is_graceful(self) -> bool {
        matches!(self, Self::Idle | Self::Stopping)
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) remote: SocketAddr,
    /// What its address counts as.
    pub(super) origin: IpAddr,
    pub(super) server: Arc<Connections>,
    standing: AtomicU8,
    calls: Mutex<BTreeMap<u64, Weak<Call>>>,
    calls_under_way: AtomicUsize,
    /// Calls for which this process still owes something.
    pub(super) working: AtomicUsize,
    /// Bytes received and sent.
    pub(super) moved: AtomicU64,
    /// Bytes that its calls hold.
    pub(super) held: AtomicUsize,
    /// HTTP/2 streams of which the task did not begin yet, or has to end and did not.
    pub(super) stream_backlog: AtomicUsize,
    /// Its calls that ended to make room, and its streams that were reset.
    made_room: AtomicUsize,
    accepted: u64,
    /// Since when no call is under way.
    idle_since: AtomicU64,
    /// Whether a request has ever come.
    asked: AtomicBool,
    /// Since when the beginning of an HTTP/1 request head is there; 0 for none.
    head_since: AtomicU64,
    is_http2: AtomicBool,
    /// Since when the operating system takes nothing more to send; 0 while it does.
    blocked_since: AtomicU64,
    closing: watch::Sender<Option<Closing>>,
}

impl Connection {
    pub(super) fn new(
        id: u64,
        remote: SocketAddr,
        origin: IpAddr,
        standing: Standing,
        server: &Arc<Connections>,
    ) -> Self {
        let now = server.now();
        Self {
            id,
            remote,
            origin,
            server: Arc::clone(server),
            standing: AtomicU8::new(standing as u8),
            calls: Mutex::default(),
            calls_under_way: AtomicUsize::new(0),
            working: AtomicUsize::new(0),
            moved: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            stream_backlog: AtomicUsize::new(0),
            made_room: AtomicUsize::new(0),
            accepted: now,
            idle_since: AtomicU64::new(now),
            asked: AtomicBool::new(false),
            head_since: AtomicU64::new(0),
            is_http2: AtomicBool::new(false),
            blocked_since: AtomicU64::new(0),
            closing: watch::Sender::new(None),
        }
    }

    pub(super) fn standing(&self) -> Standing {
        match self.standing.load(Ordering::SeqCst) {
            0 => Standing::Anonymous,
            1 => Standing::Authenticated,
            _ => Standing::Peer,
        }
    }

    pub(super) fn set_standing(&self, standing: Standing) {
        self.standing.store(standing as u8, Ordering::SeqCst);
    }

    /// Whether it was accepted longer ago than this.
    pub(super) fn is_older(&self, now: u64, than: Duration) -> bool {
        now.saturating_sub(self.accepted) >= millis(than)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.calls_under_way.load(Ordering::SeqCst) == 0
    }

    /// Its client speaks HTTP/2.
    pub(super) fn speaks_http2(&self) {
        self.is_http2.store(true, Ordering::SeqCst);
        self.idle_since.store(self.server.now(), Ordering::SeqCst);
    }

    /// Bytes came.
    pub(super) fn received(&self, bytes: usize) {
        self.moved.fetch_add(bytes as u64, Ordering::Relaxed);
        let head_may_begin = self.is_idle() && self.head_since.load(Ordering::Relaxed) == 0;
        if head_may_begin && !self.is_http2.load(Ordering::Relaxed) {
            self.head_since.store(self.server.now(), Ordering::Relaxed);
        }
    }

    /// Bytes were sent.
    pub(super) fn sent(&self, bytes: usize) {
        self.moved.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Whether the operating system takes what is to be sent.
    pub(super) fn blocked(&self, is_blocked: bool) {
        let was_blocked = self.blocked_since.load(Ordering::Relaxed) != 0;
        if is_blocked != was_blocked {
            let since = if is_blocked { self.server.now() } else { 0 };
            self.blocked_since.store(since, Ordering::Relaxed);
        }
    }

    pub(super) fn began(&self, call: &Arc<Call>) {
        self.asked.store(true, Ordering::SeqCst);
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

    /// Counts bytes that one of its calls holds; whether there was room on this connection.
    pub(super) fn hold(&self, bytes: usize) -> bool {
        let limits = &self.server.limits;
        let most = match self.standing() {
            Standing::Anonymous => limits.anonymous_bytes_per_connection,
            Standing::Authenticated => limits.bytes_per_connection,
            Standing::Peer => limits.peer_bytes_per_connection,
        };
        if self.held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= most {
            return true;
        }
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        false
    }

    /// One of its calls ended to make room for others', or was reset. A connection without a token of which that happens
    /// again and again only costs work: it ends.
    pub(super) fn makes_room(&self) {
        let times = self.made_room.fetch_add(1, Ordering::Relaxed) + 1;
        if times >= MOST_ROOM_MADE && self.standing() == Standing::Anonymous {
            self.close(Closing::MakesRoom);
        }
    }

    /// Whether a further stream has to be reset: the server is behind with streams, and this client, who has shown no
    /// token, with more than its part of them.
    pub(super) fn has_too_many_streams(&self) -> bool {
        self.standing() == Standing::Anonymous
            && self.stream_backlog.load(Ordering::Relaxed) >= ANONYMOUS_STREAM_BACKLOG
            && self.server.stream_backlog.load(Ordering::Relaxed) >= self.server.limits.anonymous_calls
    }

    /// Ends what has taken too long.
    pub(super) fn look(&self, now: u64) {
        let limits = &self.server.limits;
        let is_over = |since: u64, limit| since != 0 && now.saturating_sub(since) > millis(limit);
        if is_over(self.blocked_since.load(Ordering::Relaxed), limits.unread) {
            return self.close(Closing::Unread);
        }
        if self.is_idle() {
            let no_request = !self.asked.load(Ordering::SeqCst)
                && !self.is_http2.load(Ordering::SeqCst)
                && is_over(self.accepted, limits.request_head);
            if no_request || is_over(self.head_since.load(Ordering::Relaxed), limits.request_head) {
                return self.close(Closing::NoRequest);
            }
            let idle = match self.standing() {
                Standing::Anonymous => limits.anonymous_idle,
                Standing::Authenticated => limits.idle,
                Standing::Peer => return,
            };
            if is_over(self.idle_since.load(Ordering::SeqCst), idle) {
                self.close(Closing::Idle);
            }
            return;
        }
        let calls: Vec<_> = self.calls.lock().values().filter_map(Weak::upgrade).collect();
        for call in calls {
            call.look(now);
        }
    }

    /// Ends it. The first reason counts, unless the client is in the middle of a farewell and has to go at once.
    pub(super) fn close(&self, why: Closing) {
        let is_news = self.closing.send_if_modified(|closing| {
            let is_news = closing.is_none_or(|before| before.is_graceful() && !why.is_graceful());
            if is_news {
                *closing = Some(why);
            }
            is_news
        });
        if is_news {
            metrics::counter!("citycode_server_connections_closed_total", "reason" => why.reason()).increment(1);
        }
    }

    /// Waits until it has to end.
    pub(super) async fn wait_for_end(&self) {
        self.wait_for(|_| true).await;
    }

    /// Waits until it has to end without a farewell.
    pub(super) async fn wait_for_abrupt_end(&self) {
        self.wait_for(|why| !why.is_graceful()).await;
    }

    async fn wait_for(&self, which: impl Fn(Closing) -> bool) {
        // The sender lives in `self`.
        let _ = self
            .closing
            .subscribe()
            .wait_for(|closing| closing.is_some_and(&which))
            .await;
    }
}
