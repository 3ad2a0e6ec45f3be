//! A port that nobody listens on.

use std::net::{Ipv4Addr, TcpListener};

/// A free TCP port of the loopback address, as the operating system gives it. Another process could take it
/// before it is used; where the program under test can listen on port 0 and say which it got, do that instead.
///
/// # Panics
/// Where the system has no port left.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("the system has a free port")
        .port()
}
