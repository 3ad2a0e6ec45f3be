//! Finds a quote that is opened and never closed: the CSV parser would read the rest of the file as a single field.

/// The line, counted from 1, of a quote that is still open at the end of the text. Quotes are those of RFC 4180 as the
/// crate `csv` reads them: only a quote at the start of a field opens it, and a doubled one inside is a character.
pub(crate) fn open_quote(text: &str, separator: u8) -> Option<u64> {
    #[derive(PartialEq)]
    enum At {
        FieldStart,
        Plain,
        Quoted,
        ClosingQuote,
    }
    let (mut at, mut line, mut opened) = (At::FieldStart, 1, 1);
    for byte in text.bytes() {
        at = match (at, byte) {
            (At::FieldStart, b'"') => {
                opened = line;
                At::Quoted
            }
            (At::Quoted, b'"') => At::ClosingQuote,
            (At::ClosingQuote, b'"') | (At::Quoted, _) => At::Quoted,
            (_, b'\n') => At::FieldStart,
            (_, other) if other == separator => At::FieldStart,
            _ => At::Plain,
        };
        line += u64::from(byte == b'\n');
    }
    (at == At::Quoted).then_some(opened)
}
