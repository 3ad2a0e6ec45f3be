//! All connections of one server: who is admitted, who has to go when there are too many, and what they hold
//! together.
//!
//! Nobody is turned away while an anonymous connection is open: the oldest of them makes room, an idle one first. So
//! a client that occupies connections loses them to the next one that comes, and never keeps callers with a token
//! out.

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

/// Between two looks at the connections, after the signal to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Looks without a byte after which a connection without any call is closed: hyper has said goodbye by then.
const QUIET_LOOKS_WITHOUT_CALL: u32 = 2;
/// Looks without a byte after which a connection is closed whose calls wait for their client: one second, so that a
/// slow network still takes an answer that was begun.
const QUIET_LOOKS_WITH_CALLS: u32 = 20;

/// What a connection counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// No call on it has shown a valid token.
    Anonymous,
    /// A call has.
    Authenticated,
    /// A service with a certificate, or at a configured address.
    Peer,
}

impl Standing {
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
    /// HTTP/2 streams of which the task did not begin yet, or has to end and did not.
    pub(super) stream_backlog: AtomicUsize,
    all_closed: Notify,
    pub(super) said: Throttle,
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

/// Whose calls count together: an IPv4 address, or an IPv6 network of 64 bits, which is what one household gets.
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
    reason = "the runtime's timer, for time limits alone: nothing is decided by it"
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
            said: Throttle::default(),
        })
    }

    /// Milliseconds since this server began; never 0.
    pub(super) fn now(&self) -> u64 {
        let passed = instant().saturating_duration_since(self.begun).as_millis();
        u64::try_from(passed).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Takes a connection; where there are too many, one that is open has to go for it. `None` where there is none
    /// that may.
    pub(super) fn admit(self: &Arc<Self>, remote: SocketAddr) -> Option<Arc<Connection>> {
        let (limits, origin) = (&self.limits, origin(remote.ip()));
        let standing = if limits.is_peer(remote.ip()) {
            Standing::Peer
        } else {
            Standing::Anonymous
        };
        let mut open = self.open.lock();
        if standing == Standing::Anonymous {
            let of_address = open.addresses.get(&origin).map_or(0, |counts| counts.anonymous);
            if of_address >= limits.anonymous_connections_per_address {
                // Two for one beyond it, so that an address comes back to its share after a burst that was let in.
                let made = self.make_room(&mut open, Some(origin));
                if made && of_address > limits.anonymous_connections_per_address {
                    self.make_room(&mut open, Some(origin));
                }
            }
            if open.anonymous.len() >= limits.anonymous_connections {
                self.make_room(&mut open, None);
            }
        }
        if open.all.len() >= limits.connections && !self.make_room(&mut open, None) {
            metrics::counter!("citycode_server_connections_closed_total", "reason" => "full").increment(1);
            self.said
                .warn("a connection is refused: all that are open are authenticated or peers'");
            return None;
        }
        open.next += 1;
        let id = open.next;
        let connection = Arc::new(Connection::new(id, remote, origin, standing, self));
        open.all.insert(id, Arc::clone(&connection));
        if standing == Standing::Anonymous {
            open.anonymous.insert(id, Arc::clone(&connection));
            open.addresses.entry(origin).or_default().anonymous += 1;
        }
        metrics::gauge!("citycode_server_connections", "standing" => standing.name()).increment(1.0);
        Some(connection)
    }

    /// Closes the oldest anonymous connection, of this origin where one is named: one without a call before the others.
    /// Of an origin only those go that had time to show a token: all gates of a station may come back at once.
    fn make_room(&self, open: &mut Open, of: Option<IpAddr>) -> bool {
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
        oldest.close(Closing::MakesRoom);
        self.forget(open, &oldest);
        self.said
            .warn("there are too many connections without a token: the oldest makes room for a new one");
        true
    }

    /// Frees descriptors where the system has none left.
    pub(super) fn make_room_for_descriptors(&self) -> bool {
        self.make_room(&mut self.open.lock(), None)
    }

    /// A call on it has shown a valid token, or its handshake a certificate.
    pub(super) fn promote(&self, connection: &Arc<Connection>, to: Standing) {
        if connection.standing() != Standing::Anonymous {
            return;
        }
        let mut open = self.open.lock();
        // It may have had to go, or another call may have been first.
        if !open.anonymous.contains_key(&connection.id) {
            return;
        }
        let counts = open.addresses.entry(connection.origin).or_default();
        if to == Standing::Authenticated {
            if counts.authenticated >= self.limits.authenticated_connections_per_address {
                drop(open);
                self.said.warn(
                    "one address has more authenticated connections than the limit: further ones count as anonymous",
                );
                return;
            }
            counts.authenticated += 1;
        }
        counts.anonymous = counts.anonymous.saturating_sub(1);
        open.anonymous.remove(&connection.id);
        connection.set_standing(to);
        metrics::gauge!("citycode_server_connections", "standing" => Standing::Anonymous.name()).decrement(1.0);
        metrics::gauge!("citycode_server_connections", "standing" => to.name()).increment(1.0);
    }

    /// It is closed.
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
        let standing = connection.standing();
        metrics::gauge!("citycode_server_connections", "standing" => standing.name()).decrement(1.0);
        open.anonymous.remove(&connection.id);
        let Some(counts) = open.addresses.get_mut(&connection.origin) else {
            return;
        };
        match standing {
            Standing::Anonymous => counts.anonymous = counts.anonymous.saturating_sub(1),
            Standing::Authenticated => counts.authenticated = counts.authenticated.saturating_sub(1),
            Standing::Peer => {}
        }
        if counts.anonymous == 0 && counts.authenticated == 0 {
            open.addresses.remove(&connection.origin);
        }
    }

    /// Ends what takes too long, for ever. Drop the future to stop.
    pub(super) async fn keep_looking(self: Arc<Self>) {
        let mut tick = tokio::time::interval(self.limits.look_every());
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let all: Vec<_> = self.open.lock().all.values().cloned().collect();
            let now = self.now();
            for connection in all {
                connection.look(now);
            }
        }
    }

    /// Asks every connection to end after the calls in progress.
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

    /// After [`Connections::stop`] closes every connection without a call in progress, now and whenever one becomes
    /// idle. Hyper waits for everything else: a head that never arrives, a client that does not answer the last ping,
    /// an answer that nobody reads. Never ends.
    pub(super) async fn close_idle(&self) {
        let mut seen: HashMap<u64, (u64, u32)> = HashMap::new();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let open = self.open.lock().all.clone();
            seen.retain(|id, _| open.contains_key(id));
            for (id, connection) in open {
                let moved = connection.moved.load(Ordering::Relaxed);
                let (last, quiet) = seen.entry(id).or_insert((moved, 0));
                let is_quiet = *last == moved && connection.working.load(Ordering::SeqCst) == 0;
                *quiet = if is_quiet { *quiet + 1 } else { 0 };
                *last = moved;
                let enough = if connection.is_idle() {
                    QUIET_LOOKS_WITHOUT_CALL
                } else {
                    QUIET_LOOKS_WITH_CALLS
                };
                if *quiet >= enough {
                    connection.close(Closing::Cut);
                }
            }
        }
    }

    /// Ends every connection at once. Whether a call was in progress on any of them.
    pub(super) fn cut(&self) -> bool {
        let all: Vec<_> = self.open.lock().all.values().cloned().collect();
        let mut are_cut = false;
        for connection in all {
            are_cut |= !connection.is_idle();
            connection.close(Closing::Cut);
        }
        are_cut
    }

    /// Counts a call in, and says whether it may be answered. Where there are too many without a token, the oldest of
    /// them ends for it.
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
            self.said
                .warn("there are too many calls without a token: the oldest makes room for a new one");
            call.end(Closing::MakesRoom);
            call.connection.makes_room();
        }
        true
    }

    /// The call has shown a valid token.
    pub(super) fn authenticated_call(&self, id: u64) {
        self.anonymous_calls.lock().remove(&id);
    }

    pub(super) fn ended_call(&self, id: u64, anonymous: bool) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
        if anonymous {
            self.anonymous_calls.lock().remove(&id);
        }
    }

    /// Counts bytes that a call holds; whether there was room.
    pub(super) fn hold(&self, bytes: usize, anonymous: bool) -> bool {
        let (held, most) = self.budget(anonymous);
        if held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= most {
            return true;
        }
        // What another client leaves unread makes room.
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
