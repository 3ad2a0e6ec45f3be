//! All connections of one server: admission, eviction when there are too many, and what they hold together.
//!
//! No connection is rejected while an anonymous connection is open: the oldest of those is evicted, idle ones first. A
//! client that occupies connections therefore loses them to new ones, and cannot lock out callers with a token.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::call::{Call, Control};
use super::connection::{Closing, Connection};
use super::limits::Limits;
use super::throttle::Throttle;

/// Interval of the checks for quiet connections during shutdown.
const CLOSE_IDLE_INTERVAL: Duration = Duration::from_millis(50);
/// Checks without traffic after which a connection without calls is closed: hyper has sent GOAWAY by then.
const QUIET_CHECKS_WITHOUT_CALL: u32 = 2;
/// Checks without traffic after which a connection is closed whose calls wait for their client: one second, so that a
/// begun answer can still cross a slow network.
const QUIET_CHECKS_WITH_CALLS: u32 = 20;

/// The class of a connection's client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientClass {
    /// No call on the connection has presented a valid token.
    Anonymous,
    /// A call has presented one.
    Authenticated,
    /// A service with a certificate, or a client at a configured address.
    Peer,
}

impl ClientClass {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Authenticated => "authenticated",
            Self::Peer => "peer",
        }
    }
}

/// The connections of one server.
#[derive(Debug)]
pub(super) struct Connections {
    pub(super) limits: Limits,
    begun: Instant,
    open: Mutex<Open>,
    calls: AtomicUsize,
    /// Oldest first.
    anonymous_calls: Mutex<BTreeMap<u64, Weak<Call>>>,
    next_call: AtomicU64,
    bytes: AtomicUsize,
    anonymous_bytes: AtomicUsize,
    /// HTTP/2 streams whose task has not started, or has to end and has not ended.
    pub(super) stream_backlog: AtomicUsize,
    all_closed: Notify,
    pub(super) log: Throttle,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    all: BTreeMap<u64, Arc<Connection>>,
    /// Ids, oldest first.
    anonymous: BTreeMap<u64, Arc<Connection>>,
    addresses: HashMap<IpAddr, Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    anonymous: usize,
    authenticated: usize,
}

