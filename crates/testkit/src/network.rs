//! A network of hosts on one machine: network namespaces, each on two wires, that can be cut and mended.
//!
//! The outer wire leads to whoever runs the test, the inner one only from host to host, so that a host can lose its
//! fellows and keep its callers. The wires meet in a namespace of their own: in the machine's own one a firewall (such
//! as Docker's) may drop what a bridge forwards. Made by Debian's `ip` (iproute2) as root, under names and addresses
//! that hold this process's id; gone when dropped.

use std::fmt;
use std::net::Ipv4Addr;
use std::process::Command;

/// A network of hosts.
pub struct Network {
    tag: String,
    process: u32,
    /// The namespace in which the wires meet.
    middle: String,
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
            middle: format!("{tag}m"),
            hosts: (0..hosts).map(|host| format!("{tag}h{host}")).collect(),
            tag,
            process,
        };
        // Of a process of the same id that could not clean up.
        network.unmake();
        let middle = &network.middle;
        ip(&format!("netns add {middle}"));
        for wire in [Wire::Outer, Wire::Inner] {
            let bridge = bridge(wire);
            ip(&format!("-n {middle} link add name {bridge} type bridge"));
            ip(&format!("-n {middle} link set {bridge} up"));
        }
        let (own, address) = (network.own_end(), network.numbered(Wire::Outer, 1));
        ip(&format!("link add name {own} type veth peer name own netns {middle}"));
        ip(&format!("-n {middle} link set own master {} up", bridge(Wire::Outer)));
        ip(&format!("addr add {address}/25 dev {own}"));
        ip(&format!("link set {own} up"));
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
            let (near, bridge, middle) = (end(host, wire), bridge(wire), &self.middle);
            ip(&format!(
                "-n {middle} link add name {near} type veth peer name {inside} netns {namespace}"
            ));
            ip(&format!("-n {middle} link set {near} master {bridge} up"));
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
        self.set(host, Wire::Inner, "down");
    }

    /// Takes a host from everybody.
    pub fn cut(&self, host: usize) {
        self.cut_inner(host);
        self.set(host, Wire::Outer, "down");
    }

    /// Gives a host back both wires.
    pub fn mend(&self, host: usize) {
        for wire in [Wire::Outer, Wire::Inner] {
            self.set(host, wire, "up");
        }
    }

    fn set(&self, host: usize, wire: Wire, state: &str) {
        ip(&format!("-n {} link set {} {state}", self.middle, end(host, wire)));
    }

    /// The wire from this process to the hosts.
    fn own_end(&self) -> String {
        format!("{}x", self.tag)
    }

    /// Tests run beside each other: the process's id is in the address, 14 bits of it.
    fn numbered(&self, wire: Wire, number: usize) -> Ipv4Addr {
        let [.., high, low] = self.process.to_be_bytes();
        let number = u8::try_from(number).expect("a network has few hosts");
        let half = if wire == Wire::Outer { 0 } else { 128 };
        Ipv4Addr::new(10, 128 + (high & 63), low, half + number)
    }

    fn unmake(&self) {
        for namespace in self.hosts.iter().chain([&self.middle]) {
            try_ip(&format!("netns del {namespace}"));
        }
        try_ip(&format!("link del {}", self.own_end()));
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

fn bridge(wire: Wire) -> &'static str {
    match wire {
        Wire::Outer => "outside",
        Wire::Inner => "inside",
    }
}

/// The end of a host's wire that lies on its bridge.
fn end(host: usize, wire: Wire) -> String {
    match wire {
        Wire::Outer => format!("out{host}"),
        Wire::Inner => format!("in{host}"),
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
