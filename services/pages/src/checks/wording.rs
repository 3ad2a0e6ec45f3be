//! The word and the sentence of each verdict. They depend on who reads them: staff at a checkpoint, staff at a desk that
//! registers, or the public at a gate.

use citycode_domain::admission::Reason;

use super::ask::Failure;
use crate::frame::Frame;
use crate::lang::Language;
use crate::words::Words;

/// Who reads a verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Setting {
    /// Whether the public reads it, at a gate. Then holds and standings are not shown, and people may be sent to staff.
    pub(crate) gate: bool,
    /// Whether the place registers people.
    pub(crate) registers: bool,
}

impl Setting {
    /// How long a verdict stays on the screen, in milliseconds.
    pub(crate) fn clear_after_ms(self) -> u32 {
        if self.gate { 3_000 } else { 8_000 }
    }

    /// The word of a reason.
    pub(crate) fn word(self, f: &Frame<'_>, reason: Reason) -> String {
        f.t(&self.word_id(reason))
    }

    fn word_id(self, reason: Reason) -> String {
        match reason {
            Reason::Ok if self.registers => "word-registered".to_owned(),
            // R30: the public sees neither a hold nor a standing.
            Reason::Suspended | Reason::StandingRed | Reason::StandingYellow if self.gate => {
                "word-see-staff".to_owned()
            }
            _ => format!("word-{}", id_of(reason)),
        }
    }

    /// The sentence of a reason.
    pub(crate) fn sentence(self, f: &Frame<'_>, reason: Reason) -> String {
        self.text(&f.site.words, f.language(), &self.subject(reason))
    }

    /// The sentence if there is no verdict.
    pub(crate) fn failure(self, f: &Frame<'_>, failure: Failure) -> String {
        self.text(&f.site.words, f.language(), subject_of(failure))
    }

    /// What the sentence of a reason is about.
    fn subject(self, reason: Reason) -> String {
        match reason {
            Reason::Suspended | Reason::StandingRed | Reason::StandingYellow if self.gate => "see-staff".to_owned(),
            _ => id_of(reason),
        }
    }

    /// The sentence about a subject; a place that registers has its own only where it differs.
    fn text(self, words: &Words, language: Language, subject: &str) -> String {
        let (own, shared) = match (self.gate, self.registers) {
            (true, true) => ("gate-desk", "gate"),
            (true, false) => ("gate", "gate"),
            (false, true) => ("desk", "staff"),
            (false, false) => ("staff", "staff"),
        };
        let found = words.find(language, &format!("{own}-{subject}"), &[]);
        found.unwrap_or_else(|| words.get(language, &format!("{shared}-{subject}"), &[]))
    }
}

fn subject_of(failure: Failure) -> &'static str {
    match failure {
        Failure::NoAnswer => "no-answer",
        Failure::TooMany => "too-many",
    }
}

