//! Entry bundles: the entries of a level 0 tile, each preceded by its length as a big-endian u16.

/// Longest entry that a bundle can contain.
pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;

/// Why bytes are not the entries of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BundleInvalid {
    /// The last entry is cut off.
    #[error("the last entry of the bundle is cut off")]
    Truncated,
    /// Not as many entries as its name says.
    #[error("the bundle contains {0} entries or more, which is not the number in its name")]
    Width(usize),
    /// An entry is longer than [`MAX_ENTRY_BYTES`].
    #[error("an entry of {0} bytes is too long for a bundle")]
    TooLong(usize),
}

/// The bytes of a bundle.
///
/// # Errors
/// If an entry is longer than [`MAX_ENTRY_BYTES`].
pub fn encode_bundle<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, BundleInvalid> {
    let mut bytes = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).map_err(|_| BundleInvalid::TooLong(entry.len()))?;
        bytes.extend(length.to_be_bytes());
        bytes.extend(entry);
    }
    Ok(bytes)
}

/// The entries of a bundle of this width. Their leaf hashes must still be compared with the level 0 tile.
///
/// # Errors
/// If the bytes are not that many entries.
pub fn parse_bundle(mut bytes: &[u8], width: u16) -> Result<Vec<&[u8]>, BundleInvalid> {
    let mut entries = Vec::with_capacity(usize::from(width));
    while !bytes.is_empty() {
        if entries.len() == usize::from(width) {
            return Err(BundleInvalid::Width(entries.len() + 1));
        }
        let (length, rest) = bytes.split_first_chunk().ok_or(BundleInvalid::Truncated)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, rest) = rest.split_at_checked(length).ok_or(BundleInvalid::Truncated)?;
        entries.push(entry);
        bytes = rest;
    }
    if entries.len() != usize::from(width) {
        return Err(BundleInvalid::Width(entries.len()));
    }
    Ok(entries)
}
