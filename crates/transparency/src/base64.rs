//! Standard base64 with padding (RFC 4648 section 4), as every C2SP text format uses it.

use data_encoding::BASE64;

pub(crate) fn encode(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// The bytes of a text, if it is the only text of these bytes.
///
/// The library also accepts padding between two encoded texts, which it decodes to one; so what is decoded is compared
/// with what would have been encoded.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let bytes = BASE64.decode(text.as_bytes()).ok()?;
    (encode(&bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_text_is_decoded() {
        assert_eq!(decode("AAECAw==").as_deref(), Some([0, 1, 2, 3].as_slice()));
        assert_eq!(decode("").as_deref(), Some([].as_slice()));
        for wrong in [
            "AAECAw", "AAECAw=", "AAECAx==", "AA==AA==", "AAE=AAEC", "AAEC=", " AAEC", "AAEC\n", "AA-_", "AAÄ",
        ] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
