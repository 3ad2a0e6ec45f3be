//! The byte encoding of one holder.
//!
//! ```text
//! holder    = flags:u8 guardian-count:varint guardian:16*
//!             last-decided:time recent:u32le* slot-count:varint slot*
//! flags     = bit 0 registered / 1 erased / 2-3 standing (0 green, 1 yellow, 2 red) / 4-6 count of recent commands
//! slot      = head:u8 [ slot-guardian ] code-id:8 list:u32le index:varint
//!             issued:time validity position
//! head      = bits 0-3 kind / 4 held / 5-6 death (0 alive, 1 superseded, 2 reported lost, 3 revoked) / 7 per guardian
//! slot-guardian = 1 + place among the guardians:varint / 0:varint guardian:16
//! time      = seconds since 1970:u32le, below 2^32-1 / FF FF FF FF seconds:i64le
//! validity  = (days << 1):varint, below 2^32 days / 1:varint zigzag(seconds):varint
//! position  = (sequence << 1):varint, below 2^63, partition as in the list's name / 1:varint partition:u16le sequence:u64le
//!             of a list of version 2, whose name does not have it, since snapshot format 2:
//!             (sequence << 1):varint partition:u8 / as above
//! varint    = LEB128, at most 10 bytes, shortest form not required
//! ```
//! Snapshot files contain these bytes: their meaning must not change without a new format version. Any bytes
//! can be unpacked safely; bytes that packing never produces are refused.

use citycode_domain::event::Slot;
use citycode_domain::ids::{CodeId, CodeKind, HolderId, ListFacts, ListId, Position, StatusRef};
use citycode_domain::lifecycle::{HeldCode, HolderState, SlotState};
use citycode_domain::standing::Standing;
use citycode_domain::status::Death;
use citycode_domain::time::Timestamp;

/// Number of command digests per holder: one more than the attempts that one caller can have in progress.
pub const RECENT_COMMANDS: usize = 4;

const SECONDS_PER_DAY: i64 = 86_400;
/// The tag of the long form of a validity or a position; short forms are even numbers.
const LONG_FORM: u64 = 1;

/// The first four bytes of the message ids of a holder's last commits. A match only means that the log must be
/// consulted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RecentCommands {
    digests: [u32; RECENT_COMMANDS],
    len: u8,
}

impl RecentCommands {
    /// Whether the command may be among the last ones. There is one false positive in a thousand million, so
    /// the caller must check the log.
    #[must_use]
    pub fn may_contain(&self, message_id_prefix: u32) -> bool {
        self.as_slice().contains(&message_id_prefix)
    }

    /// The digests, oldest first.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        &self.digests[..usize::from(self.len)]
    }

    pub(super) fn push(&mut self, digest: u32) {
        let len = usize::from(self.len);
        if len < RECENT_COMMANDS {
            self.digests[len] = digest;
            self.len += 1;
        } else {
            self.digests.rotate_left(1);
            self.digests[RECENT_COMMANDS - 1] = digest;
        }
    }
}

/// The flag of an erased holder.
const ERASED: u8 = 1 << 1;

/// Whether these packed bytes belong to an erased holder.
pub(super) fn is_erased(packed: &[u8]) -> bool {
    packed.first().is_some_and(|flags| flags & ERASED != 0)
}

/// Everything that is stored for one holder.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Packed {
    pub(super) state: HolderState,
    pub(super) recent: RecentCommands,
}

impl Packed {
    /// Resets everything but keeps the allocated memory.
    pub(super) fn clear(&mut self) {
        let before = std::mem::take(&mut self.state);
        (self.state.slots, self.state.guardians) = (before.slots, before.guardians);
        self.state.slots.clear();
        self.state.guardians.clear();
        self.recent = RecentCommands::default();
    }

    /// Appends the packed bytes.
    pub(super) fn pack(&self, out: &mut Vec<u8>) {
        let state = &self.state;
        out.push(
            u8::from(state.registered)
                | u8::from(state.erased) << 1
                | state.standing.number() << 2
                | self.recent.len << 4,
        );
        put_varint(out, state.guardians.len() as u64);
        for guardian in &state.guardians {
            out.extend_from_slice(&guardian.0);
        }
        put_time(out, state.last_decided_at);
        for digest in self.recent.as_slice() {
            out.extend_from_slice(&digest.to_le_bytes());
        }
        put_varint(out, state.slots.len() as u64);
        for slot in &state.slots {
            pack_slot(slot, &state.guardians, out);
        }
    }

    /// Unpacks exactly these bytes; `None`, with undefined content of `self`, if packing did not produce them.
    pub(super) fn unpack(&mut self, bytes: &[u8]) -> Option<()> {
        self.clear();
        let mut bytes = Bytes(bytes);
        let flags = bytes.byte()?;
        let state = &mut self.state;
        state.registered = flags & 1 != 0;
        state.erased = flags & ERASED != 0;
        state.standing = match (flags >> 2) & 3 {
            0 => Standing::Green,
            1 => Standing::Yellow,
            2 => Standing::Red,
            _ => return None,
        };
        if flags & 0x80 != 0 {
            return None;
        }
        for _ in 0..bytes.varint()? {
            state.guardians.push(HolderId(bytes.array()?));
        }
        state.last_decided_at = bytes.time()?;
        self.recent.len = flags >> 4;
        for digest in self.recent.digests.get_mut(..usize::from(flags >> 4))? {
            *digest = u32::from_le_bytes(bytes.array()?);
        }
        for _ in 0..bytes.varint()? {
            let slot = unpack_slot(&mut bytes, &state.guardians)?;
            state.slots.push(slot);
        }
        bytes.0.is_empty().then_some(())
    }
}

