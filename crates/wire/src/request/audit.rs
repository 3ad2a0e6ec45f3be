//! Auditors' questions.

use citycode_domain::ids::{CodeId, Position};

use super::{FieldFault, HistorySubject, InvalidRequest, code_id};
use crate::limits::{DEVICE, PURPOSE, SCAN_ID};
use crate::proto::audit::v1 as proto;

/// Fewest characters of a purpose.
pub const MIN_PURPOSE_CHARS: usize = 4;

/// Digits of a mobile telephone number of the mainland; it begins with 1.
const TELEPHONE_DIGITS: usize = 11;
/// Digits of the retired form of an ID number; the present form has more.
const FEWEST_ID_DIGITS: usize = 15;
/// So many separators may stand between two groups of a number.
const MOST_SEPARATORS: u32 = 3;

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
    for character in text.chars().filter(|character| !is_invisible(*character)).chain(['!']) {
        match digit(character) {
            Some(digit) => {
                run.push((digit, if run.is_empty() { 0 } else { separators }));
                separators = 0;
            }
            // A few separators join groups of a number.
            None if is_separator(character) && separators < MOST_SEPARATORS => separators += 1,
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
    let is_dash = matches!(character, '\u{2010}'..='\u{2015}' | '\u{2212}' | '-' | '－' | '_');
    is_dash || character.is_whitespace() || matches!(character, '.' | '．' | '·' | '/' | '／')
}

/// Characters without a width; they separate nothing for a reader.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// Whether digits, each with the number of separators before it, contain a telephone number, or enough digits for an ID
/// number in groups that are no dates.
fn is_personal(run: &[(u32, u32)]) -> bool {
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

/// The value of a digit: in ASCII, full-width, Arabic, in a mathematical alphabet, or as a Chinese numeral.
fn digit(character: char) -> Option<u32> {
    let from = |zero: char| u32::from(character) - u32::from(zero);
    match character {
        '0'..='9' => Some(from('0')),
        '０'..='９' => Some(from('０')),
        '٠'..='٩' => Some(from('٠')),
        '۰'..='۹' => Some(from('۰')),
        '\u{1d7ce}'..='\u{1d7ff}' => Some(from('\u{1d7ce}') % 10),
        '零' => Some(0),
        _ => {
            let place = "〇一二三四五六七八九"
                .chars()
                .position(|numeral| numeral == character)?;
            u32::try_from(place).ok()
        }
    }
}

/// Up to where the log is read for an answer, inclusive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// Everything that was decided up to an instant, in Unix seconds.
    Instant(i64),
    /// A position; only its partition is read.
    Position(Position),
}

impl TryFrom<&proto::AsOf> for Until {
    type Error = InvalidRequest;

    fn try_from(as_of: &proto::AsOf) -> Result<Self, InvalidRequest> {
        match as_of.until {
            None => Err(InvalidRequest::new("as_of", FieldFault::Missing)),
            Some(proto::as_of::Until::Instant(instant)) => Ok(Self::Instant(instant)),
            Some(proto::as_of::Until::Position(position)) => {
                let partition = u16::try_from(position.partition);
                let partition =
                    partition.map_err(|_| InvalidRequest::new("as_of.position.partition", FieldFault::UnknownValue))?;
                Ok(Self::Position(Position::new(partition, position.sequence)))
            }
        }
    }
}

/// A request for a history.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct HistoryQuery<'a> {
    /// Whose history.
    pub subject: HistorySubject<'a>,
    /// As of when, and why that is asked; `None` for the whole history, for which no purpose is needed.
    pub past: Option<Past<'a>>,
}

impl HistoryQuery<'_> {
    /// The whole history of a code.
    #[must_use]
    pub const fn of_code(code_id: CodeId) -> Self {
        Self {
            subject: HistorySubject::Code(code_id),
            past: None,
        }
    }
}

/// A moment of the past, and why somebody asks about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Past<'a> {
    /// The moment.
    pub until: Until,
    /// The purpose.
    pub purpose: &'a str,
    /// Whether the history of a slot is asked for, even if the code that names it was issued later.
    pub whole_slot: bool,
}

impl<'a> TryFrom<&'a proto::HistoryRequest> for HistoryQuery<'a> {
    type Error = InvalidRequest;

    fn try_from(request: &'a proto::HistoryRequest) -> Result<Self, InvalidRequest> {
        let past = match &request.as_of {
            None => None,
            Some(as_of) => Some(Past {
                purpose: purpose(&request.purpose)?,
                until: Until::try_from(as_of)?,
                whole_slot: request.whole_slot,
            }),
        };
        let subject = HistorySubject::try_from(request)?;
        Ok(Self { subject, past })
    }
}

/// A request for a holder's codes as of a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PastCodesQuery<'a> {
    /// Any code of the holder; `None` for a holder who never had one.
    pub code_id: Option<CodeId>,
    /// The moment.
    pub until: Until,
    /// The purpose.
    pub purpose: &'a str,
}

impl<'a> TryFrom<&'a proto::CodesRequest> for PastCodesQuery<'a> {
    type Error = InvalidRequest;

    fn try_from(request: &'a proto::CodesRequest) -> Result<Self, InvalidRequest> {
        let purpose = purpose(&request.purpose)?;
        let as_of = request.as_of.as_ref();
        let until = Until::try_from(as_of.ok_or(InvalidRequest::new("as_of", FieldFault::Missing))?)?;
        let code_id = match &*request.code_id {
            "" => None,
            text => Some(code_id("code_id", text)?),
        };
        Ok(Self {
            code_id,
            until,
            purpose,
        })
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
            "complaint of １１０１０５ １９４９１２３１ ００２Ｘ",
            "id 110105  19491231   002X",
            "1 1 0 1 0 5 1 9 4 9 1 2 3 1 0 0 2 X",
            "call 138 – 0013 – 8000",
            "call 138\u{200b}0013\u{200b}8000",
            "call 138\u{a0}0013\u{3000}8000",
            "电话一三八零零一三八〇〇〇",
            "call ١٣٨٠٠١٣٨٠٠٠",
            "call 𝟏𝟑𝟖𝟎𝟎𝟏𝟑𝟖𝟎𝟎𝟎",
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
            "from 2026-05-13 - 2026-06-12",
            "二〇二六年五月的核查",
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
