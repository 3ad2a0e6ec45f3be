//! What every page has around its content: language, view, header, help, and the texts and helpers of its template.

use askama::Template;
use axum::response::{Html, IntoResponse as _, Response};
use citycode_domain::policy::Label;
use citycode_service_kit::problem::Problem;
use http::StatusCode;
use uuid::Uuid;

use crate::lang::{Choice, Language, View};
use crate::session::{Area, Session};
use crate::site::Site;
use crate::{assets, when};

/// The frame of one page; templates call it `f`.
pub(crate) struct Frame<'a> {
    pub(crate) site: &'a Site,
    pub(crate) choice: Choice,
    /// The area of the page; `None` for pages that need no session.
    pub(crate) area: Option<Area>,
    /// The address of the page without its query, for the links that change language and view.
    pub(crate) path: String,
    /// The rest of the query that these links keep, such as `for=2`; it never contains anything personal.
    pub(crate) query: String,
    /// The reader's name with its middle hidden; empty without a session, or if it is not known.
    pub(crate) reader: String,
    /// The token that forms of this session carry.
    pub(crate) form_token: String,
}

impl<'a> Frame<'a> {
    /// The frame of a page that needs no session.
    pub(crate) fn public(site: &'a Site, choice: Choice, path: &str) -> Self {
        Self {
            site,
            choice,
            area: None,
            path: path.to_owned(),
            query: String::new(),
            reader: String::new(),
            form_token: String::new(),
        }
    }

    /// The frame of a page of this session.
    pub(crate) fn of(site: &'a Site, choice: Choice, path: &str, session: &Session, reader: String) -> Self {
        Self {
            area: Some(session.area),
            reader,
            form_token: session.form_token(site),
            ..Self::public(site, choice, path)
        }
    }

    pub(crate) fn language(&self) -> Language {
        self.choice.language
    }

    /// A text.
    pub(crate) fn t(&self, id: &str) -> String {
        self.site.words.get(self.language(), id, &[])
    }

    /// A text with one argument.
    pub(crate) fn t1(&self, id: &str, name: &str, value: &str) -> String {
        self.site.words.get(self.language(), id, &[(name, value)])
    }

    /// A text with two arguments.
    pub(crate) fn t2(&self, id: &str, first: (&str, &str), second: (&str, &str)) -> String {
        self.site.words.get(self.language(), id, &[first, second])
    }

    /// A kind of code and whose it is, as one text.
    pub(crate) fn code_of(&self, kind: &str, name: &str) -> String {
        self.t2("lost-code", ("kind", &self.kind(kind)), ("name", name))
    }

    /// A label of the policy.
    pub(crate) fn label(&self, label: &Label) -> String {
        self.language().of(label).to_owned()
    }

    /// The label of a kind; its name if the policy has none.
    pub(crate) fn kind(&self, name: &str) -> String {
        self.site
            .kind(name)
            .map_or_else(|| name.to_owned(), |kind| self.label(&kind.label))
    }

    /// A time to the minute, in the policy's zone.
    pub(crate) fn minute(&self, seconds: &i64) -> String {
        when::minute(*seconds, &self.site.zone, self.language())
    }

    /// 有效期 of a code: half-open, so the text says "until before".
    pub(crate) fn valid_until(&self, seconds: &i64) -> String {
        self.t1("valid-until", "time", &self.minute(seconds))
    }

    /// The name of the city or organisation.
    pub(crate) fn city(&self) -> String {
        self.label(&self.site.policy.label)
    }

    /// The address of a built browser file.
    pub(crate) fn asset(&self, name: &str) -> String {
        assets::address(name)
    }

    /// The value of `<html lang>`.
    pub(crate) fn tag(&self) -> &'static str {
        self.language().tag()
    }

    pub(crate) fn is_chinese(&self) -> bool {
        self.language() == Language::Chinese
    }

    /// The value of `data-view`.
    pub(crate) fn view(&self) -> &'static str {
        self.choice.view.word()
    }

    pub(crate) fn is_large(&self) -> bool {
        self.choice.view == View::Large
    }

    pub(crate) fn is_demo(&self) -> bool {
        self.site.is_demo()
    }

    /// The link that changes the language.
    pub(crate) fn language_link(&self) -> String {
        self.link("lang", self.language().other().word())
    }

    /// The value of `lang` of that link.
    pub(crate) fn other_tag(&self) -> &'static str {
        self.language().other().tag()
    }

    /// The link that changes the view.
    pub(crate) fn view_link(&self) -> String {
        self.link("view", self.choice.view.other().word())
    }

    fn link(&self, name: &str, value: &str) -> String {
        let Self { path, query, .. } = self;
        if query.is_empty() {
            format!("{path}?{name}={value}")
        } else {
            format!("{path}?{query}&{name}={value}")
        }
    }

    /// Where the reader signs out.
    pub(crate) fn sign_out(&self) -> String {
        self.area
            .map(|area| format!("{}/sign-out", area.path()))
            .unwrap_or_default()
    }

    /// A new command id for a form, so that sending the form twice does nothing twice.
    pub(crate) fn command_id(&self) -> String {
        Uuid::from_bytes(self.site.draw()).to_string()
    }

    /// A problem as a sentence: what happened, and what to do.
    pub(crate) fn problem(&self, problem: &Problem) -> String {
        let id = format!("problem-{}", problem.code().as_str().replace('_', "-"));
        let known = self.site.words.find(self.language(), &id, &[]);
        known.unwrap_or_else(|| self.t("problem-other"))
    }
}

/// Renders a page.
pub(crate) fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            Problem::internal().into_response()
        }
    }
}