/// The reason's part in the ids of texts.
fn id_of(reason: Reason) -> String {
    reason.name().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: [Setting; 4] = [
        setting(false, false),
        setting(false, true),
        setting(true, false),
        setting(true, true),
    ];
    const LANGUAGES: [Language; 2] = [Language::Chinese, Language::English];

    const fn setting(gate: bool, registers: bool) -> Setting {
        Setting { gate, registers }
    }

    /// The sentence; a missing text would be its id, which ends with the subject.
    fn sentence(words: &Words, language: Language, setting: Setting, subject: &str) -> String {
        let sentence = setting.text(words, language, subject);
        assert!(
            !sentence.is_empty() && !sentence.ends_with(&format!("-{subject}")),
            "{setting:?} {subject}"
        );
        sentence
    }

    fn text(words: &Words, language: Language, id: &str) -> String {
        words
            .find(language, id, &[])
            .unwrap_or_else(|| panic!("there is no text {id}"))
    }

    #[test]
    fn every_reason_has_a_word_and_a_sentence_in_both_languages_for_every_reader() {
        let words = Words::built_in();
        for language in LANGUAGES {
            for setting in SETTINGS {
                for reason in Reason::ALL {
                    let word = text(&words, language, &setting.word_id(reason));
                    assert!(!word.is_empty(), "{setting:?} {reason:?}");
                    sentence(&words, language, setting, &setting.subject(reason));
                }
                for failure in [Failure::NoAnswer, Failure::TooMany] {
                    sentence(&words, language, setting, subject_of(failure));
                }
            }
        }
    }

    #[test]
    fn the_words_are_those_of_the_contract() {
        let words = Words::built_in();
        for (reason, chinese, english) in [
            (Reason::Ok, "通过", "Valid"),
            (Reason::IdCheckRequired, "请核对身份证", "Check ID card"),
            (Reason::IdMismatch, "身份证不符", "ID does not match"),
            (Reason::Expired, "已过期", "Expired"),
            (Reason::NotYetValid, "尚未生效", "Not yet valid"),
            (Reason::Superseded, "已换新码", "Replaced"),
            (Reason::ReportedLost, "已挂失", "Reported lost"),
            (Reason::Revoked, "已注销", "Revoked"),
            (Reason::Suspended, "已暂停使用", "On hold"),
            (Reason::KindNotAcceptedHere, "此处不适用", "Not accepted here"),
            (Reason::Unreadable, "未能识别", "Unreadable"),
            (Reason::BadSignature, "无效码", "Not genuine"),
            (Reason::UnknownCode, "查无此码", "Not on record"),
            (Reason::StandingRed, "红码", "Red"),
            (Reason::StandingYellow, "黄码", "Yellow"),
            (Reason::MissingProof, "请现场亮码", "Show it live"),
            (Reason::StaleProof, "请刷新后再出示", "Refresh, show again"),
            (Reason::TooStale, "无法核验", "Cannot check"),
            (Reason::ClockUntrusted, "无法核验", "Cannot check"),
            (Reason::DoubleUse, "刚刚用过", "Just used"),
        ] {
            let id = setting(false, false).word_id(reason);
            assert_eq!(text(&words, Language::Chinese, &id), chinese);
            assert_eq!(text(&words, Language::English, &id), english);
        }
        let desk = setting(false, true).word_id(Reason::Ok);
        assert_eq!(text(&words, Language::Chinese, &desk), "已登记");
        assert_eq!(text(&words, Language::English, &desk), "Registered");
    }

    #[test]
    fn a_gate_shows_neither_holds_nor_standings() {
        let words = Words::built_in();
        for reason in [Reason::Suspended, Reason::StandingRed, Reason::StandingYellow] {
            for registers in [false, true] {
                let id = setting(true, registers).word_id(reason);
                assert_eq!(text(&words, Language::Chinese, &id), "请走人工通道");
                assert_eq!(text(&words, Language::English, &id), "Please see staff");
            }
        }
        for language in LANGUAGES {
            for reason in Reason::ALL {
                let at_gate = setting(true, false);
                let said = sentence(&words, language, at_gate, &at_gate.subject(reason));
                for revealing in [
                    "红", "黄", "暂停", "健康", "red", "yellow", "hold", "health", "standing",
                ] {
                    assert!(!said.contains(revealing), "{reason:?}: {said}");
                }
            }
        }
    }

    #[test]
    fn nobody_at_a_staffed_place_is_sent_to_staff() {
        let words = Words::built_in();
        for setting in [setting(false, false), setting(false, true)] {
            for reason in Reason::ALL {
                let chinese = sentence(&words, Language::Chinese, setting, &setting.subject(reason));
                let english = sentence(&words, Language::English, setting, &setting.subject(reason));
                assert!(
                    !chinese.contains("人工通道") && !chinese.contains("工作人员"),
                    "{chinese}"
                );
                assert!(!english.to_lowercase().contains("staff"), "{english}");
            }
        }
    }
}
