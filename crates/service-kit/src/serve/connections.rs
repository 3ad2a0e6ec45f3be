//! The open connections of one server, so that those without a call in progress can be closed at shutdown.
//!
//! Hyper's graceful shutdown closes an idle connection itself, but it waits for everything else: a request whose
//! header never arrives, an HTTP/2 client that does not answer the last ping, an answer that nobody reads. Each of
//! those would hold the process for the whole drain time, and any client can make one. So each connection counts its
//! calls and its bytes, and after the signal [`Connections::close_idle`] closes whatever is quiet.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Between two looks at the connections, after the signal.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Looks without a byte after which a connection without any call is closed: hyper has said goodbye by then.
const QUIET_LOOKS_WITHOUT_CALL: u32 = 2;
/// Looks without a byte after which a connection is closed whose calls wait for their client: one second, so that a
/// slow network still takes an answer that was begun.
const QUIET_LOOKS_WITH_CALLS: u32 = 20;

/// The open connections of one server.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: Arc<Mutex<BTreeMap<u64, Arc<Connection>>>>,
    accepted: AtomicU64,
}

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// Addresses of both ends.
    pub(super) info: TcpConnectInfo,
    /// Calls that were begun and whose answer has not ended.
    calls: AtomicUsize,
    /// Of those, the calls for which this process still owes something.
    working: AtomicUsize,
    /// Bytes received and sent.
    moved: AtomicU64,
    closed: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

/// A call on a connection, from its header to the end of its answer.
#[derive(Debug)]
pub(super) struct Call {
    connection: Arc<Connection>,
    working: bool,
}

/// A connection's socket; it ends when the connection is closed.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    connection: Arc<Connection>,
    number: u64,
    open: Arc<Mutex<BTreeMap<u64, Arc<Connection>>>>,
}

impl Connections {
    /// Watches a connection that was accepted.
    pub(super) fn watch(&self, stream: TcpStream) -> Socket {
        let connection = Arc::new(Connection {
            info: stream.connect_info(),
            calls: AtomicUsize::new(0),
            working: AtomicUsize::new(0),
            moved: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
        });
        let number = self.accepted.fetch_add(1, Ordering::Relaxed);
        self.open.lock().insert(number, Arc::clone(&connection));
        Socket {
            stream,
            connection,
            number,
            open: Arc::clone(&self.open),
        }
    }

    /// Closes every connection without a call in progress, now and whenever one becomes idle. Never ends.
    pub(super) async fn close_idle(&self) {
        let mut seen: HashMap<u64, (u64, u32)> = HashMap::new();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let open = self.open.lock().clone();
            seen.retain(|number, _| open.contains_key(number));
            for (number, connection) in open {
                let moved = connection.moved.load(Ordering::Relaxed);
                let (last, quiet) = seen.entry(number).or_insert((moved, 0));
                let is_quiet = *last == moved && connection.working.load(Ordering::SeqCst) == 0;
                *quiet = if is_quiet { *quiet + 1 } else { 0 };
                *last = moved;
                let enough = match connection.calls.load(Ordering::SeqCst) {
                    0 => QUIET_LOOKS_WITHOUT_CALL,
                    _ => QUIET_LOOKS_WITH_CALLS,
                };
                if *quiet >= enough {
                    connection.close();
                }
            }
        }
    }

    /// Closes every connection. Whether a call was in progress on any of them.
    pub(super) fn close_all(&self) -> bool {
        let open = self.open.lock().clone();
        let mut cut = false;
        for connection in open.values() {
            cut |= connection.calls.load(Ordering::SeqCst) > 0;
            connection.close();
        }
        cut
    }
}

impl Connection {
    /// Ends both directions: the server reads the end of input, and what it writes fails.
    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.reader.wake();
        self.writer.wake();
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn count(&self, bytes: usize) {
        self.moved.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Call {
    /// Begins a call, for which this process owes an answer.
    pub(super) fn begin(connection: Arc<Connection>) -> Self {
        connection.calls.fetch_add(1, Ordering::SeqCst);
        connection.working.fetch_add(1, Ordering::SeqCst);
        Self {
            connection,
            working: true,
        }
    }

    /// Says whether this process owes something now, or waits for its client.
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

impl Drop for Call {
    fn drop(&mut self) {
        self.set_working(false);
        self.connection.calls.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.open.lock().remove(&self.number);
    }
}

impl Connected for Socket {
    type ConnectInfo = Arc<Connection>;

    fn connect_info(&self) -> Self::ConnectInfo {
        Arc::clone(&self.connection)
    }
}

impl Socket {
    /// One attempt to write; `Err` once the connection was closed, also while it waits.
    fn write(
        &mut self,
        context: &mut Context<'_>,
        attempt: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        // Registered before the look, so that a close in between is not missed.
        self.connection.writer.register(context.waker());
        if self.connection.is_closed() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let written = attempt(Pin::new(&mut self.stream), context);
        if let Poll::Ready(Ok(bytes)) = written {
            self.connection.count(bytes);
        }
        written
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.connection.reader.register(context.waker());
        if this.connection.is_closed() {
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, into);
        if read.is_ready() {
            this.connection.count(into.filled().len() - before);
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut()
            .write(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .write(context, |stream, context| stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
