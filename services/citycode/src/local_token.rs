//! How a client on the machine that ran `up` finds the local admin's token: a note per user and server.
//!
//! ```text
//! $XDG_STATE_HOME (or ~/.local/state) /citycode/servers/HOST_PORT.json   0600
//!     { "server": "http://127.0.0.1:8080", "admin_token_file": "/…/admin.token" }
//! ```
//! The note holds no secret, only where the secret stands. It is written and used for loopback addresses alone:
//! the token works nowhere else, and must not be sent elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use citycode_service_kit::files::{self, FileError};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Port of a `http://` address that names none.
const HTTP_PORT: u16 = 80;

#[derive(Serialize, Deserialize)]
struct Note {
    server: String,
    admin_token_file: PathBuf,
}

/// Remembers where the token for the server at `addr` stands. Does nothing for an address that is not loopback
/// (0.0.0.0 and :: are reached over loopback too), or where the user has no home.
///
/// # Errors
/// [`FileError`] if the note cannot be written.
pub fn remember(addr: SocketAddr, token_file: &Path) -> Result<(), FileError> {
    folder().map_or(Ok(()), |folder| remember_in(&folder, addr, token_file))
}

/// The token for the server at `server` (a URL), if this user ran it on this machine.
#[must_use]
pub fn find(server: &str) -> Option<Zeroizing<String>> {
    find_in(&folder()?, server)
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

fn remember_in(folder: &Path, addr: SocketAddr, token_file: &Path) -> Result<(), FileError> {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    if !ip.is_loopback() {
        return Ok(());
    }
    let addr = SocketAddr::new(ip, addr.port());
    let note = Note {
        server: format!("http://{addr}"),
        admin_token_file: std::path::absolute(token_file).unwrap_or_else(|_| token_file.to_owned()),
    };
    files::create_private_dir(folder)?;
    let text = serde_json::to_vec_pretty(&note).expect("two texts are always JSON");
    files::write_atomic(&folder.join(file_name(addr)), &text, files::PRIVATE_FILE_MODE)
}

fn find_in(folder: &Path, server: &str) -> Option<Zeroizing<String>> {
    let url = Url::parse(server).ok()?;
    let port = url.port().unwrap_or(HTTP_PORT);
    let host = url.host_str()?;
    let candidates: Vec<IpAddr> = if host == "localhost" {
        vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
    } else {
        let ip: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
        vec![ip]
    };
    candidates.into_iter().filter(IpAddr::is_loopback).find_map(|ip| {
        let note = files::read_private(&folder.join(file_name(SocketAddr::new(ip, port)))).ok()?;
        let note: Note = serde_json::from_slice(&note).ok()?;
        let token = files::read_private(&note.admin_token_file).ok()?;
        let token = std::str::from_utf8(&token).ok()?.trim();
        (!token.is_empty()).then(|| Zeroizing::new(token.to_owned()))
    })
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
        remember_in(&notes, addr.parse().unwrap(), &token).unwrap();
        (dir, notes)
    }

    fn found(notes: &Path, server: &str) -> Option<String> {
        find_in(notes, server).map(|token| token.to_string())
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
    fn nothing_is_noted_for_an_address_that_others_reach() {
        let (_dir, notes) = set_up("192.0.2.7:8080");
        assert!(!notes.exists());
    }

    #[test]
    fn the_note_is_private_and_one_that_others_may_change_is_not_believed() {
        let (_dir, notes) = set_up("0.0.0.0:8080");
        let note = notes.join("127.0.0.1_8080.json");
        assert_eq!(std::fs::metadata(&note).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(found(&notes, "http://127.0.0.1:8080").as_deref(), Some("secret"));
        std::fs::set_permissions(&note, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(found(&notes, "http://127.0.0.1:8080"), None);
    }
}
