//! Lets a client on the machine of `up` find the server's socket and the local admin's token: a note per user and
//! server.
//!
//! ```text
//! $XDG_STATE_HOME (or ~/.local/state) /citycode/servers/HOST_PORT.json   0600
//!     { "server": "http://127.0.0.1:8080", "admin_token_file": "/…/admin.token", "socket": "/…/admin.sock" }
//! ```
//! The note contains the paths of the token and the socket, but no secret. The token is sent only over the socket
//! ([`citycode_service_kit::local_socket`]): once `up` has ended, any user of the machine can bind its port, but no
//! other user can create a socket in its folder. Note, token and socket are removed when `up` ends; if a crash leaves
//! them, the socket has no server, and no later start accepts the token.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use citycode_service_kit::files::{self, FileError};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The name of the loopback interface (RFC 6761 §6.3).
pub const LOCALHOST: &str = "localhost";
/// The same as a fully qualified name, which a resolver would look up.
pub const LOCALHOST_ROOTED: &str = "localhost.";
/// Default port of a `http://` URL.
const HTTP_PORT: u16 = 80;

#[derive(Serialize, Deserialize)]
struct Note {
    server: String,
    admin_token_file: PathBuf,
    /// Absent in notes of earlier versions, which are not used any more.
    socket: Option<PathBuf>,
}

/// A server that this user runs on this machine.
pub struct LocalServer {
    /// The local admin's token.
    pub token: Zeroizing<String>,
    /// The server's socket.
    pub socket: PathBuf,
}

/// Writes the note with the paths of the token and socket of the server at `addr`. Does nothing if the address is not
/// reachable over loopback (0.0.0.0 and :: are), or if the user has no home directory.
///
/// # Errors
/// [`FileError`] if the note cannot be written.
pub fn remember(addr: SocketAddr, token_file: &Path, socket: &Path) -> Result<(), FileError> {
    folder().map_or(Ok(()), |folder| remember_in(&folder, addr, token_file, socket))
}

/// Removes the note, unless another server has replaced it meanwhile.
pub fn forget(addr: SocketAddr, token_file: &Path) {
    if let Some(folder) = folder() {
        forget_in(&folder, addr, token_file);
    }
}

/// The server at `server` (a URL), if this user runs it on this machine.
#[must_use]
pub fn find(server: &str) -> Option<LocalServer> {
    find_in(&folder()?, server)
}

/// The loopback addresses of this server's host name; none if it is not on this machine.
#[must_use]
pub fn loopback_addresses(server: &Url) -> Vec<SocketAddr> {
    let port = server.port().unwrap_or(HTTP_PORT);
    let host = server.host_str().unwrap_or_default();
    let ips: Vec<IpAddr> = if [LOCALHOST, LOCALHOST_ROOTED].contains(&host) {
        vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
    } else {
        let literal: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        literal
            .filter(|ip| {
                let ip = ip.to_canonical();
                // Connecting to the unspecified address reaches this machine, too.
                ip.is_loopback() || ip.is_unspecified()
            })
            .into_iter()
            .collect()
    };
    ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
}

fn folder() -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("citycode/servers"))
}

/// The loopback address of a server that listens on `addr`, if there is one.
fn loopback_of(addr: SocketAddr) -> Option<SocketAddr> {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    ip.is_loopback().then(|| SocketAddr::new(ip, addr.port()))
}

fn remember_in(folder: &Path, addr: SocketAddr, token_file: &Path, socket: &Path) -> Result<(), FileError> {
    let Some(addr) = loopback_of(addr) else {
        return Ok(());
    };
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let note = Note {
        server: format!("http://{addr}"),
        admin_token_file: absolute(token_file),
        socket: Some(absolute(socket)),
    };
    files::create_private_dir(folder)?;
    let text = serde_json::to_vec_pretty(&note).expect("three texts are always JSON");
    files::write_atomic(&folder.join(file_name(addr)), &text, files::PRIVATE_FILE_MODE)
}

