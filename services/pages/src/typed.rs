//! What people type, paste or let a scanner type: Chinese input methods make full-width forms of plain characters.

/// The distance of full-width forms from their ASCII characters (Unicode block FF00).
const FULL_WIDTH: u32 = 0xFEE0;

/// A full-width form of ASCII as the plain character; any other character as it is.
pub(crate) fn narrow(c: char) -> char {
    match c {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(c) - FULL_WIDTH).unwrap_or(c),
        '\u{3000}' => ' ',
        _ => c,
    }
}
