//! Fields of forms: a label, a hint, what was typed, and what is wrong with it beside the field.

use crate::frame::Frame;

/// How a field is filled in.
pub(super) enum Input {
    /// A line of text.
    Line,
    /// A line of digits or code characters.
    Code,
    /// A local time, such as `2026-11-03 08:14`: the same in every browser's language, and as narrow as a phone.
    Time,
    /// Several lines.
    Long,
    /// One of these values.
    Select(Vec<Choice>),
}

/// A value that can be selected.
pub(super) struct Choice {
    pub(super) value: String,
    pub(super) text: String,
    pub(super) is_chosen: bool,
}

/// One field.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) label: String,
    pub(super) hint: String,
    pub(super) value: String,
    /// What is wrong; empty if nothing is.
    pub(super) error: String,
    pub(super) input: Input,
    pub(super) is_optional: bool,
    /// Whether the label says that it may stay empty.
    pub(super) says_optional: bool,
    /// Whether the focus moves here: the first field that is wrong.
    pub(super) has_focus: bool,
}

impl Field {
    /// A field whose label is the text `ops-field-NAME`.
    pub(super) fn new(f: &Frame<'_>, name: &'static str, input: Input, value: &str) -> Self {
        let id = name.replace('_', "-");
        let hint = f.site.words.find(f.language(), &format!("ops-field-{id}-hint"), &[]);
        Self {
            name,
            label: f.t(&format!("ops-field-{id}")),
            hint: hint.unwrap_or_default(),
            value: value.to_owned(),
            error: String::new(),
            input,
            is_optional: false,
            says_optional: false,
            has_focus: false,
        }
    }

    /// The same field, which may stay empty.
    pub(super) fn optional(mut self) -> Self {
        (self.is_optional, self.says_optional) = (true, true);
        self
    }

    /// The same field, one of several of which some must be filled in.
    pub(super) fn alternative(mut self) -> Self {
        self.is_optional = true;
        self
    }

    pub(super) fn is_wrong(&self) -> bool {
        !self.error.is_empty()
    }

    pub(super) fn choices(&self) -> &[Choice] {
        match &self.input {
            Input::Select(choices) => choices,
            _ => &[],
        }
    }

    pub(super) fn is_select(&self) -> bool {
        matches!(self.input, Input::Select(_))
    }

    pub(super) fn is_long(&self) -> bool {
        matches!(self.input, Input::Long)
    }

    pub(super) fn class(&self) -> &'static str {
        if matches!(self.input, Input::Code | Input::Time) {
            "input input-code"
        } else {
            "input"
        }
    }

    /// The elements that describe it.
    pub(super) fn described_by(&self) -> String {
        let hint = (!self.hint.is_empty()).then(|| format!("{}-hint", self.name));
        let error = self.is_wrong().then(|| format!("{}-error", self.name));
        let ids: Vec<String> = hint.into_iter().chain(error).collect();
        ids.join(" ")
    }
}

/// What is wrong with which field.
#[derive(Default)]
pub(super) struct Faults(Vec<(&'static str, String)>);

impl Faults {
    pub(super) fn add(&mut self, field: &'static str, text: String) {
        self.0.push((field, text));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds these to `others`, as faults of the field `name`.
    pub(super) fn rename(self, name: &'static str, others: &mut Self) {
        others.0.extend(self.0.into_iter().map(|(_, text)| (name, text)));
    }

    /// Puts each text beside its field, and the focus into the first of them.
    pub(super) fn show_in(self, fields: &mut [Field]) {
        for (name, text) in self.0 {
            if let Some(field) = fields.iter_mut().find(|field| field.name == name) {
                field.error = text;
            }
        }
        if let Some(first) = fields.iter_mut().find(|field| field.is_wrong()) {
            first.has_focus = true;
        }
    }
}

/// The choices of these values and texts, of which `chosen` is selected.
pub(super) fn choices(of: impl IntoIterator<Item = (String, String)>, chosen: &str) -> Input {
    let choices = of.into_iter().map(|(value, text)| Choice {
        is_chosen: value == chosen,
        value,
        text,
    });
    Input::Select(choices.collect())
}

/// The kinds of the policy.
pub(super) fn kinds(f: &Frame<'_>, chosen: &str) -> Input {
    let kinds = f.site.policy.kinds.iter();
    choices(kinds.map(|kind| (kind.name.clone(), f.label(&kind.label))), chosen)
}
