//! The nonces that a writer has received and not yet answered, with a quota for each role.
//!
//! Each role has a quota, so that readers of one role cannot displace those of another. The instances of a role share
//! its quota: when it is full, the instance with the most nonces loses its oldest. Of each reader only the newest nonce
//! is kept, whose answer also answers the older ones.

use std::collections::{BTreeMap, VecDeque};

use super::nonce_list::{Nonce, NonceList, ReaderId};

/// The most nonces of each role in a list. A city has many verifiers and few instances of other roles.
const QUOTAS: [(&str, usize); 6] = [
    ("verifier", 1_024),
    ("revocation", 64),
    ("issuer", 64),
    ("audit", 64),
    ("archive", 32),
    ("reader", 64),
];
/// The length of the longest list.
pub(super) const MAX_NONCES: usize = {
    let (mut sum, mut at) = (0, 0);
    while at < QUOTAS.len() {
        sum += QUOTAS[at].1;
        at += 1;
    }
    sum
};
/// Longest name of an instance in bytes; a user's public key has 56.
const MAX_INSTANCE_BYTES: usize = 64;

/// The roles whose probes are answered.
pub(crate) fn roles() -> impl Iterator<Item = &'static str> {
    QUOTAS.iter().map(|(role, _)| *role)
}

/// The unanswered nonces of all roles.
#[derive(Debug)]
pub(super) struct UnansweredNonces {
    roles: Vec<RoleNonces>,
    /// The number of accepted nonces, which is also the arrival number of the last one.
    arrived: u64,
}

#[derive(Debug)]
struct RoleNonces {
    role: &'static str,
    quota: usize,
    count: usize,
    /// By name; the oldest of each instance first.
    instances: BTreeMap<String, VecDeque<Entry>>,
}

#[derive(Debug)]
struct Entry {
    reader: ReaderId,
    nonce: Nonce,
    arrival: u64,
}

impl Default for UnansweredNonces {
    fn default() -> Self {
        let empty = |(role, quota)| RoleNonces {
            role,
            quota,
            count: 0,
            instances: BTreeMap::new(),
        };
        Self {
            roles: QUOTAS.map(empty).into(),
            arrived: 0,
        }
    }
}

impl UnansweredNonces {
    /// Adds a nonce; returns false if the role is unknown or the instance's name too long.
    pub(super) fn insert(&mut self, role: &str, instance: &str, reader: ReaderId, nonce: Nonce) -> bool {
        let Some(nonces) = self.roles.iter_mut().find(|nonces| nonces.role == role) else {
            return false;
        };
        if instance.len() > MAX_INSTANCE_BYTES {
            return false;
        }
        self.arrived += 1;
        let arrival = self.arrived;
        nonces.insert(instance, Entry { reader, nonce, arrival });
        true
    }

    /// The arrival number of the newest nonce.
    pub(super) fn last_arrival(&self) -> u64 {
        self.arrived
    }

    /// All unanswered nonces.
    pub(super) fn list(&self) -> NonceList {
        self.entries().map(|entry| entry.nonce).collect()
    }

    /// The arrival number up to which the list contains all unanswered nonces.
    pub(super) fn covered_by(&self, list: &NonceList) -> u64 {
        let missing = self.entries().filter(|entry| !list.contains(&entry.nonce));
        missing.map(|entry| entry.arrival - 1).min().unwrap_or(self.arrived)
    }

    /// Removes the nonces that were answered, up to this arrival number.
    pub(super) fn remove_answered(&mut self, answered: u64) {
        for nonces in &mut self.roles {
            for waiting in nonces.instances.values_mut() {
                waiting.retain(|entry| entry.arrival > answered);
            }
            nonces.instances.retain(|_, waiting| !waiting.is_empty());
            nonces.count = nonces.instances.values().map(VecDeque::len).sum();
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.roles.iter().flat_map(|nonces| nonces.instances.values().flatten())
    }
}

impl RoleNonces {
    fn insert(&mut self, instance: &str, entry: Entry) {
        if let Some(waiting) = self.instances.get_mut(instance)
            && let Some(at) = waiting.iter().position(|known| known.reader == entry.reader)
        {
            waiting.remove(at);
            waiting.push_back(entry);
            return;
        }
        if self.count == self.quota {
            self.evict_for(instance);
        }
        self.count += 1;
        self.instances.entry(instance.to_owned()).or_default().push_back(entry);
    }

