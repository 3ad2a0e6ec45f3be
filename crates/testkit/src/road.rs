//! A road between a client and its NATS server that knows where a message begins and ends: it can be closed, and it can
//! repeat or keep what is published.
//!
//! Closed, it carries nothing either way and drops nothing, as in a partitioned network. The grammar is NATS's client
//! protocol: a line, and after `PUB` and `HPUB` as many bytes as its last word says, and a line's end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::time::MissedTickBehavior;

/// Bytes at once where nothing is held back.
const WIDE: usize = 64 * 1024;
const NARROW_PACE: Duration = Duration::from_millis(20);

/// What becomes of messages that a client publishes to subjects that begin as told; all others pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Traffic {
    /// They pass.
    #[default]
    Passes,
    /// Each passes twice.
    Repeats,
    /// They are kept, and pass when they are let go.
    IsKept,
}

/// A road; as long as this lives it lies.
#[derive(Debug)]
pub struct Road {
    address: String,
    closed: watch::Sender<bool>,
    /// Bytes that come back in one [`NARROW_PACE`].
    width: watch::Sender<usize>,
    traffic: watch::Sender<Traffic>,
    repeated: Arc<AtomicUsize>,
    kept: Arc<Mutex<Vec<Kept>>>,
}

type Far = Arc<Mutex<OwnedWriteHalf>>;

/// A message on the way, and the way.
#[derive(Debug)]
struct Kept {
    frame: Vec<u8>,
    far: Far,
}

/// What each connection's carrier goes by.
#[derive(Clone)]
struct Rules {
    subjects: Arc<str>,
    closed: watch::Receiver<bool>,
    width: watch::Receiver<usize>,
    traffic: watch::Receiver<Traffic>,
    repeated: Arc<AtomicUsize>,
    kept: Arc<Mutex<Vec<Kept>>>,
}

impl Road {
    /// A road to the server at this address (`nats://…`), for messages to subjects that begin with `subjects`.
    ///
    /// # Panics
    /// Where no port can be had.
    pub async fn to(server: &str, subjects: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("nats://{}", listener.local_addr().expect("an address"));
        let server = server.trim_start_matches("nats://").to_owned();
        let (closed, traffic) = (watch::Sender::new(false), watch::Sender::new(Traffic::Passes));
        let width = watch::Sender::new(WIDE);
        let (repeated, kept) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<Kept>>>::default());
        let rules = Rules {
            subjects: subjects.into(),
            closed: closed.subscribe(),
            width: width.subscribe(),
            traffic: traffic.subscribe(),
            repeated: Arc::clone(&repeated),
            kept: Arc::clone(&kept),
        };
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&server).await else {
                    continue;
                };
                let ((from_client, to_client), (from_server, to_server)) = (near.into_split(), far.into_split());
                let far = Arc::new(Mutex::new(to_server));
                tokio::spawn(carry_there(from_client, far, rules.clone()));
                tokio::spawn(carry_back(from_server, to_client, rules.clone()));
            }
        });
        Self {
            address,
            closed,
            width,
            traffic,
            repeated,
            kept,
        }
    }

    /// Where its near end is, e.g. `nats://127.0.0.1:4222`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Carries nothing from now on.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Carries again, first of all what was under way.
    pub fn open(&self) {
        self.closed.send_replace(false);
    }

    /// From now on no more than so many bytes come back in a fiftieth of a second.
    pub fn narrow(&self, bytes: usize) {
        self.width.send_replace(bytes);
    }

    /// What becomes of messages from now on.
    pub fn set(&self, traffic: Traffic) {
        self.traffic.send_replace(traffic);
    }

    /// How many messages passed twice.
    #[must_use]
    pub fn repeated(&self) -> usize {
        self.repeated.load(Ordering::SeqCst)
    }

    /// How many messages are kept.
    pub async fn kept(&self) -> usize {
        self.kept.lock().await.len()
    }

    /// Lets go whatever was kept, in its order and on its way; gives how many messages the server took.
    pub async fn let_go(&self) -> usize {
        let mut taken = 0;
        for Kept { frame, far } in self.kept.lock().await.drain(..) {
            // Its client may have gone meanwhile, and the connection with it.
            taken += usize::from(far.lock().await.write_all(&frame).await.is_ok());
        }
        taken
    }
}

/// From client to server, message by message.
async fn carry_there(near: OwnedReadHalf, far: Far, mut rules: Rules) {
    let mut near = BufReader::new(near);
    while let Some(frame) = frame(&mut near).await {
        if rules.closed.wait_for(|closed| !closed).await.is_err() {
            break;
        }
        let counts = subject_of(&frame).is_some_and(|subject| subject.starts_with(&*rules.subjects));
        let traffic = *rules.traffic.borrow();
        if counts && traffic == Traffic::IsKept {
            let far = Arc::clone(&far);
            rules.kept.lock().await.push(Kept { frame, far });
            continue;
        }
        let mut far = far.lock().await;
        if far.write_all(&frame).await.is_err() {
            break;
        }
        if counts && traffic == Traffic::Repeats {
            rules.repeated.fetch_add(1, Ordering::SeqCst);
            if far.write_all(&frame).await.is_err() {
                break;
            }
        }
    }
}

/// From server to client, as it comes.
async fn carry_back(mut far: OwnedReadHalf, mut near: impl AsyncWrite + Unpin, mut rules: Rules) {
    let mut buffer = vec![0; WIDE];
    let mut pace = tokio::time::interval(NARROW_PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let width = *rules.width.borrow();
        if width < WIDE {
            pace.tick().await;
        }
        let Ok(read @ 1..) = far.read(&mut buffer[..width]).await else {
            return;
        };
        if rules.closed.wait_for(|closed| !closed).await.is_err() || near.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// A line, with the payload that it announces.
async fn frame(near: &mut BufReader<OwnedReadHalf>) -> Option<Vec<u8>> {
    let mut frame = Vec::new();
    if near.read_until(b'\n', &mut frame).await.ok()? == 0 {
        return None;
    }
    if let Some(size) = payload_bytes(&frame) {
        let start = frame.len();
        frame.resize(start + size + 2, 0);
        near.read_exact(&mut frame[start..]).await.ok()?;
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
    fn messages_are_told_from_the_rest() {
        let message = b"HPUB cc.ev.v1.00.0001 _INBOX.a 12 17\r\nNATS/1.0\r\n\r\nhello\r\n";
        assert_eq!(payload_bytes(message), Some(17));
        assert_eq!(subject_of(message), Some("cc.ev.v1.00.0001"));
        assert_eq!(payload_bytes(b"PUB a 5\r\n"), Some(5));
        assert_eq!(payload_bytes(b"SUB a 5\r\n"), None);
        assert_eq!(payload_bytes(b"PING\r\n"), None);
    }
}
