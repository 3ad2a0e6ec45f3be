//! A proxy between a client and its NATS server that parses messages: it can be closed, and it can duplicate or hold
//! published messages.
//!
//! While closed it forwards nothing in either direction and drops nothing, like a partitioned network. The grammar is
//! that of the NATS client protocol: a line, and after `PUB` and `HPUB` a payload whose length is the line's last word,
//! and a line end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::time::MissedTickBehavior;

/// Bytes of one read if the throughput is not limited.
const UNLIMITED: usize = 64 * 1024;
const THROTTLE_INTERVAL: Duration = Duration::from_millis(20);

/// The treatment of messages that a client publishes to the proxy's subjects; all others are forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Traffic {
    /// They are forwarded.
    #[default]
    Forward,
    /// Each is forwarded twice.
    Duplicate,
    /// They are held until they are released.
    Hold,
}

/// A proxy, which runs until this is dropped.
#[derive(Debug)]
pub struct NatsProxy {
    address: String,
    closed: watch::Sender<bool>,
    /// Bytes to the client in one [`THROTTLE_INTERVAL`].
    throughput: watch::Sender<usize>,
    traffic: watch::Sender<Traffic>,
    duplicated: Arc<AtomicUsize>,
    held: Arc<Mutex<Vec<Held>>>,
}

type ToServer = Arc<Mutex<OwnedWriteHalf>>;

/// A held message and its connection.
#[derive(Debug)]
struct Held {
    frame: Vec<u8>,
    server: ToServer,
}

/// The state that the tasks of all connections share.
#[derive(Clone)]
struct Rules {
    subjects: Arc<str>,
    closed: watch::Receiver<bool>,
    throughput: watch::Receiver<usize>,
    traffic: watch::Receiver<Traffic>,
    duplicated: Arc<AtomicUsize>,
    held: Arc<Mutex<Vec<Held>>>,
}

impl NatsProxy {
    /// Starts a proxy to the server at this address (`nats://…`), for messages to subjects that begin with `subjects`.
    ///
    /// # Panics
    /// If no port is available.
    pub async fn to(server: &str, subjects: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("nats://{}", listener.local_addr().expect("an address"));
        let server = server.trim_start_matches("nats://").to_owned();
        let (closed, traffic) = (watch::Sender::new(false), watch::Sender::new(Traffic::Forward));
        let throughput = watch::Sender::new(UNLIMITED);
        let (duplicated, held) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<Held>>>::default());
        let rules = Rules {
            subjects: subjects.into(),
            closed: closed.subscribe(),
            throughput: throughput.subscribe(),
            traffic: traffic.subscribe(),
            duplicated: Arc::clone(&duplicated),
            held: Arc::clone(&held),
        };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else {
                    continue;
                };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                let to_server = Arc::new(Mutex::new(to_server));
                tokio::spawn(forward_to_server(from_client, to_server, rules.clone()));
                tokio::spawn(forward_to_client(from_server, to_client, rules.clone()));
            }
        });
        Self {
            address,
            closed,
            throughput,
            traffic,
            duplicated,
            held,
        }
    }

    /// The address for clients, e.g. `nats://127.0.0.1:4222`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Stops forwarding.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Resumes forwarding, without loss.
    pub fn open(&self) {
        self.closed.send_replace(false);
    }

    /// Limits the bytes to each client in a fiftieth of a second.
    pub fn throttle(&self, bytes: usize) {
        self.throughput.send_replace(bytes);
    }

    /// Sets the treatment of messages.
    pub fn set(&self, traffic: Traffic) {
        self.traffic.send_replace(traffic);
    }

    /// The number of messages that were forwarded twice.
    #[must_use]
    pub fn duplicated(&self) -> usize {
        self.duplicated.load(Ordering::SeqCst)
    }

    /// The number of held messages.
    pub async fn held(&self) -> usize {
        self.held.lock().await.len()
    }

    /// Forwards all held messages in order, each on its connection; returns how many could be sent.
    pub async fn release(&self) -> usize {
        let mut sent = 0;
        for Held { frame, server } in self.held.lock().await.drain(..) {
            // The client may have closed the connection.
            sent += usize::from(server.lock().await.write_all(&frame).await.is_ok());
        }
        sent
    }
}

/// Forwards message by message.
async fn forward_to_server(client: OwnedReadHalf, server: ToServer, mut rules: Rules) {
    let mut client = BufReader::new(client);
    while let Some(frame) = frame(&mut client).await {
        if rules.closed.wait_for(|closed| !closed).await.is_err() {
            break;
        }
        let matches = subject_of(&frame).is_some_and(|subject| subject.starts_with(&*rules.subjects));
        let traffic = *rules.traffic.borrow();
        if matches && traffic == Traffic::Hold {
            let server = Arc::clone(&server);
            rules.held.lock().await.push(Held { frame, server });
            continue;
        }
        let mut server = server.lock().await;
        if server.write_all(&frame).await.is_err() {
            break;
        }
        if matches && traffic == Traffic::Duplicate {
            rules.duplicated.fetch_add(1, Ordering::SeqCst);
            if server.write_all(&frame).await.is_err() {
                break;
            }
        }
    }
}

/// Forwards bytes without parsing them.
async fn forward_to_client(mut server: OwnedReadHalf, mut client: impl AsyncWrite + Unpin, mut rules: Rules) {
    let mut buffer = vec![0; UNLIMITED];
    let mut interval = tokio::time::interval(THROTTLE_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let throughput = *rules.throughput.borrow();
        if throughput < UNLIMITED {
            interval.tick().await;
        }
        let Ok(read @ 1..) = server.read(&mut buffer[..throughput]).await else {
            return;
        };
        if rules.closed.wait_for(|closed| !closed).await.is_err() || client.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// Reads a line, and the payload that it announces.
async fn frame(client: &mut BufReader<OwnedReadHalf>) -> Option<Vec<u8>> {
    let mut frame = Vec::new();
    if client.read_until(b'\n', &mut frame).await.ok()? == 0 {
        return None;
    }
    if let Some(size) = payload_bytes(&frame) {
        let start = frame.len();
        frame.resize(start + size + 2, 0);
        client.read_exact(&mut frame[start..]).await.ok()?;
    }
    Some(frame)
}

fn words(frame: &[u8]) -> Option<Vec<&str>> {
    let line = frame.split(|byte| *byte == b'\r').next()?;
    let words: Vec<&str> = std::str::from_utf8(line).ok()?.split(' ').collect();
    ["PUB", "HPUB"].contains(words.first()?).then_some(words)
}

fn payload_bytes(line: &[u8]) -> Option<usize> {
    words(line)?.last()?.parse().ok()
}

fn subject_of(frame: &[u8]) -> Option<&str> {
    words(frame)?.get(1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_messages_are_distinguished_from_other_lines() {
        let message = b"HPUB cc.ev.v1.00.0001 _INBOX.a 12 17\r\nNATS/1.0\r\n\r\nhello\r\n";
        assert_eq!(payload_bytes(message), Some(17));
        assert_eq!(subject_of(message), Some("cc.ev.v1.00.0001"));
        assert_eq!(payload_bytes(b"PUB a 5\r\n"), Some(5));
        assert_eq!(payload_bytes(b"SUB a 5\r\n"), None);
        assert_eq!(payload_bytes(b"PING\r\n"), None);
    }
}
