//! Times as people read them: in the policy's zone, to the minute.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::lang::Language;

/// `2026年11月3日 08:14` or `08:14 on 3 November 2026`; empty for a time outside the calendar.
pub(crate) fn minute(seconds: i64, zone: &TimeZone, language: Language) -> String {
    let format = match language {
        Language::Chinese => "%Y年%-m月%-d日 %H:%M",
        Language::English => "%H:%M on %-d %B %Y",
    };
    Timestamp::from_second(seconds).map_or_else(
        |_| String::new(),
        |time| zone.to_datetime(time).strftime(format).to_string(),
    )
}

/// The parts of a time, for a sheet that sets the day in large type: the day as two parts between which a line may
/// break (`2026年` and `11月3日`, or `3 Nov` and `2026`), and `08:14`.
pub(crate) fn parts(seconds: i64, zone: &TimeZone, language: Language) -> [String; 3] {
    let formats = match language {
        Language::Chinese => ["%Y年", "%-m月%-d日", "%H:%M"],
        Language::English => ["%-d %b ", "%Y", "%H:%M"],
    };
    match Timestamp::from_second(seconds).map(|time| zone.to_datetime(time)) {
        Ok(time) => formats.map(|format| time.strftime(format).to_string()),
        Err(_) => [const { String::new() }; 3],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_in_the_zone_to_the_minute() {
        let shanghai = citycode_policy_file::time_zone("Asia/Shanghai").expect("a zone of the database");
        let time = "2026-11-03T00:14:59Z".parse::<Timestamp>().expect("a time").as_second();
        assert_eq!(minute(time, &shanghai, Language::Chinese), "2026年11月3日 08:14");
        assert_eq!(minute(time, &shanghai, Language::English), "08:14 on 3 November 2026");
        assert_eq!(
            parts(time, &shanghai, Language::Chinese),
            ["2026年", "11月3日", "08:14"]
        );
        assert_eq!(parts(time, &shanghai, Language::English), ["3 Nov ", "2026", "08:14"]);
    }
}