/// The unit by which addresses are counted: an IPv4 address, or an IPv6 /64 network, which is what one household gets.
fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the runtime's timer, used for time limits only, never for decisions"
)]
fn instant() -> Instant {
    Instant::now()
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            begun: instant(),
            open: Mutex::default(),
            calls: AtomicUsize::new(0),
            anonymous_calls: Mutex::default(),
            next_call: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
            anonymous_bytes: AtomicUsize::new(0),
            stream_backlog: AtomicUsize::new(0),
            all_closed: Notify::new(),
            log: Throttle::default(),
        })
    }

    /// Milliseconds since this server started; never 0.
    pub(super) fn now(&self) -> u64 {
        let passed = instant().saturating_duration_since(self.begun).as_millis();
        u64::try_from(passed).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Admits a connection; if there are too many, an open one is evicted. `None` if none may be evicted.
    pub(super) fn admit(self: &Arc<Self>, remote: SocketAddr) -> Option<Arc<Connection>> {
        let (limits, origin) = (&self.limits, origin(remote.ip()));
        let class = if limits.is_peer(remote.ip()) {
            ClientClass::Peer
        } else {
            ClientClass::Anonymous
        };
        let mut open = self.open.lock();
        if class == ClientClass::Anonymous {
            let of_address = open.addresses.get(&origin).map_or(0, |counts| counts.anonymous);
            if of_address >= limits.anonymous_connections_per_address {
                // Above the limit two are evicted for each new one, so that an address returns to its limit after a
                // burst.
                let evicted = self.evict_oldest(&mut open, Some(origin));
                if evicted && of_address > limits.anonymous_connections_per_address {
                    self.evict_oldest(&mut open, Some(origin));
                }
            }
            if open.anonymous.len() >= limits.anonymous_connections {
                self.evict_oldest(&mut open, None);
            }
        }
        if open.all.len() >= limits.connections && !self.evict_oldest(&mut open, None) {
            metrics::counter!("citycode_server_connections_closed_total", "reason" => "full").increment(1);
            self.log
                .warn("a connection was refused: all open connections are authenticated or belong to peers");
            return None;
        }
        open.next += 1;
        let id = open.next;
        let connection = Arc::new(Connection::new(id, remote, origin, class, self));
        open.all.insert(id, Arc::clone(&connection));
        if class == ClientClass::Anonymous {
            open.anonymous.insert(id, Arc::clone(&connection));
            open.addresses.entry(origin).or_default().anonymous += 1;
        }
        metrics::gauge!("citycode_server_connections", "standing" => class.name()).increment(1.0);
        Some(connection)
    }

    /// Closes the oldest anonymous connection, of the origin `of` if given; connections without a call first. With an
    /// origin, only connections that had time to present a token are closed: all gates of a station may reconnect at
    /// once.
    fn evict_oldest(&self, open: &mut Open, of: Option<IpAddr>) -> bool {
        let now = self.now();
        let candidates = || {
            let all = open.anonymous.values();
            all.filter(|connection| {
                of.is_none_or(|origin| connection.origin == origin && connection.is_older(now, self.limits.grace))
            })
        };
        let found = candidates().find(|connection| connection.is_idle());
        let Some(oldest) = found.or_else(|| candidates().next()).cloned() else {
            return false;
        };
        oldest.close(Closing::Evicted);
        self.forget(open, &oldest);
        self.log
            .warn("there are too many connections without a token: the oldest was closed for a new one");
        true
    }

    /// Frees a descriptor when the system has none left.
    pub(super) fn evict_for_descriptors(&self) -> bool {
        self.evict_oldest(&mut self.open.lock(), None)
    }

    /// Records that a call on the connection presented a valid token, or its handshake a certificate.
    pub(super) fn promote(&self, connection: &Arc<Connection>, to: ClientClass) {
        if connection.class() != ClientClass::Anonymous {
            return;
        }
        let mut open = self.open.lock();
        // It may have been evicted, or another call may have promoted it.
        if !open.anonymous.contains_key(&connection.id) {
            return;
        }
        let counts = open.addresses.entry(connection.origin).or_default();
        if to == ClientClass::Authenticated {
            if counts.authenticated >= self.limits.authenticated_connections_per_address {
                drop(open);
                self.log.warn(
                    "one address has more authenticated connections than the limit: further ones count as anonymous",
                );
                return;
            }
            counts.authenticated += 1;
        }
        counts.anonymous = counts.anonymous.saturating_sub(1);
        open.anonymous.remove(&connection.id);
        connection.set_class(to);
        metrics::gauge!("citycode_server_connections", "standing" => ClientClass::Anonymous.name()).decrement(1.0);
        metrics::gauge!("citycode_server_connections", "standing" => to.name()).increment(1.0);
    }

    /// Removes a connection that was closed.
    pub(super) fn remove(&self, connection: &Arc<Connection>) {
        let mut open = self.open.lock();
        self.forget(&mut open, connection);
        if open.all.is_empty() {
            self.all_closed.notify_waiters();
        }
    }

    fn forget(&self, open: &mut Open, connection: &Connection) {
        if open.all.remove(&connection.id).is_none() {
            return;
        }
        let class = connection.class();
        metrics::gauge!("citycode_server_connections", "standing" => class.name()).decrement(1.0);
        open.anonymous.remove(&connection.id);
        let Some(counts) = open.addresses.get_mut(&connection.origin) else {
            return;
        };
        match class {
            ClientClass::Anonymous => counts.anonymous = counts.anonymous.saturating_sub(1),
            ClientClass::Authenticated => counts.authenticated = counts.authenticated.saturating_sub(1),
            ClientClass::Peer => {}
        }
        if counts.anonymous == 0 && counts.authenticated == 0 {
            open.addresses.remove(&connection.origin);
        }
    }

    /// Enforces the time limits of all connections and calls. It never returns; drop the future to stop.
    pub(super) async fn enforce_time_limits(self: Arc<Self>) {
        let mut tick = tokio::time::interval(self.limits.check_interval());
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let all: Vec<_> = self.open.lock().all.values().cloned().collect();
            let now = self.now();
            for connection in all {
                connection.enforce_time_limits(now);
            }
        }
    }

    /// Starts the graceful shutdown of every connection.
    pub(super) fn stop(&self) {
        let all: Vec<_> = self.open.lock().all.values().cloned().collect();
        for connection in all {
            connection.close(Closing::Stopping);
        }
    }

    /// Waits until no connection is open.
    pub(super) async fn wait_until_closed(&self) {
        loop {
            let closed = self.all_closed.notified();
            let mut closed = std::pin::pin!(closed);
            closed.as_mut().enable();
            if self.open.lock().all.is_empty() {
                return;
            }
            closed.await;
        }
    }

    /// After [`Connections::stop`], closes every connection without a call in progress as soon as it is quiet. Hyper
    /// alone would wait for a head that never arrives, a client that does not answer the last ping, or an unread
    /// answer. It never returns.
    pub(super) async fn close_idle(&self) {
        let mut seen: HashMap<u64, (u64, u32)> = HashMap::new();
        loop {
            tokio::time::sleep(CLOSE_IDLE_INTERVAL).await;
            let open = self.open.lock().all.clone();
            seen.retain(|id, _| open.contains_key(id));
            for (id, connection) in open {
                let moved = connection.moved.load(Ordering::Relaxed);
                let (last, quiet) = seen.entry(id).or_insert((moved, 0));
                let is_quiet = *last == moved && connection.working.load(Ordering::SeqCst) == 0;
                *quiet = if is_quiet { *quiet + 1 } else { 0 };
                *last = moved;
                let enough = if connection.is_idle() {
                    QUIET_CHECKS_WITHOUT_CALL
                } else {
                    QUIET_CHECKS_WITH_CALLS
                };
                if *quiet >= enough {
                    connection.close(Closing::Cut);
                }
            }
        }
    }

    /// Closes every connection at once. Returns whether a call was in flight on any of them.
    pub(super) fn cut(&self) -> bool {
        let all: Vec<_> = self.open.lock().all.values().cloned().collect();
        let mut are_cut = false;
        for connection in all {
            are_cut |= !connection.is_idle();
            connection.close(Closing::Cut);
        }
        are_cut
    }

    /// Counts a new call, and returns whether it may be answered. If there are too many calls, the oldest without a
    /// token is ended.
    pub(super) fn begin_call(&self, connection: &Arc<Connection>, control: Option<Arc<Control>>) -> (Arc<Call>, bool) {
        let are_too_many = self.calls.fetch_add(1, Ordering::Relaxed) >= self.limits.calls;
        let is_admitted = !are_too_many || self.end_oldest_call();
        let id = self.next_call.fetch_add(1, Ordering::Relaxed);
        let call = Call::new(id, connection, control);
        connection.began(&call);
        let mut anonymous = self.anonymous_calls.lock();
        let is_full = anonymous.len() >= self.limits.anonymous_calls;
        anonymous.insert(id, Arc::downgrade(&call));
        drop(anonymous);
        if is_full {
            self.end_oldest_call();
        }
        (call, is_admitted)
    }

    /// Ends the oldest call without a token.
    fn end_oldest_call(&self) -> bool {
        let oldest = self.anonymous_calls.lock().pop_first();
        let Some((_, call)) = oldest else {
            return false;
        };
        if let Some(call) = call.upgrade() {
            self.log
                .warn("there are too many calls without a token: the oldest was ended for a new one");
            call.end(Closing::Evicted);
            call.connection.count_eviction();
        }
        true
    }

    /// Records that the call presented a valid token.
    pub(super) fn authenticated_call(&self, id: u64) {
        self.anonymous_calls.lock().remove(&id);
    }

    pub(super) fn ended_call(&self, id: u64, anonymous: bool) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
        if anonymous {
            self.anonymous_calls.lock().remove(&id);
        }
    }

    /// Counts bytes that a call holds; returns whether they fit into the budget.
    pub(super) fn hold(&self, bytes: usize, anonymous: bool) -> bool {
        let (held, most) = self.budget(anonymous);
        if held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= most {
            return true;
        }
        // Ending the oldest call without a token frees memory.
        if anonymous && self.end_oldest_call() {
            return true;
        }
        held.fetch_sub(bytes, Ordering::Relaxed);
        false
    }

    pub(super) fn release(&self, bytes: usize, anonymous: bool) {
        self.budget(anonymous).0.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn budget(&self, anonymous: bool) -> (&AtomicUsize, usize) {
        if anonymous {
            (&self.anonymous_bytes, self.limits.anonymous_bytes)
        } else {
            (&self.bytes, self.limits.bytes)
        }
    }
}
