//! The state and standing of a code in four bits, and their conversion to and from domain types.
//!
//! ```text
//! entry  = fingerprint | nibble << 24                     28 bits
//! nibble = 0                                              never issued; with fingerprint 1: revoked without a code
//!        / 1 + 3 * life + standing                        1..=15
//! life   = 0 valid / 1 suspended / 2 superseded / 3 reported lost / 4 revoked
//! standing = 0 green / 1 yellow / 2 red
//! ```
//! Snapshot files contain these numbers: they must not change without a new format version.

use citycode_domain::standing::Standing;
use citycode_domain::status::{Death, Life, Status};

/// Bits of an entry.
pub(super) const ENTRY_BITS: u32 = 28;
/// Bits of the fingerprint, the low part of an entry.
pub(super) const FINGERPRINT_BITS: u32 = 24;
const FINGERPRINT_MASK: u32 = (1 << FINGERPRINT_BITS) - 1;

/// One code in 28 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry(pub(super) u32);

/// The two-bit value of an invalid index in a published status list, which includes indices without a code.
pub(super) const TWO_BIT_INVALID: u8 = 1;

impl Entry {
    /// No code was issued there.
    pub(super) const NEVER: Self = Self(0);

    /// A revoked index without a known code: a code may have been issued there in commits that were lost.
    pub(super) const VOID: Self = Self(1);

    /// The entry of a code that was just issued.
    pub(super) const fn issued(fingerprint: u32, standing: Standing) -> Self {
        Self((fingerprint & FINGERPRINT_MASK) | (nibble(Life::Valid, standing) << FINGERPRINT_BITS))
    }

    pub(super) const fn is_never(self) -> bool {
        self.0 == Self::NEVER.0
    }

    /// State and standing; `None` if no code was issued there.
    pub(super) const fn state(self) -> Option<(Life, Standing)> {
        let Some(number) = (self.0 >> FINGERPRINT_BITS).checked_sub(1) else {
            return None;
        };
        let life = match number / 3 {
            0 => Life::Valid,
            1 => Life::Suspended,
            2 => Life::Dead(Death::Superseded),
            3 => Life::Dead(Death::ReportedLost),
            _ => Life::Dead(Death::Revoked),
        };
        let standing = match number % 3 {
            0 => Standing::Green,
            1 => Standing::Yellow,
            _ => Standing::Red,
        };
        Some((life, standing))
    }

    const fn with(self, life: Life, standing: Standing) -> Self {
        Self((self.0 & FINGERPRINT_MASK) | (nibble(life, standing) << FINGERPRINT_BITS))
    }

    /// Ends the code permanently; the first reason stays.
    pub(super) const fn killed(self, death: Death) -> Self {
        match self.state() {
            Some((Life::Valid | Life::Suspended, standing)) => self.with(Life::Dead(death), standing),
            _ => self,
        }
    }

    /// Puts the code on hold if it is valid.
    pub(super) const fn suspended(self) -> Self {
        match self.state() {
            Some((Life::Valid, standing)) => self.with(Life::Suspended, standing),
            _ => self,
        }
    }

    /// Lifts the hold if there is one.
    pub(super) const fn reinstated(self) -> Self {
        match self.state() {
            Some((Life::Suspended, standing)) => self.with(Life::Valid, standing),
            _ => self,
        }
    }

    /// Sets the standing; the state stays.
    pub(super) const fn with_standing(self, standing: Standing) -> Self {
        match self.state() {
            Some((life, _)) => self.with(life, standing),
            None => self,
        }
    }

    /// The status of a token whose claims have this fingerprint.
    pub(super) const fn status(self, fingerprint: u32) -> Status {
        match self.state() {
            None if self.0 == Self::VOID.0 => Status::Issued {
                life: Life::Dead(Death::Revoked),
                standing: Standing::Green,
            },
            None => Status::NeverIssued,
            Some(_) if self.0 & FINGERPRINT_MASK != fingerprint & FINGERPRINT_MASK => Status::OtherClaims,
            Some((life, standing)) => Status::Issued { life, standing },
        }
    }

    /// The value in a public status list (Token Status List, 2 bits): 0 valid, 1 invalid, 2 suspended.
    pub(super) const fn two_bits(self) -> u8 {
        match self.state() {
            Some((Life::Valid, _)) => 0,
            Some((Life::Suspended, _)) => 2,
            Some((Life::Dead(_), _)) | None => TWO_BIT_INVALID,
        }
    }
}

const fn nibble(life: Life, standing: Standing) -> u32 {
    let life = match life {
        Life::Valid => 0,
        Life::Suspended => 1,
        Life::Dead(Death::Superseded) => 2,
        Life::Dead(Death::ReportedLost) => 3,
        Life::Dead(Death::Revoked) => 4,
    };
    1 + 3 * life + standing.number() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nibble_is_one_state_and_every_state_one_nibble() {
        for number in 0..16u32 {
            let entry = Entry(number << FINGERPRINT_BITS | 0x00AB_CDEF);
            match entry.state() {
                None => assert_eq!(number, 0),
                Some((life, standing)) => assert_eq!(nibble(life, standing), number),
            }
        }
    }

    #[test]
    fn a_dead_code_stays_dead_with_its_first_reason() {
        let lost = Entry::issued(7, Standing::Red).killed(Death::ReportedLost);
        for touched in [lost.killed(Death::Revoked), lost.suspended(), lost.reinstated()] {
            assert_eq!(touched, lost);
        }
    }
}
