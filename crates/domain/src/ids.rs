//! Identifiers. Each is its own type, so that none can stand in another's place.
//!
//! All are plain bytes chosen elsewhere (random draws are handed in); their text form is lower-case hex.

use core::fmt;

/// Lowercase, as every number of ours is written.
const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

const fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The identifier from exactly [`Self::LEN`] bytes.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The identifier from its hex text, in either case.
            #[must_use]
            pub fn from_hex(text: &str) -> Option<Self> {
                let text = text.as_bytes();
                if text.len() != $len * 2 {
                    return None;
                }
                let mut bytes = [0u8; $len];
                for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
                    *byte = hex_value(pair[0])? << 4 | hex_value(pair[1])?;
                }
                Some(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // One write: an answer to a scan holds such a number, and a write for each byte costs as much as the scan.
                let mut digits = [0; 2 * $len];
                for (digits, byte) in digits.chunks_exact_mut(2).zip(self.0) {
                    digits[0] = HEX_DIGITS[usize::from(byte >> 4)];
                    digits[1] = HEX_DIGITS[usize::from(byte & 0x0F)];
                }
                f.write_str(core::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

byte_id!(
    /// A person in the log: 128 random bits that say nothing of who it is (R28).
    HolderId, 16
);
byte_id!(
    /// One code, for its whole life: 64 random bits, the `cti` claim of its token.
    CodeId, 8
);
byte_id!(
    /// One correction of a person's name: 128 random bits under which the log and the vault mean the same one.
    NameChangeId, 16
);
byte_id!(
    /// A caller's name for one attempt at a change; sent again it has no second effect.
    CommandId, 16
);
byte_id!(
    /// Which key signed a token: the COSE `kid`.
    KeyId, 4
);
byte_id!(
    /// SHA-256 of the exact signed claims (the CWT payload), as the log records it at issue (R25).
    ClaimsDigest, 32
);

/// A kind of code, by the number that the policy gives it. 1..=15; a number is never given to another kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CodeKind(u8);

impl CodeKind {
    /// The greatest number a kind may have: it fits a nibble.
    pub const MAX: u8 = 15;

    /// The kind with this number, if it is within 1..=15.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number >= 1 && number <= Self::MAX {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number, 1..=15.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// The name of a status list: eight hex digits, the last part of the list's URI.
///
/// Names of version 2 have 0 in bits 20 to 23; their other 28 bits are a permutation, under a key that issuers hold, of
/// where the list stands, so that a name tells nobody which partition, kind or time its codes are of (R29). What a
/// list holds is said by the events that lease places in it, as [`ListFacts`].
///
/// Names of version 1 have a kind there, which is never 0, and say what they hold: high to low partition 8 bits, kind
/// 4, window 16, generation 4. [`ListFacts::of_version_1`] reads them; nothing else does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListId(pub u32);

impl ListId {
    /// The greatest generation of a name of version 1.
    pub const MAX_GENERATION: u8 = 15;
    /// How many bits of a name of version 2 are not 0.
    pub const NUMBER_BITS: u32 = 28;

    /// The bits of the kind in a name of version 1; all are 0 in one of version 2.
    const KIND_BITS: u32 = 0x00F0_0000;

    /// The name of version 1 for codes of `kind` in `partition` that expire at `expires_at`.
    /// `None` where a part does not fit its bits (expiry before 1970 or after the year 7300, generation over 15).
    #[must_use]
    pub fn new(partition: u8, kind: CodeKind, expires_at: crate::time::Timestamp, generation: u8) -> Option<Self> {
        let window = u16::try_from(expires_at.0.div_euclid(ListFacts::WINDOW_SECONDS)).ok()?;
        if generation > Self::MAX_GENERATION {
            return None;
        }
        let high = (u32::from(partition) << 24) | (u32::from(kind.number()) << 20);
        Some(Self(high | (u32::from(window) << 4) | u32::from(generation)))
    }

    /// The name of version 2 with this number, if it has at most [`ListId::NUMBER_BITS`] bits.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        if number >> Self::NUMBER_BITS != 0 {
            return None;
        }
        Some(Self(((number >> 20) << 24) | (number & 0x000F_FFFF)))
    }

    /// Whether the name is of version 2.
    #[must_use]
    pub const fn is_version_2(self) -> bool {
        self.0 & Self::KIND_BITS == 0
    }
}

/// What a status list holds: codes of one partition, one kind and one expiry window, so that whole lists retire
/// together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ListFacts {
    /// The partition of the log whose holders' codes stand in the list.
    pub partition: u16,
    /// The kind of those codes.
    pub kind: CodeKind,
    /// From this instant on every code of the list has expired.
    pub retires_at: crate::time::Timestamp,
}

