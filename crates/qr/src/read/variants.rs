//! The variants of an image that are tried, cheapest and most successful first.
//!
//! The first attempt uses both kinds of thresholds together, so that of two symbols the harder one is found
//! too.

use super::ReadImageError;
use super::binarise::{by_histogram, by_surroundings};
use super::finder::{Content, symbols};
use super::grey::GreyImage;

/// Long side at which most photographs read best: modules of a symbol that fills a third of the image have 6
/// px.
const MIDDLE: usize = 1400;
/// Long side at which a symbol that fills a tenth of a photograph is still found.
const LARGE: usize = 3200;
/// Long side at which noise and blur of a large symbol are averaged out.
const SMALL: usize = 700;
/// Images smaller than this are enlarged.
const TINY: usize = 900;
/// Maximum long side at which an image is tried unscaled; a symbol that is too fine for it has modules under 2
/// px.
const FULL: usize = 6400;

/// Reads the one symbol of `image`.
pub(super) fn read(image: &GreyImage, out_of_time: &dyn Fn() -> bool) -> Result<String, ReadImageError> {
    let middle = if image.long_side() > MIDDLE {
        image.scaled_to(MIDDLE)
    } else {
        image.clone()
    };
    let mut bytes_seen = false;
    for variant in variants(image) {
        if out_of_time() {
            return Err(ReadImageError::TimedOut);
        }
        let seen = variant(image, &middle, out_of_time);
        let texts: Vec<&String> = seen
            .iter()
            .filter_map(|content| {
                if let Content::Text(text) = content {
                    Some(text)
                } else {
                    None
                }
            })
            .collect();
        match texts.as_slice() {
            [] => bytes_seen |= !seen.is_empty(),
            [text] if seen.len() == 1 => return Ok((*text).clone()),
            _ => return Err(ReadImageError::SeveralSymbols),
        }
        if bytes_seen {
            return Err(ReadImageError::NotText);
        }
    }
    if out_of_time() {
        Err(ReadImageError::TimedOut)
    } else {
        Err(ReadImageError::NoSymbol)
    }
}

type Variant = fn(&GreyImage, &GreyImage, &dyn Fn() -> bool) -> Vec<Content>;

fn variants(image: &GreyImage) -> Vec<Variant> {
    let side = image.long_side();
    let mut variants: Vec<Variant> = vec![|_, middle, clock| both(middle, clock)];
    if side < TINY {
        variants.push(|_, middle, clock| both(&middle.scaled_to(middle.long_side() * 2), clock));
    }
    if side > SMALL * 3 / 2 {
        variants.push(|_, middle, clock| both(&middle.scaled_to(SMALL), clock));
    }
    if side > MIDDLE * 3 / 2 {
        variants.push(|image, _, clock| both(&image.scaled_to(image.long_side().min(LARGE)), clock));
    }
    variants.push(|_, middle, clock| both(&middle.smoothed(1), clock));
    variants.push(|_, middle, clock| both(&middle.sharpened(2), clock));
    variants.push(|_, middle, clock| both(&middle.with_margin(margin(middle)), clock));
    variants.push(|_, middle, clock| both(&middle.inverted().with_margin(margin(middle)), clock));
    variants.push(|_, middle, clock| both(&middle.scaled_to(middle.long_side() * 2).sharpened(4), clock));
    variants.push(|_, middle, clock| both(&middle.smoothed(2).sharpened(5), clock));
    if side > LARGE * 5 / 4 {
        variants.push(|image, _, clock| both(&image.scaled_to(image.long_side().min(FULL)), clock));
    }
    variants
}

/// Margin for a quiet zone around a symbol that fills the picture.
fn margin(image: &GreyImage) -> usize {
    (image.long_side() / 12).max(8)
}

/// The symbols found with local thresholds, fine and coarse, and with a global one.
fn both(image: &GreyImage, out_of_time: &dyn Fn() -> bool) -> Vec<Content> {
    let side = image.long_side();
    let fine = by_surroundings(image, (side / 60).max(6));
    let mut seen = fine.map(|matrix| symbols(&matrix, out_of_time)).unwrap_or_default();
    let thresholds: [fn(&GreyImage) -> Option<rxing::common::BitMatrix>; 2] = [by_histogram, |image| {
        by_surroundings(image, (image.long_side() / 16).max(20))
    }];
    for threshold in thresholds {
        if out_of_time() {
            break;
        }
        for content in threshold(image)
            .map(|matrix| symbols(&matrix, out_of_time))
            .unwrap_or_default()
        {
            if !seen.contains(&content) {
                seen.push(content);
            }
        }
    }
    seen
}
