//! Finding symbols in a black-and-white image with the detector of rxing (a port of ZXing-C++).
//!
//! Its steps are called one by one, so that the time limit is checked between them and an image full of finder
//! patterns does not block the process. Each step may panic on unusual input (as its documentation says): a
//! panic counts as nothing found.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rxing::Point;
use rxing::common::cpp_essentials::{
    ConcentricPattern, FindLeftGuardBy, FixedPattern, GetPatternRowTP, IsPattern, LocateConcentricPattern, PatternRow,
    PatternView,
};
use rxing::common::{BitMatrix, DetectorRXingResult as _};
use rxing::qrcode::cpp_port::decoder::Decode;
use rxing::qrcode::cpp_port::detector::{FinderPatternSet, GenerateFinderPatternSets, SampleQR};

/// Limit of finder patterns: a symbol has three, a busy scene some dozens of false ones. The cost is quadratic
/// in their number, so an image full of them needs a limit.
const MAX_FOUND: usize = 400;
/// Limit of finder patterns used for triples, largest first.
const MAX_PATTERNS: usize = 150;
/// Limit of triples of finder patterns that are sampled and decoded.
const MAX_CANDIDATES: usize = 400;
/// Distance of the rows that are searched; the middle of a finder pattern is at least that high.
const ROW_STEP: u32 = 3;

/// The content of a symbol.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Content {
    Text(String),
    Bytes,
}

/// Every readable symbol in `matrix`, without duplicates.
pub(super) fn symbols(matrix: &BitMatrix, out_of_time: &dyn Fn() -> bool) -> Vec<Content> {
    let mut found: Vec<Content> = Vec::new();
    let mut used = Vec::new();
    for set in contained(|| candidates(matrix, out_of_time))
        .unwrap_or_default()
        .into_iter()
        .take(MAX_CANDIDATES)
    {
        if out_of_time() {
            break;
        }
        let corners = [set.bl, set.tl, set.tr];
        if corners.iter().any(|corner| used.contains(corner)) {
            continue;
        }
        let Some(Some(content)) = contained(|| decode(matrix, &set)) else {
            continue;
        };
        used.extend(corners);
        if !found.contains(&content) {
            found.push(content);
        }
    }
    found
}

fn candidates(matrix: &BitMatrix, out_of_time: &dyn Fn() -> bool) -> Vec<FinderPatternSet> {
    let mut patterns = finder_patterns(matrix, out_of_time);
    patterns.sort_by_key(|pattern| std::cmp::Reverse(pattern.size));
    patterns.truncate(MAX_PATTERNS);
    GenerateFinderPatternSets(&mut patterns)
}

/// Finder patterns, like rxing's `FindFinderPatterns`, but limited in number and time.
fn finder_patterns(matrix: &BitMatrix, out_of_time: &dyn Fn() -> bool) -> Vec<ConcentricPattern> {
    let mut found: Vec<ConcentricPattern> = Vec::new();
    let mut row = PatternRow::default();
    for y in (ROW_STEP - 1..matrix.height()).step_by(ROW_STEP as usize) {
        if out_of_time() {
            break;
        }
        GetPatternRowTP(matrix, y, &mut row, false);
        let mut rest = PatternView::new(&row);
        while let Ok(view) = next_in_row(rest) {
            if !view.isValid() {
                break;
            }
            let before = view.pixelsInFront() + view[0] + view[1];
            let middle = Point::new(f32::from(before) + f32::from(view[2]) / 2.0, y as f32 + 0.5);
            let is_known = found
                .iter()
                .any(|old| Point::distance(middle, old.p) < old.size as f32 / 2.0);
            if !is_known {
                // Three times the width seen in this row, for patterns that are strongly skewed.
                let range = i32::from(view.iter().sum::<u16>()) * 3;
                found.extend(LocateConcentricPattern::<true, 5, 7>(
                    matrix,
                    &CORNER.into(),
                    middle,
                    range,
                ));
                if found.len() >= MAX_FOUND {
                    return found;
                }
            }
            rest = view;
            rest.skipPair();
            rest.skipPair();
            rest.extend();
        }
    }
    found
}

/// Dark and light across a finder pattern's middle (ISO/IEC 18004, 6.3.3).
const CORNER: FixedPattern<5, 7, false> = FixedPattern::new([1, 1, 3, 1, 1]);

fn next_in_row(rest: PatternView<'_>) -> rxing::common::Result<PatternView<'_>> {
    FindLeftGuardBy::<5, _>(rest, 5, |view: &PatternView<'_>, space: Option<f32>| {
        let [first, second, middle, fourth, fifth] = [0, 1, 2, 3, 4].map(|place| -> u16 { view[place] });
        let is_plausible = middle >= 3 && middle >= 2 * first.max(fifth) && middle >= second.max(fourth);
        is_plausible && IsPattern::<true, 5, 7, false>(view, &CORNER, space, 0.1, 0.0, 1.0) != 0.0
    })
}

fn decode(matrix: &BitMatrix, set: &FinderPatternSet) -> Option<Content> {
    let sampled = SampleQR(matrix, set).ok()?;
    let decoded = Decode(sampled.getBits()).ok()?;
    if !decoded.isValid() {
        return None;
    }
    Some(as_text(decoded.content().bytes(), &decoded.text()))
}

/// The text, if it is one: UTF-8 or the symbol's own encoding, without control characters.
fn as_text(bytes: &[u8], text: &str) -> Content {
    let text = std::str::from_utf8(bytes).unwrap_or(text);
    let is_odd = |c: char| (c.is_control() && !matches!(c, '\t' | '\n' | '\r')) || c == char::REPLACEMENT_CHARACTER;
    if text.is_empty() || text.chars().any(is_odd) {
        return Content::Bytes;
    }
    Content::Text(text.to_owned())
}

fn contained<T>(step: impl FnOnce() -> T) -> Option<T> {
    // The matrix is only read, and the results of the step are dropped with it.
    catch_unwind(AssertUnwindSafe(step)).ok()
}
