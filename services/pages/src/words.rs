//! The texts of all pages, in Chinese and English (Project Fluent).

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use unic_langid::langid;

use crate::lang::Language;

const CHINESE: &str = include_str!("../locales/zh.ftl");
const ENGLISH: &str = include_str!("../locales/en.ftl");

/// The texts.
pub(crate) struct Words {
    chinese: FluentBundle<FluentResource>,
    english: FluentBundle<FluentResource>,
}

impl Words {
    /// The texts that are part of the program.
    pub(crate) fn built_in() -> Self {
        Self {
            chinese: bundle(CHINESE, langid!("zh-CN")),
            english: bundle(ENGLISH, langid!("en")),
        }
    }

    /// The text with this id. A missing one yields its id, which a test of all templates prevents.
    pub(crate) fn get(&self, language: Language, id: &str, arguments: &[(&str, &str)]) -> String {
        self.find(language, id, arguments).unwrap_or_else(|| {
            tracing::error!(id, "a text of the pages is missing");
            id.to_owned()
        })
    }

    /// The text with this id, if there is one.
    pub(crate) fn find(&self, language: Language, id: &str, arguments: &[(&str, &str)]) -> Option<String> {
        let bundle = match language {
            Language::Chinese => &self.chinese,
            Language::English => &self.english,
        };
        let pattern = bundle.get_message(id)?.value()?;
        let arguments: Option<FluentArgs<'_>> = (!arguments.is_empty()).then(|| {
            let pairs = arguments.iter();
            pairs.map(|(name, value)| (*name, FluentValue::from(*value))).collect()
        });
        let mut errors = Vec::new();
        let text = bundle.format_pattern(pattern, arguments.as_ref(), &mut errors);
        if !errors.is_empty() {
            tracing::error!(id, "a text of the pages lacks an argument");
        }
        Some(text.into_owned())
    }
}

fn bundle(source: &str, language: unic_langid::LanguageIdentifier) -> FluentBundle<FluentResource> {
    let resource = match FluentResource::try_new(source.to_owned()) {
        Ok(resource) => resource,
        Err((resource, errors)) => {
            tracing::error!(?errors, "the texts of the pages contain errors");
            resource
        }
    };
    let mut bundle = FluentBundle::new_concurrent(vec![language]);
    // Isolation marks are for texts that mix writing directions; here they would be copied with a name.
    bundle.set_use_isolating(false);
    if let Err(errors) = bundle.add_resource(resource) {
        tracing::error!(?errors, "the texts of the pages contain a text twice");
    }
    bundle
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn ids(source: &str) -> BTreeSet<&str> {
        let messages = source.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
        messages.filter_map(|line| Some(line.split_once(" =")?.0)).collect()
    }

    #[test]
    fn the_texts_are_valid_and_none_stands_twice() {
        for source in [CHINESE, ENGLISH] {
            let resource = FluentResource::try_new(source.to_owned()).map_err(|(_, errors)| errors);
            let resource = resource.expect("the texts are valid Fluent");
            let mut bundle = FluentBundle::new_concurrent(vec![langid!("en")]);
            bundle.add_resource(resource).expect("every id stands once");
        }
    }

    #[test]
    fn both_languages_have_the_same_texts() {
        assert_eq!(ids(CHINESE), ids(ENGLISH));
    }
}