fn forget_in(folder: &Path, addr: SocketAddr, token_file: &Path) {
    let Some(addr) = loopback_of(addr) else {
        return;
    };
    let path = folder.join(file_name(addr));
    let own = std::path::absolute(token_file).ok();
    if read(&path).is_some_and(|note| Some(note.admin_token_file) == own) {
        let _ = std::fs::remove_file(path);
    }
}

fn find_in(folder: &Path, server: &str) -> Option<LocalServer> {
    let addresses = loopback_addresses(&Url::parse(server).ok()?);
    addresses.into_iter().filter_map(loopback_of).find_map(|addr| {
        let note = read(&folder.join(file_name(addr)))?;
        let token = files::read_private(&note.admin_token_file).ok()?;
        let token = std::str::from_utf8(&token).ok()?.trim();
        let token = (!token.is_empty()).then(|| Zeroizing::new(token.to_owned()))?;
        Some(LocalServer {
            token,
            socket: note.socket?,
        })
    })
}

fn read(path: &Path) -> Option<Note> {
    let note = files::read_private(path).ok()?;
    serde_json::from_slice(&note).ok()
}

fn file_name(addr: SocketAddr) -> String {
    format!("{}_{}.json", addr.ip(), addr.port())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn set_up(addr: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("admin.token");
        files::create_private(&token, b"secret\n").unwrap();
        let notes = dir.path().join("servers");
        let socket = dir.path().join("admin.sock");
        remember_in(&notes, addr.parse().unwrap(), &token, &socket).unwrap();
        (dir, notes)
    }

    fn found(notes: &Path, server: &str) -> Option<String> {
        find_in(notes, server).map(|found| found.token.to_string())
    }

    #[test]
    fn the_token_of_a_loopback_server_is_found_by_any_of_its_names() {
        let (_dir, notes) = set_up("127.0.0.1:8080");
        for server in [
            "http://127.0.0.1:8080",
            "http://127.0.0.1:8080/",
            "http://localhost:8080",
        ] {
            assert_eq!(found(&notes, server).as_deref(), Some("secret"), "{server}");
        }
        for other in [
            "http://127.0.0.1:8081",
            "http://10.0.0.1:8080",
            "http://127.0.0.1.evil.example:8080",
            "nonsense",
        ] {
            assert_eq!(found(&notes, other), None, "{other}");
        }
        let (_dir, notes) = set_up("[::]:9");
        assert_eq!(found(&notes, "http://[::1]:9").as_deref(), Some("secret"));
        assert_eq!(found(&notes, "http://localhost:9").as_deref(), Some("secret"));
    }

    #[test]
    fn only_its_server_removes_a_note_and_a_note_without_socket_is_ignored() {
        let (dir, notes) = set_up("127.0.0.1:8080");
        let addr = "127.0.0.1:8080".parse().unwrap();
        forget_in(&notes, addr, &dir.path().join("another.token"));
        assert!(found(&notes, "http://127.0.0.1:8080").is_some());
        forget_in(&notes, addr, &dir.path().join("admin.token"));
        assert_eq!(found(&notes, "http://127.0.0.1:8080"), None);

        let token = dir.path().join("admin.token");
        let older = serde_json::json!({ "server": "http://127.0.0.1:8080", "admin_token_file": token });
        files::create_private(&notes.join("127.0.0.1_8080.json"), older.to_string().as_bytes()).unwrap();
        assert_eq!(found(&notes, "http://127.0.0.1:8080"), None, "it names no socket");
    }

    #[test]
    fn no_note_is_written_for_an_address_other_than_loopback() {
        let (_dir, notes) = set_up("192.0.2.7:8080");
        assert!(!notes.exists());
    }

    #[test]
    fn the_note_is_private_and_one_that_others_can_write_is_ignored() {
        let (_dir, notes) = set_up("0.0.0.0:8080");
        let note = notes.join("127.0.0.1_8080.json");
        assert_eq!(std::fs::metadata(&note).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(found(&notes, "http://127.0.0.1:8080").as_deref(), Some("secret"));
        std::fs::set_permissions(&note, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(found(&notes, "http://127.0.0.1:8080"), None);
    }
}