impl ListFacts {
    /// Width of an expiry window in seconds (30 days).
    pub const WINDOW_SECONDS: i64 = 30 * 86_400;

    /// What the list holds in which a code of `kind` in `partition` stands that expires at `expires_at`. `None` where
    /// no window ends after it.
    #[must_use]
    pub fn for_code(partition: u16, kind: CodeKind, expires_at: crate::time::Timestamp) -> Option<Self> {
        let window = expires_at.0.div_euclid(Self::WINDOW_SECONDS);
        let end = window.checked_add(1)?.checked_mul(Self::WINDOW_SECONDS)?;
        Some(Self {
            partition,
            kind,
            retires_at: crate::time::Timestamp(end),
        })
    }

    /// What a name of version 1 says of its list; `None` for one of version 2, which says nothing. The one place where a
    /// name is read: leases of version 1 did not say it.
    #[must_use]
    pub fn of_version_1(list: ListId) -> Option<Self> {
        let [partition, kind_and_window, ..] = list.0.to_be_bytes();
        let window = i64::from((list.0 >> 4) & 0xFFFF);
        Some(Self {
            partition: u16::from(partition),
            kind: CodeKind::new(kind_and_window >> 4)?,
            retires_at: crate::time::Timestamp((window + 1) * Self::WINDOW_SECONDS),
        })
    }
}

impl fmt::Display for ListId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for ListId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ListId({self})")
    }
}

/// Where a code's status stands: a place in a status list, used by one code only and for ever.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct StatusRef {
    /// The list.
    pub list: ListId,
    /// The place in it, from 0.
    pub index: u32,
}

/// Where a commit stands in the log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CommitPosition {
    /// Partition of the log, from 0.
    pub partition: u16,
    /// Place in the partition, from 1, without gaps.
    pub sequence: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use std::string::ToString;

    #[test]
    fn hex_goes_both_ways_and_refuses_the_rest() {
        let id = CodeId([0, 1, 0x7f, 0x80, 0xfe, 0xff, 9, 10]);
        assert_eq!(id.to_string(), "00017f80feff090a");
        assert_eq!(CodeId::from_hex("00017F80FEFF090A"), Some(id));
        for bad in [
            "",
            "00",
            "00017f80feff090",
            "00017f80feff090a0",
            "00017f80feff09+a",
            "０0017f80feff09",
        ] {
            assert_eq!(CodeId::from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_name_of_version_1_keeps_its_parts() {
        let kind = CodeKind::new(4).expect("4 is a kind");
        let expiry = Timestamp(1_700_000_000);
        let list = ListId::new(255, kind, expiry, 15).expect("all parts fit");
        assert!(!list.is_version_2());
        let facts = ListFacts::of_version_1(list).expect("it says what it holds");
        assert_eq!(Some(facts), ListFacts::for_code(255, kind, expiry));
        assert!(facts.retires_at > expiry);
        assert!(facts.retires_at.0 - expiry.0 <= ListFacts::WINDOW_SECONDS);
        assert_eq!(ListId::new(0, kind, Timestamp(-1), 0), None);
        assert_eq!(ListId::new(0, kind, expiry, 16), None);
    }

    #[test]
    fn names_of_version_2_say_nothing_and_are_as_many_as_their_numbers() {
        for number in [0, 1, 0x000F_FFFF, 0x0010_0000, 0x0FFF_FFFF] {
            let list = ListId::from_number(number).expect("28 bits");
            assert!(list.is_version_2());
            assert_eq!(ListFacts::of_version_1(list), None);
            assert_eq!((list.0 >> 24 << 20) | (list.0 & 0x000F_FFFF), number);
        }
        assert_eq!(ListId::from_number(1 << 28), None);
    }
}
