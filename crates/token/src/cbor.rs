//! Reading deterministically encoded CBOR (RFC 8949 §4.2.1), and nothing else.
//!
//! minicbor reads the items. It tolerates integers and lengths in more bytes than needed, and indefinite
//! lengths; these are detected by comparing the number of bytes read with the length of the shortest form.
//! Duplicate and unknown keys cannot occur, because callers request each key in order.

use minicbor::Decoder;

/// A reader over bytes. Every method returns `None` unless the next item is the requested one in its shortest
/// form.
#[derive(Clone)]
pub(crate) struct Strict<'a> {
    decoder: Decoder<'a>,
}

impl<'a> Strict<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            decoder: Decoder::new(bytes),
        }
    }

    /// Number of bytes read.
    pub(crate) fn position(&self) -> usize {
        self.decoder.position()
    }

    /// Succeeds at the end of the input.
    pub(crate) fn end(&self) -> Option<()> {
        (self.position() == self.decoder.input().len()).then_some(())
    }

    fn moved_by(&self, from: usize, expected: usize) -> Option<()> {
        (self.position().checked_sub(from)? == expected).then_some(())
    }

    pub(crate) fn uint(&mut self) -> Option<u64> {
        let from = self.position();
        let value = self.decoder.u64().ok()?;
        self.moved_by(from, head_len(value))?;
        Some(value)
    }

    /// A signed integer.
    pub(crate) fn int(&mut self) -> Option<i64> {
        let from = self.position();
        let value = self.decoder.i64().ok()?;
        // A negative integer is written as -1 - value, whose bits are those of the value inverted.
        let argument = if value.is_negative() { !value } else { value };
        self.moved_by(from, head_len(argument.unsigned_abs()))?;
        Some(value)
    }

    /// Exactly this integer.
    pub(crate) fn label(&mut self, label: i64) -> Option<()> {
        (self.int()? == label).then_some(())
    }

    pub(crate) fn boolean(&mut self) -> Option<bool> {
        self.decoder.bool().ok()
    }

    /// Null, if that is the next item.
    pub(crate) fn null(&mut self) -> Option<()> {
        self.decoder.null().ok()
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let from = self.position();
        let value = self.decoder.bytes().ok()?;
        let len = u64::try_from(value.len()).ok()?;
        self.moved_by(from, head_len(len).checked_add(value.len())?)?;
        Some(value)
    }

    /// A byte string of exactly `N` bytes.
    pub(crate) fn byte_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes()?.try_into().ok()
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let from = self.position();
        let value = self.decoder.str().ok()?;
        let len = u64::try_from(value.len()).ok()?;
        self.moved_by(from, head_len(len).checked_add(value.len())?)?;
        Some(value)
    }

    /// Exactly this text.
    pub(crate) fn exact_text(&mut self, expected: &str) -> Option<()> {
        (self.text()? == expected).then_some(())
    }

    /// The number of pairs of a map of definite length.
    pub(crate) fn map(&mut self) -> Option<u64> {
        let from = self.position();
        let len = self.decoder.map().ok()??;
        self.moved_by(from, head_len(len))?;
        Some(len)
    }

    /// The number of items of an array of definite length.
    pub(crate) fn array(&mut self) -> Option<u64> {
        let from = self.position();
        let len = self.decoder.array().ok()??;
        self.moved_by(from, head_len(len))?;
        Some(len)
    }

    /// Exactly this tag.
    pub(crate) fn tag(&mut self, expected: u64) -> Option<()> {
        let from = self.position();
        let tag = self.decoder.tag().ok()?.as_u64();
        self.moved_by(from, head_len(tag))?;
        (tag == expected).then_some(())
    }

    /// Whether the next item starts with this byte.
    pub(crate) fn next_is(&self, head: u8) -> bool {
        self.decoder.input().get(self.position()) == Some(&head)
    }
}

/// Length in bytes of the shortest head with this argument (RFC 8949 §3).
const fn head_len(argument: u64) -> usize {
    match argument {
        0..=23 => 1,
        24..=0xFF => 2,
        0x100..=0xFFFF => 3,
        0x1_0000..=0xFFFF_FFFF => 5,
        _ => 9,
    }
}

/// The `expect` message for writes into a `Vec`, which cannot fail.
pub(crate) const VEC_GROWS: &str = "writing into a Vec cannot fail";

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8949 §4.2.1 at every limit of a head's length.
    #[test]
    fn an_integer_is_accepted_only_in_its_shortest_form() {
        let read = |bytes: &[u8]| Strict::new(bytes).int();
        for (value, shortest) in [
            (0, &[0x00][..]),
            (23, &[0x17]),
            (24, &[0x18, 24]),
            (255, &[0x18, 255]),
            (256, &[0x19, 1, 0]),
            (65_535, &[0x19, 255, 255]),
            (65_536, &[0x1A, 0, 1, 0, 0]),
            (1 << 32, &[0x1B, 0, 0, 0, 1, 0, 0, 0, 0]),
            (i64::MAX, &[0x1B, 0x7F, 255, 255, 255, 255, 255, 255, 255]),
            (-1, &[0x20]),
            (-24, &[0x37]),
            (-25, &[0x38, 24]),
            (-256, &[0x38, 255]),
            (-257, &[0x39, 1, 0]),
            (-65_536, &[0x39, 255, 255]),
            (-65_537, &[0x3A, 0, 1, 0, 0]),
            (i64::MIN, &[0x3B, 0x7F, 255, 255, 255, 255, 255, 255, 255]),
        ] {
            assert_eq!(read(shortest), Some(value));
        }
        for longer in [
            &[0x18, 23][..],
            &[0x38, 23],
            &[0x19, 0, 255],
            &[0x39, 0, 255],
            &[0x1A, 0, 0, 255, 255],
            &[0x3A, 0, 0, 255, 255],
        ] {
            assert_eq!(read(longer), None, "{longer:?}");
        }
    }
}
