//! Admin access for the user who runs `up`: a token that only this start accepts, and the socket over which it is sent.
//! Both exist while the system serves.

use std::path::PathBuf;

use axum::Router;
use citycode_service_kit::files::{self, FileError};
use citycode_service_kit::local_socket::LocalSocket;
use citycode_service_kit::shutdown::Signal;
use tokio::task::JoinHandle;

use super::data_folder::DataFolder;

/// Name of the token's file.
const TOKEN: &str = "admin.token";
/// Name of the socket.
const SOCKET: &str = "admin.sock";

/// The token's file and the socket of a running system.
pub(super) struct LocalAdmin {
    pub(super) token_file: PathBuf,
    pub(super) socket: PathBuf,
    serving: Option<JoinHandle<()>>,
}

impl LocalAdmin {
    /// Removes the files of an earlier start that was killed.
    pub(super) fn clear(folder: &DataFolder) {
        for name in [TOKEN, SOCKET] {
            let _ = std::fs::remove_file(folder.join(name));
        }
    }

    /// Writes the token's file and serves on the socket until `stopped`. If the file system does not support sockets,
    /// clients must name the token's file.
    ///
    /// # Errors
    /// [`FileError`] if the token cannot be written.
    pub(super) fn serve(folder: &DataFolder, token: &str, router: Router, stopped: Signal) -> Result<Self, FileError> {
        let serving = match LocalSocket::bind(folder.path(), SOCKET) {
            Ok(socket) => Some(tokio::spawn(socket.serve(router, stopped))),
            Err(error) => {
                let error = citycode_terminal::failure::root_cause(&error);
                tracing::warn!(
                    error,
                    "there is no local socket: clients on this machine need --token-file DIR/admin.token"
                );
                None
            }
        };
        let token_file = folder.join(TOKEN);
        files::write_atomic(&token_file, token.as_bytes(), files::PRIVATE_FILE_MODE)?;
        Ok(Self {
            token_file,
            socket: folder.join(SOCKET),
            serving,
        })
    }

    /// Removes the token and waits for the calls over the socket, after the signal to stop.
    pub(super) async fn end(self) {
        let _ = std::fs::remove_file(&self.token_file);
        if let Some(serving) = self.serving
            && serving.await.is_err()
        {
            tracing::error!("serving on the local socket panicked");
        }
    }
}
