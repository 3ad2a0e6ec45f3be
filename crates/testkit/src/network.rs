//! A network of hosts on one machine: network namespaces, each with two links that can be cut and restored.
//!
//! The outer link leads to the test, the inner one only to the other hosts, so that a host can lose its peers but keep
//! its clients. The bridges are in a separate namespace, because in the machine's own one a firewall (such as Docker's)
//! may drop forwarded packets. The network is created with Debian's `ip` (iproute2) as root, with names and addresses
//! that contain this process's id, and deleted when dropped.

use std::fmt;
use std::net::Ipv4Addr;
use std::process::Command;

/// A network of hosts.
pub struct Network {
    tag: String,
    process: u32,
    /// The namespace with the bridges.
    middle: String,
    hosts: Vec<String>,
}

/// One of the two links of every host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Outer,
    Inner,
}

impl Network {
    /// Creates a network.
    ///
    /// # Panics
    /// If network namespaces are not permitted; then nothing that needs them was tested.
    #[must_use]
    pub fn create(hosts: usize) -> Self {
        let process = std::process::id();
        let tag = format!("c{process:x}");
        let network = Self {
            middle: format!("{tag}m"),
            hosts: (0..hosts).map(|host| format!("{tag}h{host}")).collect(),
            tag,
            process,
        };
        // Removes what a killed process with the same id left.
        network.delete();
        let middle = &network.middle;
        ip(&format!("netns add {middle}"));
        for link in [Link::Outer, Link::Inner] {
            let bridge = bridge(link);
            ip(&format!("-n {middle} link add name {bridge} type bridge"));
            ip(&format!("-n {middle} link set {bridge} up"));
        }
        let (own, address) = (network.own_end(), network.numbered(Link::Outer, 1));
        ip(&format!("link add name {own} type veth peer name own netns {middle}"));
        ip(&format!("-n {middle} link set own master {} up", bridge(Link::Outer)));
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
        for (link, inside) in [(Link::Outer, "outer"), (Link::Inner, "inner")] {
            let (near, bridge, middle) = (bridge_end(host, link), bridge(link), &self.middle);
            ip(&format!(
                "-n {middle} link add name {near} type veth peer name {inside} netns {namespace}"
            ));
            ip(&format!("-n {middle} link set {near} master {bridge} up"));
            let address = self.numbered(link, host + 10);
            ip(&format!("-n {namespace} addr add {address}/25 dev {inside}"));
            ip(&format!("-n {namespace} link set {inside} up"));
        }
    }

    /// The namespace of a host.
    ///
    /// # Panics
    /// If there is no such host.
    #[must_use]
    pub fn namespace(&self, host: usize) -> &str {
        &self.hosts[host]
    }

    /// A host's address for the test.
    #[must_use]
    pub fn address(&self, host: usize) -> Ipv4Addr {
        self.numbered(Link::Outer, host + 10)
    }

    /// A host's address for the other hosts.
    #[must_use]
    pub fn inner_address(&self, host: usize) -> Ipv4Addr {
        self.numbered(Link::Inner, host + 10)
    }

    /// Cuts a host from the other hosts, but not from its clients.
    pub fn cut_inner(&self, host: usize) {
        self.set(host, Link::Inner, "down");
    }

    /// Cuts both links of a host.
    pub fn cut(&self, host: usize) {
        self.cut_inner(host);
        self.set(host, Link::Outer, "down");
    }

    /// Restores both links of a host.
    pub fn restore(&self, host: usize) {
        for link in [Link::Outer, Link::Inner] {
            self.set(host, link, "up");
        }
    }

    fn set(&self, host: usize, link: Link, state: &str) {
        ip(&format!(
            "-n {} link set {} {state}",
            self.middle,
            bridge_end(host, link)
        ));
    }

    /// The test's end of its link to the hosts.
    fn own_end(&self) -> String {
        format!("{}x", self.tag)
    }

    /// An address that contains 14 bits of the process's id, because tests run concurrently.
    fn numbered(&self, link: Link, number: usize) -> Ipv4Addr {
        let [.., high, low] = self.process.to_be_bytes();
        let number = u8::try_from(number).expect("a network has few hosts");
        let half = if link == Link::Outer { 0 } else { 128 };
        Ipv4Addr::new(10, 128 + (high & 63), low, half + number)
    }

    fn delete(&self) {
        for namespace in self.hosts.iter().chain([&self.middle]) {
            try_ip(&format!("netns del {namespace}"));
        }
        try_ip(&format!("link del {}", self.own_end()));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.delete();
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Network").field(&self.tag).finish()
    }
}

fn bridge(link: Link) -> &'static str {
    match link {
        Link::Outer => "outside",
        Link::Inner => "inside",
    }
}

/// The bridge's end of a host's link.
fn bridge_end(host: usize, link: Link) -> String {
    match link {
        Link::Outer => format!("out{host}"),
        Link::Inner => format!("in{host}"),
    }
}

/// Runs `ip` and returns its error, if any.
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
            "network namespaces cannot be created (`ip {words}`: {}): this requires root and iproute2 \
             (`cargo xtask tools`); nothing was tested",
            reason.trim()
        );
    }
}
