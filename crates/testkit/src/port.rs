//! Free TCP ports.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};

/// A free TCP port of the loopback address that no other test gets while this process runs, so that a server can be
/// restarted on its port. If the program under test can listen on port 0 and report its port, use that instead.
///
/// # Panics
/// If the system has no port left, or temporary files cannot be created.
#[must_use]
pub fn free_port() -> u16 {
    let reserved = std::env::temp_dir().join("citycode-test-ports");
    std::fs::create_dir_all(&reserved).expect("a folder for temporary files");
    loop {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("the system has a free port")
            .port();
        let lock = File::create(reserved.join(port.to_string())).expect("a file");
        if lock.try_lock().is_ok() {
            // The lock is released when the process ends.
            std::mem::forget(lock);
            return port;
        }
    }
}
