//! The texts of all pages, in Chinese and English (Project Fluent).

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use unic_langid::langid;

use crate::lang::Language;

/// The texts of one language, a file for each area.
const FILES: usize = 6;
const CHINESE: [&str; FILES] = [
    include_str!("../locales/zh/common.ftl"),
    include_str!("../locales/zh/my.ftl"),
    include_str!("../locales/zh/kiosk.ftl"),
    include_str!("../locales/zh/staff.ftl"),
    include_str!("../locales/zh/ops.ftl"),
    include_str!("../locales/zh/sheet.ftl"),
];
const ENGLISH: [&str; FILES] = [
    include_str!("../locales/en/common.ftl"),
    include_str!("../locales/en/my.ftl"),
    include_str!("../locales/en/kiosk.ftl"),
    include_str!("../locales/en/staff.ftl"),
    include_str!("../locales/en/ops.ftl"),
    include_str!("../locales/en/sheet.ftl"),
];

/// The texts.
pub(crate) struct Words {
    chinese: FluentBundle<FluentResource>,
    english: FluentBundle<FluentResource>,
}

impl Words {
    /// The texts that are part of the program.
    pub(crate) fn built_in() -> Self {
        Self {
            chinese: bundle(&CHINESE, langid!("zh-CN")),
            english: bundle(&ENGLISH, langid!("en")),
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

fn bundle(sources: &[&str; FILES], language: unic_langid::LanguageIdentifier) -> FluentBundle<FluentResource> {
    let mut bundle = FluentBundle::new_concurrent(vec![language]);
    // Isolation marks are for texts that mix writing directions; here they would be copied with a name.
    bundle.set_use_isolating(false);
    for source in sources {
        let resource = match FluentResource::try_new((*source).to_owned()) {
            Ok(resource) => resource,
            Err((resource, errors)) => {
                tracing::error!(?errors, "the texts of the pages contain errors");
                resource
            }
        };
        if let Err(errors) = bundle.add_resource(resource) {
            tracing::error!(?errors, "the texts of the pages contain a text twice");
        }
    }
    bundle
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn ids(source: &str) -> BTreeSet<&str> {
        let messages = source
            .lines()
            .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
        messages.filter_map(|line| Some(line.split_once(" =")?.0)).collect()
    }

    #[test]
    fn the_texts_are_valid_and_none_stands_twice() {
        for sources in [CHINESE, ENGLISH] {
            let mut bundle = FluentBundle::new_concurrent(vec![langid!("en")]);
            for source in sources {
                let resource = FluentResource::try_new(source.to_owned()).map_err(|(_, errors)| errors);
                let resource = resource.expect("the texts are valid Fluent");
                bundle.add_resource(resource).expect("every id stands once");
            }
        }
    }

    #[test]
    fn both_languages_have_the_same_texts() {
        for (chinese, english) in CHINESE.iter().zip(ENGLISH) {
            assert_eq!(ids(chinese), ids(english));
        }
    }

    #[test]
    fn every_text_that_a_template_names_exists() {
        let all: BTreeSet<&str> = ENGLISH.into_iter().flat_map(ids).collect();
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
        let mut folders = vec![root];
        let mut named = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder of templates").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let template = std::fs::read_to_string(&path).expect("a template");
                for call in ["f.t(\"", "f.t1(\"", "f.t2(\""] {
                    for rest in template.split(call).skip(1) {
                        let id = rest.split('"').next().unwrap_or_default();
                        assert!(all.contains(id), "{}: there is no text {id}", path.display());
                        named += 1;
                    }
                }
            }
        }
        assert!(named > 50, "only {named} texts are named");
    }
}
