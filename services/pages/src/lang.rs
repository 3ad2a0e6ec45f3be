//! Language and view of a page: from the query, else from a cookie, else Chinese and standard.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use citycode_domain::policy::Label;
use http::header::COOKIE;
use http::request::Parts;

/// The cookie that keeps both choices, e.g. `en.large`. It contains nothing personal.
pub(crate) const COOKIE_NAME: &str = "citycode-view";

/// The language of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Language {
    #[default]
    Chinese,
    English,
}

impl Language {
    /// The value of `<html lang>` (BCP 47).
    pub(crate) fn tag(self) -> &'static str {
        match self {
            Self::Chinese => "zh-CN",
            Self::English => "en",
        }
    }

    /// The value of the query parameter `lang`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Chinese => "zh",
            Self::English => "en",
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Chinese => Self::English,
            Self::English => Self::Chinese,
        }
    }

    fn parse(word: &str) -> Option<Self> {
        match word {
            "zh" => Some(Self::Chinese),
            "en" => Some(Self::English),
            _ => None,
        }
    }

    /// The label in this language.
    pub(crate) fn of(self, label: &Label) -> &str {
        match self {
            Self::Chinese => &label.zh,
            Self::English => &label.en,
        }
    }
}

/// The size of text and targets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum View {
    #[default]
    Standard,
    /// 长辈版.
    Large,
}

impl View {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Large => "large",
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Standard => Self::Large,
            Self::Large => Self::Standard,
        }
    }

    fn parse(word: &str) -> Option<Self> {
        match word {
            "standard" => Some(Self::Standard),
            "large" => Some(Self::Large),
            _ => None,
        }
    }
}

/// What the reader chose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Choice {
    pub(crate) language: Language,
    pub(crate) view: View,
    /// Whether the query names a choice, which the answer keeps in the cookie.
    pub(crate) is_new: bool,
}

impl Choice {
    pub(crate) fn of(parts: &Parts) -> Self {
        let mut choice = Self::default();
        let kept = cookie(parts, COOKIE_NAME).unwrap_or_default();
        for word in kept.split('.') {
            choice.language = Language::parse(word).unwrap_or(choice.language);
            choice.view = View::parse(word).unwrap_or(choice.view);
        }
        for pair in parts.uri.query().unwrap_or_default().split('&') {
            match pair.split_once('=') {
                Some(("lang", word)) => {
                    if let Some(language) = Language::parse(word) {
                        (choice.language, choice.is_new) = (language, true);
                    }
                }
                Some(("view", word)) => {
                    if let Some(view) = View::parse(word) {
                        (choice.view, choice.is_new) = (view, true);
                    }
                }
                _ => {}
            }
        }
        choice
    }

    /// The value of the cookie that keeps this choice for a year.
    pub(crate) fn set_cookie(self) -> String {
        format!(
            "{COOKIE_NAME}={}.{}; Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly",
            self.language.word(),
            self.view.word()
        )
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Choice {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}

/// The value of a cookie of the request. Of two with the same name the first counts (RFC 6265 §5.4: it has the longer
/// path).
pub(crate) fn cookie<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    let headers = parts.headers.get_all(COOKIE).iter();
    let pairs = headers
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'));
    pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(uri: &str, cookies: &str) -> Parts {
        let request = http::Request::get(uri).header(COOKIE, cookies).body(());
        request.expect("a valid request").into_parts().0
    }

    #[test]
    fn the_query_wins_over_the_cookie_and_chinese_is_the_default() {
        let none = Choice::of(&parts("/", ""));
        assert_eq!(
            (none.language, none.view, none.is_new),
            (Language::Chinese, View::Standard, false)
        );
        let kept = Choice::of(&parts("/", "a=b; citycode-view=en.large"));
        assert_eq!(
            (kept.language, kept.view, kept.is_new),
            (Language::English, View::Large, false)
        );
        let asked = Choice::of(&parts("/?x=1&lang=zh", "citycode-view=en.large"));
        assert_eq!(
            (asked.language, asked.view, asked.is_new),
            (Language::Chinese, View::Large, true)
        );
    }

    #[test]
    fn an_unknown_choice_is_ignored() {
        let choice = Choice::of(&parts("/?lang=%3Cscript%3E&view=huge", "citycode-view=xx.yy"));
        assert_eq!(choice, Choice::default());
    }
}
