//! A network of hosts on one machine: network namespaces, each on two wires, that can be cut and mended.
//!
//! The outer wire leads to whoever runs the test, the inner one only from host to host, so that a host can lose its
//! fellows and keep its callers. Made by Debian's `ip` (iproute2) as root, under names and addresses that hold this
//! process's id; gone when dropped.

use std::fmt;
use std::net::Ipv4Addr;
use std::process::Command;

/// A network of hosts.
pub struct Network {
    tag: String,
    process: u32,
    hosts: Vec<String>,
}

/// One of the two wires of every host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Outer,
    Inner,
}

impl Network {
    /// Makes a network.
    ///
    /// # Panics
    /// Where this machine lets nobody make network namespaces; then nothing that needs them was tested.
    #[must_use]
    pub fn make(hosts: usize) -> Self {
        let process = std::process::id();
        let tag = format!("c{process:x}");
        let network = Self {
            hosts: (0..hosts).map(|host| format!("{tag}h{host}")).collect(),
            tag,
            process,
        };
        // Of a process of the same id that could not clean up.
        network.unmake();
        for wire in [Wire::Outer, Wire::Inner] {
            let bridge = network.bridge(wire);
            ip(&format!("link add {bridge} type bridge"));
            ip(&format!("link set {bridge} up"));
        }
        let own = network.numbered(Wire::Outer, 1);
        ip(&format!("addr add {own}/25 dev {}", network.bridge(Wire::Outer)));
        for host in 0..hosts {
            network.add(host);
        }
        network
    }

    fn add(&self, host: usize) {
        let namespace = self.namespace(host);
        ip(&format!("netns add {namespace}"));
        ip(&format!("-n {namespace} link set lo up"));
        for (wire, inside) in [(Wire::Outer, "outer"), (Wire::Inner, "inner")] {
            let (near, bridge) = (self.end(host, wire), self.bridge(wire));
            ip(&format!(
                "link add {near} type veth peer name {inside} netns {namespace}"
            ));
            ip(&format!("link set {near} master {bridge} up"));
            let address = self.numbered(wire, host + 10);
            ip(&format!("-n {namespace} addr add {address}/25 dev {inside}"));
            ip(&format!("-n {namespace} link set {inside} up"));
        }
    }

    /// The namespace of a host.
    ///
    /// # Panics
    /// Where there is no such host.
    #[must_use]
    pub fn namespace(&self, host: usize) -> &str {
        &self.hosts[host]
    }

    /// Where a host is reached from outside.
    #[must_use]
    pub fn address(&self, host: usize) -> Ipv4Addr {
        self.numbered(Wire::Outer, host + 10)
    }

    /// Where a host is reached by the others.
    #[must_use]
    pub fn inner_address(&self, host: usize) -> Ipv4Addr {
        self.numbered(Wire::Inner, host + 10)
    }

    /// Takes a host from its fellows; its callers still reach it.
    pub fn cut_inner(&self, host: usize) {
        ip(&format!("link set {} down", self.end(host, Wire::Inner)));
    }

    /// Takes a host from everybody.
    pub fn cut(&self, host: usize) {
        self.cut_inner(host);
        ip(&format!("link set {} down", self.end(host, Wire::Outer)));
    }

    /// Gives a host back both wires.
    pub fn mend(&self, host: usize) {
        for wire in [Wire::Outer, Wire::Inner] {
            ip(&format!("link set {} up", self.end(host, wire)));
        }
    }

    fn bridge(&self, wire: Wire) -> String {
        format!("{}b{}", self.tag, letter(wire))
    }

    /// The end of a host's wire that lies on its bridge.
    fn end(&self, host: usize, wire: Wire) -> String {
        format!("{}w{host}{}", self.tag, letter(wire))
    }

    /// Tests run beside each other: the process's id is in the address, 14 bits of it.
    fn numbered(&self, wire: Wire, number: usize) -> Ipv4Addr {
        let [.., high, low] = self.process.to_be_bytes();
        let number = u8::try_from(number).expect("a network has few hosts");
        let half = if wire == Wire::Outer { 0 } else { 128 };
        Ipv4Addr::new(10, 128 + (high & 63), low, half + number)
    }

    fn unmake(&self) {
        for namespace in &self.hosts {
            try_ip(&format!("netns del {namespace}"));
        }
        for wire in [Wire::Outer, Wire::Inner] {
            for host in 0..self.hosts.len() {
                try_ip(&format!("link del {}", self.end(host, wire)));
            }
            try_ip(&format!("link del {}", self.bridge(wire)));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.unmake();
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Network").field(&self.tag).finish()
    }
}

fn letter(wire: Wire) -> char {
    match wire {
        Wire::Outer => 'o',
        Wire::Inner => 'i',
    }
}

/// What `ip` says against it, if it does.
fn try_ip(words: &str) -> Option<String> {
    match Command::new("ip").args(words.split(' ')).output() {
        Ok(ended) if ended.status.success() => None,
        Ok(ended) => Some(String::from_utf8_lossy(&ended.stderr).into_owned()),
        Err(error) => Some(error.to_string()),
    }
}

fn ip(words: &str) {
    if let Some(reason) = try_ip(words) {
        panic!(
            "no network of namespaces can be made here (`ip {words}`: {}): it needs root and iproute2 \
             (`cargo xtask tools`); nothing was tested",
            reason.trim()
        );
    }
}