    /// Removes the oldest nonce of the instance with the most nonces; of the newcomer itself if it has as many.
    fn evict_for(&mut self, newcomer: &str) {
        let most = self.instances.values().map(VecDeque::len).max().unwrap_or(0);
        let is_largest = self.instances.get(newcomer).is_some_and(|own| own.len() == most);
        let name = match is_largest {
            true => Some(newcomer.to_owned()),
            false => {
                let largest = self.instances.iter().find(|(_, waiting)| waiting.len() == most);
                largest.map(|(name, _)| name.clone())
            }
        };
        let Some(name) = name else {
            return;
        };
        if let Some(waiting) = self.instances.get_mut(&name) {
            waiting.pop_front();
            self.count -= 1;
            if waiting.is_empty() {
                self.instances.remove(&name);
            }
        }
        metrics::counter!("citycode_log_nonces_forgotten_total", "role" => self.role).increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce(number: u32) -> Nonce {
        let mut nonce = [0; 16];
        nonce[..4].copy_from_slice(&number.to_be_bytes());
        Nonce(nonce)
    }

    fn reader(number: u32) -> ReaderId {
        u64::from(number).to_be_bytes()
    }

    #[test]
    fn a_flood_displaces_neither_other_roles_nor_other_instances() {
        let mut nonces = UnansweredNonces::default();
        for number in 0..200 {
            assert!(nonces.insert("verifier", &format!("V{number}"), reader(number), nonce(number)));
        }
        assert!(nonces.insert("archive", "HONEST", reader(0), nonce(900)));
        for number in 1_000..20_000 {
            assert!(nonces.insert("archive", "THIEF", reader(number), nonce(number)));
            assert!(nonces.insert("verifier", "V7", reader(number), nonce(number + 50_000)));
        }
        let list = nonces.list();
        assert!(
            (0..200)
                .filter(|number| *number != 7)
                .all(|number| list.contains(&nonce(number)))
        );
        assert!(list.contains(&nonce(900)), "an instance with one nonce keeps it");
        assert!(list.contains(&nonce(19_999)) && !list.contains(&nonce(1_000)));
        assert_eq!(list.to_bytes().len() / 16, 1_024 + 32);
    }

    #[test]
    fn only_the_newest_nonce_of_a_reader_is_kept_and_answered_ones_are_removed() {
        let mut nonces = UnansweredNonces::default();
        nonces.insert("audit", "A", reader(1), nonce(1));
        nonces.insert("audit", "A", reader(2), nonce(2));
        nonces.insert("audit", "A", reader(1), nonce(3));
        let list = nonces.list();
        assert_eq!(list, [nonce(2), nonce(3)].into_iter().collect());
        assert_eq!(nonces.covered_by(&list), 3);
        nonces.insert("audit", "A", reader(3), nonce(4));
        assert_eq!(nonces.covered_by(&list), 3, "all but the newest");
        assert_eq!(nonces.covered_by(&[nonce(3), nonce(4)].into_iter().collect()), 1);
        nonces.remove_answered(3);
        assert_eq!(nonces.list(), [nonce(4)].into_iter().collect());
        assert_eq!(nonces.last_arrival(), 4);
    }

    #[test]
    fn unknown_roles_and_long_names_are_refused() {
        let mut nonces = UnansweredNonces::default();
        assert!(!nonces.insert("mayor", "A", reader(1), nonce(1)));
        assert!(!nonces.insert("audit", &"A".repeat(65), reader(1), nonce(1)));
        assert_eq!(nonces.last_arrival(), 0);
        assert_eq!(MAX_NONCES, 1_312);
    }
}
