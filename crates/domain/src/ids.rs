//! Identifiers. Each is a type of its own, so that one cannot be used in place of another.
//!
//! All are plain bytes chosen by the caller (random draws are arguments); their text form is lower-case hex.

use core::fmt;

pub use citycode_log_position::Position;

/// Lower case, like every hexadecimal number that this system writes.
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
                // One write for the whole number: every scan response contains such ids, and one write per byte
                // would cost as much as the scan itself.
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
    /// A person in the log: 128 random bits that reveal nothing about the person (R28).
    HolderId, 16
);
byte_id!(
    /// A policy: SHA-256 of its file's text.
    PolicyDigest, 32
);
byte_id!(
    /// A process that writes scan records: 8 random bytes. Zero in the records of one process's folder.
    ScanWriterId, 8
);
byte_id!(
    /// One code: 64 random bits, the `cti` claim of its token.
    CodeId, 8
);
byte_id!(
    /// One correction of a person's name: 128 random bits by which the log and the vault refer to the same
    /// correction.
    NameChangeId, 16
);
byte_id!(
    /// The idempotency key of a change: a command that is sent again with the same id has no second effect.
    CommandId, 16
);
byte_id!(
    /// The id of a signing key: the COSE `kid` of a token.
    KeyId, 4
);
byte_id!(
    /// SHA-256 of the exact signed claims (the CWT payload), as the log records it at issue (R25).
    ClaimsDigest, 32
);

/// A kind of code, by the number that the policy assigns to it (1..=15). A number is never reassigned to
/// another kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CodeKind(u8);

impl CodeKind {
    /// The greatest number a kind may have: it must fit in four bits.
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
/// Names of version 2 have 0 in bits 20 to 23. Their other 28 bits are a permutation of the list's partition
/// and counter, under a key that issuers hold, so that a name does not reveal the partition, kind or time of
/// its codes (R29). The events that lease indices of a list state what it contains, as [`ListFacts`].
///
/// Names of version 1 have a kind in bits 20 to 23, which is never 0, and encode what the list contains, from
/// high to low: partition 8 bits, kind 4, window 16, generation 4. Only [`ListFacts::of_version_1`] decodes
/// them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListId(pub u32);

impl ListId {
    /// The greatest generation of a name of version 1.
    pub const MAX_GENERATION: u8 = 15;
    /// The number of bits of a version 2 name that may be set.
    pub const NUMBER_BITS: u32 = 28;

    /// The bits of the kind in a version 1 name; all are 0 in a version 2 name.
    const KIND_BITS: u32 = 0x00F0_0000;

    /// The version 1 name for codes of `kind` in `partition` that expire at `expires_at`. `None` if a part does
    /// not fit in its bits (expiry before 1970 or after the year 7300, generation over 15).
    #[must_use]
    pub fn new(partition: u8, kind: CodeKind, expires_at: crate::time::Timestamp, generation: u8) -> Option<Self> {
        let window = u16::try_from(expires_at.0.div_euclid(ListFacts::WINDOW_SECONDS)).ok()?;
        if generation > Self::MAX_GENERATION {
            return None;
        }
        let high = (u32::from(partition) << 24) | (u32::from(kind.number()) << 20);
        Some(Self(high | (u32::from(window) << 4) | u32::from(generation)))
    }

    /// The version 2 name with this number, if it has at most [`ListId::NUMBER_BITS`] bits.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        if number >> Self::NUMBER_BITS != 0 {
            return None;
        }
        Some(Self(((number >> 20) << 24) | (number & 0x000F_FFFF)))
    }

    /// Whether this is a version 2 name.
    #[must_use]
    pub const fn is_version_2(self) -> bool {
        self.0 & Self::KIND_BITS == 0
    }
}

/// What a status list contains: codes of one partition, one kind and one expiry window, so that whole lists
/// retire together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ListFacts {
    /// The partition of the log whose holders' codes are in the list.
    pub partition: u16,
    /// The kind of those codes.
    pub kind: CodeKind,
    /// Every code of the list has expired from this instant on.
    pub retires_at: crate::time::Timestamp,
}

impl ListFacts {
    /// Width of an expiry window in seconds (30 days).
    pub const WINDOW_SECONDS: i64 = 30 * 86_400;

    /// The facts of the list for a code of `kind` in `partition` that expires at `expires_at`. `None` if the
    /// end of the window overflows.
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

    /// What a version 1 name says about its list; `None` for a version 2 name. This is the only place that
    /// decodes a name, because leases of version 1 did not record these facts.
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

/// An index of a status list. Each index is used by one code only and is never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct StatusRef {
    /// The list.
    pub list: ListId,
    /// The index in it, from 0.
    pub index: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use std::string::ToString;

    #[test]
    fn hex_round_trips_and_rejects_other_text() {
        let id = CodeId([0, 1, 0x7f, 0x80, 0xfe, 0xff, 9, 10]);
        assert_eq!(id.to_string(), "00017f80feff090a");
        for text in ["00017f80feff090a", "00017F80FEFF090A", "00017f80FEff090A"] {
            assert_eq!(CodeId::from_hex(text), Some(id), "{text}");
        }
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
    fn names_of_version_2_reveal_nothing_and_are_unique_per_number() {
        for number in [0, 1, 0x000F_FFFF, 0x0010_0000, 0x0FFF_FFFF] {
            let list = ListId::from_number(number).expect("28 bits");
            assert!(list.is_version_2());
            assert_eq!(ListFacts::of_version_1(list), None);
            assert_eq!((list.0 >> 24 << 20) | (list.0 & 0x000F_FFFF), number);
        }
        assert_eq!(ListId::from_number(1 << 28), None);
    }
}
