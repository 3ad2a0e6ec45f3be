//! Symbols in a black-and-white image, by the detector of rxing (a port of ZXing-C++).
//!
//! Its steps are called one by one, so that the clock is asked between them and a crowd of false finder
//! patterns is cut off. Each step may panic on odd input (its documentation says so): a panic counts as
//! nothing found.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rxing::common::{BitMatrix, DetectorRXingResult as _};
use rxing::qrcode::cpp_port::decoder::Decode;
use rxing::qrcode::cpp_port::detector::{FinderPatternSet, FindFinderPatterns, GenerateFinderPatternSets, SampleQR};

/// Finder patterns kept, largest first: a symbol has three, a busy street some dozens of false ones.
const MAX_PATTERNS: usize = 150;
/// Triples of finder patterns that are sampled and decoded.
const MAX_CANDIDATES: usize = 400;

/// What a symbol says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Content {
    Text(String),
    Bytes,
}

/// Everything readable in `matrix`, without repetitions.
pub(super) fn symbols(matrix: &BitMatrix, out_of_time: &dyn Fn() -> bool) -> Vec<Content> {
    let mut found: Vec<Content> = Vec::new();
    let mut used = Vec::new();
    for set in contained(|| candidates(matrix)).unwrap_or_default().into_iter().take(MAX_CANDIDATES) {
        if out_of_time() {
            break;
        }
        let corners = [set.bl, set.tl, set.tr];
        if corners.iter().any(|corner| used.contains(corner)) {
            continue;
        }
        let Some(Some(content)) = contained(|| decode(matrix, &set)) else { continue };
        used.extend(corners);
        if !found.contains(&content) {
            found.push(content);
        }
    }
    found
}

fn candidates(matrix: &BitMatrix) -> Vec<FinderPatternSet> {
    let mut patterns = FindFinderPatterns(matrix, true, 1);
    patterns.sort_by_key(|pattern| std::cmp::Reverse(pattern.size));
    patterns.truncate(MAX_PATTERNS);
    GenerateFinderPatternSets(&mut patterns)
}

fn decode(matrix: &BitMatrix, set: &FinderPatternSet) -> Option<Content> {
    let sampled = SampleQR(matrix, set).ok()?;
    let decoded = Decode(sampled.getBits()).ok()?;
    if !decoded.isValid() {
        return None;
    }
    Some(as_text(decoded.content().bytes(), &decoded.text()))
}

/// The text if it is one: UTF-8 or what the symbol's own encoding says, without control characters.
fn as_text(bytes: &[u8], text: &str) -> Content {
    let text = std::str::from_utf8(bytes).unwrap_or(text);
    let is_odd = |c: char| (c.is_control() && !matches!(c, '\t' | '\n' | '\r')) || c == char::REPLACEMENT_CHARACTER;
    if text.is_empty() || text.chars().any(is_odd) {
        return Content::Bytes;
    }
    Content::Text(text.to_owned())
}

fn contained<T>(step: impl FnOnce() -> T) -> Option<T> {
    // The matrix is only read, and what the step built is dropped with it.
    catch_unwind(AssertUnwindSafe(step)).ok()
}