fn pack_slot(slot: &SlotState, guardians: &[HolderId], out: &mut Vec<u8>) {
    let code = &slot.code;
    let death = match code.death {
        None => 0,
        Some(Death::Superseded) => 1,
        Some(Death::ReportedLost) => 2,
        Some(Death::Revoked) => 3,
    };
    out.push(
        slot.slot.kind.number() | u8::from(slot.held) << 4 | death << 5 | u8::from(slot.slot.guardian.is_some()) << 7,
    );
    if let Some(guardian) = slot.slot.guardian {
        match guardians.iter().position(|known| *known == guardian) {
            Some(place) => put_varint(out, 1 + place as u64),
            None => {
                put_varint(out, 0);
                out.extend_from_slice(&guardian.0);
            }
        }
    }
    out.extend_from_slice(&code.code_id.0);
    out.extend_from_slice(&code.status.list.0.to_le_bytes());
    put_varint(out, u64::from(code.status.index));
    put_time(out, code.issued_at);
    put_validity(out, code.expires_at.0.wrapping_sub(code.issued_at.0));
    let (partition, sequence) = code.issued_position.parts();
    let named = ListFacts::of_version_1(code.status.list).map(|facts| facts.partition);
    match (named, u8::try_from(partition)) {
        (Some(named), _) if named == partition && sequence < 1 << 63 => put_varint(out, sequence << 1),
        (None, Ok(small)) if sequence < 1 << 63 => {
            put_varint(out, sequence << 1);
            out.push(small);
        }
        _ => {
            put_varint(out, LONG_FORM);
            out.extend_from_slice(&partition.to_le_bytes());
            out.extend_from_slice(&sequence.to_le_bytes());
        }
    }
}

fn unpack_slot(bytes: &mut Bytes<'_>, guardians: &[HolderId]) -> Option<SlotState> {
    let head = bytes.byte()?;
    let kind = CodeKind::new(head & 0x0F)?;
    let guardian = if head & 0x80 == 0 {
        None
    } else {
        match bytes.varint()?.checked_sub(1) {
            None => Some(HolderId(bytes.array()?)),
            Some(place) => Some(*guardians.get(usize::try_from(place).ok()?)?),
        }
    };
    let code_id = CodeId(bytes.array()?);
    let list = ListId(u32::from_le_bytes(bytes.array()?));
    let index = u32::try_from(bytes.varint()?).ok()?;
    let issued_at = bytes.time()?;
    let expires_at = Timestamp(issued_at.0.wrapping_add(bytes.validity()?));
    let issued_position = match bytes.varint()? {
        LONG_FORM => Position::new(u16::from_le_bytes(bytes.array()?), u64::from_le_bytes(bytes.array()?)),
        short if short % 2 == 0 => {
            let partition = match ListFacts::of_version_1(list) {
                Some(facts) => facts.partition,
                None => u16::from(bytes.byte()?),
            };
            Position::new(partition, short >> 1)
        }
        _ => return None,
    };
    Some(SlotState {
        slot: Slot { kind, guardian },
        code: HeldCode {
            code_id,
            status: StatusRef { list, index },
            issued_at,
            expires_at,
            issued_position,
            death: match (head >> 5) & 3 {
                0 => None,
                1 => Some(Death::Superseded),
                2 => Some(Death::ReportedLost),
                _ => Some(Death::Revoked),
            },
        },
        held: head & 0x10 != 0,
    })
}

/// LEB128.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_time(out: &mut Vec<u8>, time: Timestamp) {
    match u32::try_from(time.0) {
        Ok(seconds) if seconds != u32::MAX => out.extend_from_slice(&seconds.to_le_bytes()),
        _ => {
            out.extend_from_slice(&u32::MAX.to_le_bytes());
            out.extend_from_slice(&time.0.to_le_bytes());
        }
    }
}

fn put_validity(out: &mut Vec<u8>, seconds: i64) {
    match u32::try_from(seconds / SECONDS_PER_DAY) {
        Ok(days) if seconds % SECONDS_PER_DAY == 0 => put_varint(out, u64::from(days) << 1),
        _ => {
            put_varint(out, LONG_FORM);
            put_varint(out, ((seconds << 1) ^ (seconds >> 63)) as u64);
        }
    }
}

/// The remaining bytes.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn slice(&mut self, len: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(first)
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn time(&mut self) -> Option<Timestamp> {
        let seconds = u32::from_le_bytes(self.array()?);
        if seconds == u32::MAX {
            Some(Timestamp(i64::from_le_bytes(self.array()?)))
        } else {
            Some(Timestamp(i64::from(seconds)))
        }
    }

    fn validity(&mut self) -> Option<i64> {
        match self.varint()? {
            LONG_FORM => {
                let zigzag = self.varint()?;
                Some(((zigzag >> 1) as i64) ^ -((zigzag & 1) as i64))
            }
            short if short % 2 == 0 => {
                let days = u32::try_from(short >> 1).ok()?;
                Some(i64::from(days) * SECONDS_PER_DAY)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
