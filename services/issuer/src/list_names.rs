//! Names of status lists that do not reveal what the lists contain (R29).
//!
//! The name of the list with counter `c` of partition `p` is a keyed permutation of the 28 bits `p (8) ‖ c (20)`.
//! Without the key names look random: two codes of one holder are always in lists of one partition, and the names of
//! those lists do not show it.
//!
//! The permutation is a balanced Feistel network over two halves of 14 bits (Luby and Rackoff, "How to construct
//! pseudorandom permutations from pseudorandom functions", SIAM J. Comput. 17(2), 1988) with ten rounds, as many as FF1
//! of NIST SP 800-38G has; its domain is well above the million that Revision 1 of that document requires. The round
//! function is the first two bytes of keyed BLAKE3 of the round's number and the half. 28 bits are the whole domain, so
//! no cycle walking is needed.

use citycode_domain::ids::ListId;
use zeroize::Zeroizing;

/// Maximum number of lists of a partition: the counter has 20 bits.
pub(crate) const LISTS_OF_A_PARTITION: u32 = 1 << COUNTER_BITS;

const COUNTER_BITS: u32 = 20;
const HALF_BITS: u32 = ListId::NUMBER_BITS / 2;
const HALF_MASK: u16 = (1 << HALF_BITS) - 1;
const ROUNDS: u8 = 10;
/// Domain separator of these hashes.
const DOMAIN: &[u8] = b"citycode list names v2";
/// Domain separator of the keys for logs that replace lost ones.
const REPLACEMENT_DOMAIN: &[u8] = b"citycode list names of a replacement v1";

/// The key under which lists are named; every issuer of a city has the same.
#[derive(Clone)]
pub struct ListNames(Zeroizing<[u8; 32]>);

impl ListNames {
    /// Names under this key.
    #[must_use]
    pub fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self(key)
    }

    /// Names under this key for a log that was created in place of a lost one: they differ from the lost log's, whose
    /// codes a gate without a network may still compare with the lists of those names.
    #[must_use]
    pub fn of_replacement(self, log_id: &[u8; 16]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(REPLACEMENT_DOMAIN);
        hasher.update(log_id);
        Self(Zeroizing::new(hasher.finalize().into()))
    }

    /// The name of the list with this counter in this partition; `None` if either does not fit into its bits.
    #[must_use]
    pub fn name(&self, partition: u16, counter: u32) -> Option<ListId> {
        let partition = u8::try_from(partition).ok()?;
        if counter >= LISTS_OF_A_PARTITION {
            return None;
        }
        ListId::from_number(self.permuted((u32::from(partition) << COUNTER_BITS) | counter))
    }

    /// A permutation of the 28-bit numbers.
    fn permuted(&self, number: u32) -> u32 {
        let (mut left, mut right) = ((number >> HALF_BITS) as u16, number as u16 & HALF_MASK);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ self.round(round, right));
        }
        (u32::from(left) << HALF_BITS) | u32::from(right)
    }

    fn round(&self, round: u8, half: u16) -> u16 {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(DOMAIN);
        hasher.update(&[round]);
        hasher.update(&half.to_be_bytes());
        let digest = hasher.finalize();
        let [first, second, ..] = digest.as_bytes();
        u16::from_be_bytes([*first, *second]) & HALF_MASK
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn names(fill: u8) -> ListNames {
        ListNames::new(Zeroizing::new([fill; 32]))
    }

    /// Logs contain these names: never edit them.
    #[test]
    fn names_do_not_change() {
        let named: Vec<String> = [(0, 0), (0, 1), (1, 0), (255, LISTS_OF_A_PARTITION - 1)]
            .into_iter()
            .map(|(partition, counter)| names(7).name(partition, counter).expect("it fits").to_string())
            .collect();
        assert_eq!(named, GOLDEN);
    }

    const GOLDEN: [&str; 4] = ["950ebca0", "4f0edc0a", "010add83", "700a554e"];

    #[test]
    fn a_log_that_replaces_a_lost_one_has_other_names() {
        let own: HashSet<_> = (0..2_000).map(|counter| names(7).name(0, counter)).collect();
        for log in [1, 2] {
            let replaced = names(7).of_replacement(&[log; 16]);
            let same = (0..2_000).filter(|counter| own.contains(&replaced.name(0, *counter)));
            // By chance 0.015 of 2,000.
            assert!(same.count() < 3);
        }
        let [one, two] = [1, 2].map(|log| names(7).of_replacement(&[log; 16]).name(0, 0));
        assert_ne!(one, two);
    }

    #[test]
    fn names_are_unique_and_values_out_of_range_have_none() {
        let names = names(1);
        let mut seen = HashSet::new();
        for partition in 0..=255 {
            for counter in (0..2_000).chain(LISTS_OF_A_PARTITION - 20..LISTS_OF_A_PARTITION) {
                let name = names.name(partition, counter).expect("it fits");
                assert!(name.is_version_2());
                assert!(seen.insert(name), "{partition} {counter}");
            }
        }
        assert_eq!(names.name(256, 0), None);
        assert_eq!(names.name(0, LISTS_OF_A_PARTITION), None);
    }

    /// What an attacker without the key could look for: a bit that lists of one partition share, and differences that
    /// occur more often between lists of one partition than between others.
    #[test]
    fn r29_names_of_one_partition_have_no_more_in_common_than_any_others() {
        const LISTS: u32 = 400;
        let names = names(9);
        for partition in 0..16 {
            for bit in (0..32).filter(|bit| !(20..24).contains(bit)) {
                let set = (0..LISTS).filter(|counter| {
                    let name = names.name(partition, *counter).expect("it fits");
                    name.0 >> bit & 1 == 1
                });
                // Half of them, within six standard deviations (of 10 each).
                let set = set.count();
                assert!(
                    (140..=260).contains(&set),
                    "partition {partition} bit {bit}: {set} of {LISTS}"
                );
            }
        }
        // Pairs of one partition agree in a bit as often as pairs of two, for every bit, and in their high byte.
        let name = |partition: u16, counter: u32| names.name(partition, counter).expect("it fits").0;
        let count = |other: u16, agree: &dyn Fn(u32, u32) -> bool| {
            let pairs = (0..16u16).flat_map(|partition| (0..LISTS / 2).map(move |pair| (partition, 2 * pair)));
            let pairs = pairs
                .map(|(partition, counter)| (name(partition, counter), name((partition + other) % 16, counter + 1)));
            pairs.filter(|(one, two)| agree(*one, *two)).count()
        };
        // 3,200 pairs: 1,600 agree in a bit, six standard deviations are 170.
        for bit in (0..32).filter(|bit| !(20..24).contains(bit)) {
            for other in [0, 1] {
                let agreeing = count(other, &|one, two| (one ^ two) >> bit & 1 == 0);
                assert!((1_430..=1_770).contains(&agreeing), "bit {bit}: {agreeing}");
            }
        }
        // A byte agrees by chance once in 256: 12 or 13 of 3,200; in names of version 1 all would.
        for other in [0, 1] {
            let agreeing = count(other, &|one, two| one >> 24 == two >> 24);
            assert!(agreeing < 40, "{agreeing}");
        }
    }
}
