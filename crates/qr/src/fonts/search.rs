//! Finds a Chinese font on the machine by well-known file names.
//!
//! Names are used instead of opening every font, because a desktop has thousands and opening them would delay
//! the sheet.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use skrifa::string::StringId;
use skrifa::{FontRef, MetadataProvider as _};

use super::FontError;
use super::face::Face;

/// Prefixes of file names, best first, in lower case.
const KNOWN: &[&str] = &[
    "notosanscjk-regular",
    "notosanscjksc-regular",
    "notosanssc-regular",
    "notosanssc",
    "sourcehansanssc-regular",
    "sourcehansanscn-regular",
    "sourcehansans-regular",
    "wqy-microhei",
    "wqy-zenhei",
    "pingfang",
    "msyh",
    "hiragino sans gb",
    "stheiti",
    "droidsansfallbackfull",
    "droidsansfallback",
    "simhei",
    "notoserifcjk-regular",
    "simsun",
    "uming",
    "ukai",
    "gbsn00lp",
    "gkai00mp",
    "arphic",
    "bkai00mp",
    "bsmi00lp",
];
/// Limit of nested folders below a font folder.
const MAX_DEPTH: usize = 5;
/// Limit of directory entries: a folder with more is not a font folder.
const MAX_ENTRIES: usize = 50_000;
/// Fonts larger than this are not loaded (Noto Sans CJK's collection has 19 MB).
const MAX_FONT_BYTES: u64 = 64 << 20;
/// A second font is used for rare characters of names.
const MAX_FACES: usize = 2;
/// Limit of faces of a collection.
const MAX_COLLECTION: u32 = 32;
/// Characters of the sheet's texts that a font must have to count as Chinese.
const NEEDED: &str = "身份证须与有效期至挂失码";

/// The best installed fonts, at most two, best first.
pub(super) fn installed() -> Vec<Face> {
    let mut found: Vec<(usize, PathBuf)> = Vec::new();
    let mut left = MAX_ENTRIES;
    for folder in folders() {
        collect(&folder, MAX_DEPTH, &mut left, &mut found);
    }
    found.sort();
    found.dedup();
    found
        .into_iter()
        .filter_map(|(_, path)| named(&path).ok())
        .take(MAX_FACES)
        .collect()
}

/// The Chinese face of this file; of a collection, the one for simplified Chinese if it is marked.
pub(super) fn named(path: &Path) -> Result<Face, FontError> {
    let unreadable = |source| FontError::Unreadable {
        path: path.to_owned(),
        source,
    };
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_FONT_BYTES {
        return Err(FontError::NotAFont { path: path.to_owned() });
    }
    let bytes = Arc::new(std::fs::read(path).map_err(unreadable)?);
    let opened: Vec<Face> = in_order_of_preference(&bytes)
        .into_iter()
        .filter_map(|index| Face::open(Arc::clone(&bytes), index))
        .collect();
    if opened.is_empty() {
        return Err(FontError::NotAFont { path: path.to_owned() });
    }
    opened
        .into_iter()
        .find(|face| NEEDED.chars().all(|c| face.glyph(c).is_some()))
        .ok_or_else(|| FontError::NotChinese { path: path.to_owned() })
}

fn in_order_of_preference(bytes: &[u8]) -> Vec<u32> {
    let mut indices: Vec<(bool, u32)> = (0..MAX_COLLECTION)
        .map_while(|index| FontRef::from_index(bytes, index).ok().map(|font| (index, font)))
        .map(|(index, font)| {
            let family: String = font
                .localized_strings(StringId::FAMILY_NAME)
                .english_or_first()
                .map(|s| s.chars().collect())
                .unwrap_or_default();
            let simplified = family.contains(" SC") || family.contains(" CN") || family.contains("GB");
            (!simplified || family.contains("Mono"), index)
        })
        .collect();
    indices.sort_unstable();
    indices.into_iter().map(|(_, index)| index).collect()
}

fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = [
        "/usr/share/fonts",
        "/usr/local/share/fonts",
        "/opt/fonts",
        "/System/Library/Fonts",
        "/Library/Fonts",
        "C:\\Windows\\Fonts",
    ]
    .iter()
    .map(PathBuf::from)
    .collect();
    if let Some(home) = std::env::home_dir() {
        folders.extend([".local/share/fonts", ".fonts", "Library/Fonts"].map(|folder| home.join(folder)));
    }
    folders
}

fn collect(folder: &Path, depth: usize, left: &mut usize, found: &mut Vec<(usize, PathBuf)>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let path = entry.path();
        if path.is_dir() {
            if depth > 0 {
                collect(&path, depth - 1, left, found);
            }
        } else if let Some(rank) = rank(&path) {
            found.push((rank, path));
        }
    }
}

/// Rank of a file among the known fonts; `None` if it is not one of them.
fn rank(path: &Path) -> Option<usize> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let is_font = [".ttf", ".ttc", ".otf", ".otc"].iter().any(|end| name.ends_with(end));
    is_font
        .then(|| KNOWN.iter().position(|known| name.starts_with(known)))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_fonts_are_ranked_and_others_are_skipped() {
        let noto = rank(Path::new("/f/NotoSansCJK-Regular.ttc")).unwrap();
        let hei = rank(Path::new("/f/wqy-microhei.ttc")).unwrap();
        assert!(noto < hei);
        assert_eq!(rank(Path::new("/f/DejaVuSans.ttf")), None);
        assert_eq!(rank(Path::new("/f/wqy-microhei.conf")), None);
    }

    #[test]
    fn a_file_that_is_not_a_font_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wqy-microhei.ttc");
        std::fs::write(&path, b"ttcf but not really").unwrap();
        assert!(matches!(named(&path), Err(FontError::NotAFont { .. })));
        assert!(matches!(
            named(&folder.path().join("none.ttf")),
            Err(FontError::Unreadable { .. })
        ));
        let latin = folder.path().join("latin.ttf");
        std::fs::write(&latin, include_bytes!("../../assets/NotoSans-Regular-Latin.ttf")).unwrap();
        assert!(matches!(named(&latin), Err(FontError::NotChinese { .. })));
    }
}
