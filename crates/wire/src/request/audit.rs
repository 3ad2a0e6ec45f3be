//! Auditors' questions.

use super::{FieldFault, InvalidRequest};
use crate::limits::{DEVICE, PURPOSE, SCAN_ID};
use crate::proto::audit::v1 as proto;

/// Fewest characters of a purpose.
pub const MIN_PURPOSE_CHARS: usize = 4;

/// Digits of a mobile telephone number of the mainland; it begins with 1.
const TELEPHONE_DIGITS: usize = 11;
/// Digits of the retired form of an ID number; the present form has more.
const FEWEST_ID_DIGITS: usize = 15;

/// Why somebody looks at a person, a code or a scan. It must not contain a person's number.
///
/// # Errors
/// Shorter than [`MIN_PURPOSE_CHARS`] or longer than [`PURPOSE`] characters; with an ID or telephone number, also if
/// spaces or hyphens separate its digits.
pub fn purpose(text: &str) -> Result<&str, InvalidRequest> {
    let text = text.trim();
    let fault = |fault| Err(InvalidRequest::new("purpose", fault));
    if !(MIN_PURPOSE_CHARS..=PURPOSE.max).contains(&text.chars().count()) {
        return fault(FieldFault::Length {
            min: MIN_PURPOSE_CHARS,
            max: PURPOSE.max,
        });
    }
    if has_personal_number(text) {
        return fault(FieldFault::PersonalNumber);
    }
    Ok(text)
}

fn has_personal_number(text: &str) -> bool {
    let mut run = Vec::new();
    let mut separators = 0;
    for character in text.chars().chain(['!']) {
        match digit(character) {
            Some(digit) => {
                run.push((digit, separators));
                separators = 0;
            }
            // One separator joins groups of a number; two do not.
            None if is_separator(character) && separators == 0 => separators = 1,
            None => {
                if is_personal(&run) {
                    return true;
                }
                run.clear();
                separators = 0;
            }
        }
    }
    false
}

fn is_separator(character: char) -> bool {
    matches!(character, ' ' | '-' | '.' | '/' | '\u{a0}' | '\u{3000}' | '－' | '．')
}

/// Whether digits, each with the number of separators before it, contain a telephone number, or enough digits for an ID
/// number in groups that are no dates.
fn is_personal(run: &[(u32, i32)]) -> bool {
    let telephone = run.windows(TELEPHONE_DIGITS).enumerate().any(|(at, window)| {
        let starts_a_group = at == 0 || window[0].1 > 0;
        let is_one_group = window[1..].iter().all(|(_, gap)| *gap == 0);
        window[0].0 == 1 && window[1].0 >= 3 && (starts_a_group || is_one_group)
    });
    let mut groups = vec![0];
    for (_, gap) in run {
        if *gap > 0 {
            groups.push(0);
        }
        *groups.last_mut().expect("a group") += 1;
    }
    let is_of_dates = groups.iter().all(|digits| matches!(digits, 2 | 4)) && groups.len() % 3 == 0;
    telephone || (run.len() >= FEWEST_ID_DIGITS && !is_of_dates)
}

/// The value of a digit, also of a full-width one.
fn digit(character: char) -> Option<u32> {
    match character {
        '０'..='９' => Some(u32::from(character) - u32::from('０')),
        _ => character.to_digit(10),
    }
}

/// What an auditor asks to be explained.
#[derive(Clone, Copy)]
pub enum Question<'a> {
    /// A recorded scan.
    Scan {
        /// The device.
        device: &'a str,
        /// The device's id of the scan.
        scan_id: &'a str,
        /// The day, in days since 1970-01-01 (UTC).
        day: Option<u32>,
    },
    /// A code at a place and an instant.
    Code {
        /// Text of the code or presentation.
        code: &'a str,
        /// Name of the place.
        place: &'a str,
        /// The instant in Unix seconds.
        at: i64,
    },
}

impl<'a> TryFrom<&'a proto::ExplainRequest> for Question<'a> {
    type Error = InvalidRequest;

    fn try_from(request: &'a proto::ExplainRequest) -> Result<Self, InvalidRequest> {
        purpose(&request.purpose)?;
        match &request.question {
            None => Err(InvalidRequest::new("question", FieldFault::Missing)),
            Some(proto::explain_request::Question::Scan(scan)) => {
                for (field, text, limit) in [("device", &scan.device, DEVICE), ("scan_id", &scan.scan_id, SCAN_ID)] {
                    if text.is_empty() {
                        return Err(InvalidRequest::new(field, FieldFault::Missing));
                    }
                    if text.len() > limit.max {
                        let (min, max) = (1, limit.max);
                        return Err(InvalidRequest::new(field, FieldFault::Length { min, max }));
                    }
                }
                Ok(Self::Scan {
                    device: &scan.device,
                    scan_id: &scan.scan_id,
                    day: scan.day,
                })
            }
            Some(proto::explain_request::Question::Code(shown)) => Ok(Self::Code {
                code: &shown.code,
                place: &shown.place,
                at: shown.at,
            }),
        }
    }
}

/// A period in Unix seconds; the end is exclusive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Period {
    /// The start, inclusive.
    pub from: i64,
    /// The end, exclusive.
    pub to: i64,
}

impl Period {
    /// A period that has a length.
    ///
    /// # Errors
    /// It ends before or at its start.
    pub fn new(from: i64, to: i64) -> Result<Self, InvalidRequest> {
        if from < to {
            Ok(Self { from, to })
        } else {
            Err(InvalidRequest::new("to", FieldFault::EmptyPeriod))
        }
    }

    /// Whether it includes an instant.
    #[must_use]
    pub fn includes(&self, at: i64) -> bool {
        (self.from..self.to).contains(&at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purpose_with_a_number_of_a_person_is_refused() {
        for text in [
            "look up 11010519491231002X",
            "case of 110105194912310",
            "call 13800138000",
            "call 138-0013-8000",
            "致电１３８００１３８０００核实",
            "id 110105 19491231 0021",
            "complaint 17 13800138000",
            "call +8613800138000",
            "call 138.0013.8000",
        ] {
            let refused = purpose(text).map_err(|invalid| invalid.fault);
            assert_eq!(refused, Err(FieldFault::PersonalNumber), "{text}");
        }
    }

    #[test]
    fn a_purpose_has_four_to_two_hundred_characters_and_may_name_a_case() {
        for text in [
            "投诉核查",
            "complaint 2022-1103, gate 14",
            "case 20221103-118",
            &"长".repeat(200),
        ] {
            assert_eq!(purpose(text), Ok(text), "{text}");
        }
        for text in ["", "abc", "   abc   ", &"长".repeat(201)] {
            let refused = purpose(text).map_err(|invalid| invalid.fault);
            assert_eq!(refused, Err(FieldFault::Length { min: 4, max: 200 }), "{text}");
        }
    }

    #[test]
    fn a_period_has_a_length_and_excludes_its_end() {
        let period = Period::new(10, 20).expect("a period");
        assert!(period.includes(10) && period.includes(19) && !period.includes(20) && !period.includes(9));
        assert!(Period::new(10, 10).is_err() && Period::new(20, 10).is_err());
    }
}
