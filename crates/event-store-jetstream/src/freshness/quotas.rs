//! The nonces that a writer was told of and that its commits have not yet answered, within quotas.
//!
//! Each role has a quota, so that readers of one cannot crowd out those of another. Within a role the room is shared by
//! instances: where it is full, the instance that has the most gives up its oldest. Of each reader the newest nonce
//! counts, which answers its older questions too.

use std::collections::{BTreeMap, VecDeque};

use super::nonce_list::{Nonce, NonceList, ReaderId};

/// Nonces of each role that a list has room for. Verifiers are the many; of others a city has few.
const QUOTAS: [(&str, usize); 6] = [
    ("verifier", 1_024),
    ("revocation", 64),
    ("issuer", 64),
    ("audit", 64),
    ("archive", 32),
    ("reader", 64),
];
/// The longest list.
pub(super) const MOST_NONCES: usize = {
    let (mut sum, mut at) = (0, 0);
    while at < QUOTAS.len() {
        sum += QUOTAS[at].1;
        at += 1;
    }
    sum
};
/// Longest name of an instance, in bytes: a user's public key has 56.
const MAX_INSTANCE_BYTES: usize = 64;

/// The roles whose questions are answered.
pub(super) fn roles() -> impl Iterator<Item = &'static str> {
    QUOTAS.iter().map(|(role, _)| *role)
}

/// The nonces of all roles.
#[derive(Debug)]
pub(super) struct UnansweredNonces {
    roles: Vec<RoleQuota>,
    /// How many nonces came.
    arrived: u64,
}

#[derive(Debug)]
struct RoleQuota {
    role: &'static str,
    quota: usize,
    count: usize,
    /// By name; of each the oldest first.
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
        let room = |(role, quota)| RoleQuota {
            role,
            quota,
            count: 0,
            instances: BTreeMap::new(),
        };
        Self {
            roles: QUOTAS.map(room).into(),
            arrived: 0,
        }
    }
}

impl UnansweredNonces {
    /// Takes a nonce in; whether its role is known.
    pub(super) fn take(&mut self, role: &str, instance: &str, reader: ReaderId, nonce: Nonce) -> bool {
        let Some(room) = self.roles.iter_mut().find(|room| room.role == role) else {
            return false;
        };
        if instance.len() > MAX_INSTANCE_BYTES {
            return false;
        }
        self.arrived += 1;
        let arrival = self.arrived;
        room.take(instance, Entry { reader, nonce, arrival });
        true
    }

    /// The arrival of the newest nonce.
    pub(super) fn newest(&self) -> u64 {
        self.arrived
    }

    /// Everything that is waiting.
    pub(super) fn list(&self) -> NonceList {
        self.entries().map(|entry| entry.nonce).collect()
    }

    /// Up to which arrival a list has everything that waits here.
    pub(super) fn covered_by(&self, list: &NonceList) -> u64 {
        let missing = self.entries().filter(|entry| !list.has(&entry.nonce));
        missing.map(|entry| entry.arrival - 1).min().unwrap_or(self.arrived)
    }

    /// Forgets what was answered, up to this arrival.
    pub(super) fn forget(&mut self, answered: u64) {
        for room in &mut self.roles {
            for waiting in room.instances.values_mut() {
                waiting.retain(|entry| entry.arrival > answered);
            }
            room.instances.retain(|_, waiting| !waiting.is_empty());
            room.count = room.instances.values().map(VecDeque::len).sum();
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.roles.iter().flat_map(|room| room.instances.values().flatten())
    }
}

impl RoleQuota {
    fn take(&mut self, instance: &str, entry: Entry) {
        if let Some(waiting) = self.instances.get_mut(instance)
            && let Some(at) = waiting.iter().position(|known| known.reader == entry.reader)
        {
            waiting.remove(at);
            waiting.push_back(entry);
            return;
        }
        if self.count == self.quota {
            self.make_room(instance);
        }
        self.count += 1;
        self.instances.entry(instance.to_owned()).or_default().push_back(entry);
    }

    /// The instance that has the most gives up its oldest: the newcomer's, where that is one of those.
    fn make_room(&mut self, newcomer: &str) {
        let most = self.instances.values().map(VecDeque::len).max().unwrap_or(0);
        let own = self.instances.get(newcomer).is_some_and(|own| own.len() == most);
        let name = match own {
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
    fn a_flood_of_one_role_leaves_the_others_and_its_other_instances_their_room() {
        let mut window = UnansweredNonces::default();
        for number in 0..200 {
            assert!(window.take("verifier", &format!("V{number}"), reader(number), nonce(number)));
        }
        assert!(window.take("archive", "HONEST", reader(0), nonce(900)));
        for number in 1_000..20_000 {
            assert!(window.take("archive", "THIEF", reader(number), nonce(number)));
            assert!(window.take("verifier", "V7", reader(number), nonce(number + 50_000)));
        }
        let list = window.list();
        assert!(
            (0..200)
                .filter(|number| *number != 7)
                .all(|number| list.has(&nonce(number)))
        );
        assert!(list.has(&nonce(900)), "an instance that has one keeps it");
        assert!(list.has(&nonce(19_999)) && !list.has(&nonce(1_000)));
        assert_eq!(list.to_bytes().len() / 16, 1_024 + 32);
    }

    #[test]
    fn the_newest_of_a_reader_counts_and_what_was_answered_is_forgotten() {
        let mut window = UnansweredNonces::default();
        window.take("audit", "A", reader(1), nonce(1));
        window.take("audit", "A", reader(2), nonce(2));
        window.take("audit", "A", reader(1), nonce(3));
        let list = window.list();
        assert_eq!(list, [nonce(2), nonce(3)].into_iter().collect());
        assert_eq!(window.covered_by(&list), 3);
        window.take("audit", "A", reader(3), nonce(4));
        assert_eq!(window.covered_by(&list), 3, "all but the newest");
        assert_eq!(window.covered_by(&[nonce(3), nonce(4)].into_iter().collect()), 1);
        window.forget(3);
        assert_eq!(window.list(), [nonce(4)].into_iter().collect());
        assert_eq!(window.newest(), 4);
    }

    #[test]
    fn strangers_take_no_room() {
        let mut window = UnansweredNonces::default();
        assert!(!window.take("mayor", "A", reader(1), nonce(1)));
        assert!(!window.take("audit", &"A".repeat(65), reader(1), nonce(1)));
        assert_eq!(window.newest(), 0);
        assert_eq!(MOST_NONCES, 1_312);
    }
}
