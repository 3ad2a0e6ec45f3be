//! A port that nobody listens on.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};

/// A free TCP port of the loopback address, as the operating system gives it, that no other test is given as long as
/// this process lives: servers are stopped and started again on theirs. Where the program under test can listen on
/// port 0 and say which it got, do that instead.
///
/// # Panics
/// Where the system has no port left, or no place for temporary files.
#[must_use]
pub fn free_port() -> u16 {
    let given_away = std::env::temp_dir().join("citycode-test-ports");
    std::fs::create_dir_all(&given_away).expect("a folder for temporary files");
    loop {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("the system has a free port")
            .port();
        let mark = File::create(given_away.join(port.to_string())).expect("a file");
        if mark.try_lock().is_ok() {
            // The lock ends with the process.
            std::mem::forget(mark);
            return port;
        }
    }
}
