//! A Unix socket for the server's own user on the same machine, in a folder that no other user may enter.
//!
//! It authenticates both sides before a byte is sent. Only the owner of the folder, or root, can create a socket there,
//! so a client that finds it in a private folder of its own user is connected to that user's server; a port of the
//! loopback address can be bound by any user once the server has ended. The server reads the caller's user from the
//! kernel (`SO_PEERCRED`) and accepts its own user and root. Calls over it count as local ([`PeerKind::Loopback`]).

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::{Extension, Router};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::files::{self, FileError, PRIVATE_FILE_MODE};
use crate::peer::PeerKind;
use crate::serve::DRAIN;
use crate::shutdown::Signal;

/// Longest path in the address of a Unix socket, with its final zero (`sun_path`, unix(7)).
const MAX_ADDRESS_BYTES: usize = 108;
/// How long the transmission of the last answers may take after every call was answered.
const FLUSH: Duration = Duration::from_millis(500);

/// The address of a socket: its path, or, if that is too long, a short path through the open folder.
#[derive(Debug)]
pub struct SocketAddress {
    path: PathBuf,
    _folder: Option<File>,
}

impl SocketAddress {
    /// The address of the socket at `path`, whose folder exists.
    ///
    /// # Errors
    /// The error of opening the folder.
    pub fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().as_bytes().len() < MAX_ADDRESS_BYTES {
            return Ok(Self {
                path: path.to_owned(),
                _folder: None,
            });
        }
        use std::os::fd::AsRawFd as _;
        let folder = File::open(path.parent().unwrap_or(Path::new("/")))?;
        let short = format!("/proc/self/fd/{}", folder.as_raw_fd());
        Ok(Self {
            path: Path::new(&short).join(path.file_name().unwrap_or_default()),
            _folder: Some(folder),
        })
    }

    /// The path to connect or bind to, valid as long as this value exists.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Requires a folder in which only this user and root can create a socket.
///
/// # Errors
/// [`FileError::TooOpen`], [`FileError::OtherOwner`], [`FileError::Io`].
pub fn require_private_folder(folder: &Path) -> Result<(), FileError> {
    files::require_private(folder)
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A socket that is bound but not yet served.
#[derive(Debug)]
pub struct LocalSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl LocalSocket {
    /// Binds a socket of this name in a private folder. It replaces one that an earlier process left there, so the
    /// caller must hold the folder's lock. It must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`FileError`]: other users may enter the folder, or the file system does not support sockets.
    pub fn bind(folder: &Path, name: &str) -> Result<Self, FileError> {
        require_private_folder(folder)?;
        let path = folder.join(name);
        let _ = std::fs::remove_file(&path);
        let bound = SocketAddress::of(&path).and_then(|address| {
            let listener = UnixListener::bind(address.path())?;
            std::fs::set_permissions(address.path(), Permissions::from_mode(PRIVATE_FILE_MODE))?;
            Ok(listener)
        });
        match bound {
            Ok(listener) => Ok(Self { listener, path }),
            Err(source) => Err(FileError::Io {
                doing: "listen on the socket",
                path,
                source,
            }),
        }
    }

    /// Serves until `stop`, then lets unanswered calls finish for [`DRAIN`]; streams are aborted. Afterwards the
    /// socket's file is removed.
    pub async fn serve(self, router: Router, stop: Signal) {
        let Self { listener, path } = self;
        let calls = Arc::new(Calls::default());
        let counted = Arc::clone(&calls);
        let router = router
            .layer(Extension(PeerKind::Loopback))
            .layer(from_fn(move |request, next| count(Arc::clone(&counted), request, next)));
        let served = Server::builder()
            .accept_http1(true)
            .add_routes(Routes::from(router))
            .serve_with_incoming_shutdown(own_callers(listener), stop.clone().wait());
        let cut = async {
            stop.wait().await;
            let _ = tokio::time::timeout(DRAIN, calls.none()).await;
            tokio::time::sleep(FLUSH).await;
        };
        tokio::select! {
            ended = served => {
                if let Err(error) = ended {
                    tracing::error!(%error, "the local socket failed");
                }
            }
            () = cut => {}
        }
        let _ = std::fs::remove_file(&path);
    }
}

/// Accepts the connections of this user and of root, and closes others.
fn own_callers(listener: UnixListener) -> impl futures::Stream<Item = io::Result<UnixStream>> {
    futures::stream::unfold(listener, |listener| async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let user = stream.peer_cred().map(|credentials| credentials.uid());
                    if user.is_ok_and(|user| user == own_user() || user == 0) {
                        return Some((Ok(stream), listener));
                    }
                    tracing::warn!("a connection of another user to the local socket was refused");
                }
                Err(error) => {
                    tracing::warn!(%error, "the local socket cannot accept connections at the moment");
                    tokio::time::sleep(FLUSH).await;
                }
            }
        }
    })
}

/// The unanswered calls.
#[derive(Debug, Default)]
struct Calls {
    open: AtomicUsize,
    ended: Notify,
}

impl Calls {
    async fn none(&self) {
        loop {
            let ended = self.ended.notified();
            if self.open.load(Ordering::SeqCst) == 0 {
                return;
            }
            ended.await;
        }
    }
}

/// Counts an unanswered call until it is dropped, also if the caller disconnects before the answer.
struct Open(Arc<Calls>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
        self.0.ended.notify_waiters();
    }
}

async fn count(calls: Arc<Calls>, request: Request, next: Next) -> axum::response::Response {
    calls.open.fetch_add(1, Ordering::SeqCst);
    let _open = Open(calls);
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn ask(path: &Path) -> io::Result<String> {
        let address = SocketAddress::of(path)?;
        let mut stream = UnixStream::connect(address.path()).await?;
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    fn router() -> Router {
        Router::new().route(
            "/",
            get(|Extension(peer): Extension<PeerKind>| async move { format!("{peer:?}") }),
        )
    }

    #[tokio::test]
    async fn calls_are_local_also_if_the_path_is_too_long_for_an_address() {
        let short = tempfile::tempdir().unwrap();
        for folder in [short.path().join("d"), short.path().join("d".repeat(200))] {
            files::create_private_dir(&folder).unwrap();
            let socket = LocalSocket::bind(&folder, "s.sock").unwrap();
            let (trigger, stop) = Signal::channel();
            let serving = tokio::spawn(socket.serve(router(), stop));
            let path = folder.join("s.sock");
            assert!(ask(&path).await.unwrap().ends_with("Loopback"));
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, PRIVATE_FILE_MODE);
            // An idle connection does not delay the shutdown.
            let idle = SocketAddress::of(&path).unwrap();
            let _idle = UnixStream::connect(idle.path()).await.unwrap();
            trigger.pull();
            serving.await.unwrap();
            assert!(!path.exists());
        }
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_folder_open_to_others_is_refused() {
        let around = tempfile::tempdir().unwrap();
        let folder = around.path().join("d");
        files::create_private_dir(&folder).unwrap();
        drop(LocalSocket::bind(&folder, "s").unwrap());
        assert!(folder.join("s").exists(), "as a crash leaves it");
        drop(LocalSocket::bind(&folder, "s").unwrap());
        std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        let refused = LocalSocket::bind(&folder, "s");
        assert!(matches!(refused, Err(FileError::TooOpen { .. })));
    }
}
