//! A browser at the pages of any portal: it keeps cookies by name, as of one host name, and reads forms.

use std::collections::BTreeMap;

use citycode_test_support::OpenIdProvider;
use citycode_testkit::Running;
use reqwest::header::{CONTENT_TYPE, COOKIE, HOST, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::{Client, Url, redirect};

/// The name under which the city's ingress serves the pages of all portals.
pub(crate) const HOST_NAME: &str = "code.city.example";

/// One browser. Clones are copies, as somebody who copied its cookies has.
#[derive(Clone)]
pub(crate) struct Browser {
    http: Client,
    cookies: BTreeMap<String, String>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: String,
    pub(crate) text: String,
}

impl Browser {
    pub(crate) fn new() -> Self {
        let http = Client::builder().redirect(redirect::Policy::none()).no_proxy().build();
        Self {
            http: http.expect("a client"),
            cookies: BTreeMap::new(),
        }
    }

    pub(crate) async fn get(&mut self, portal: &Running, path: &str) -> Answer {
        let request = self.http.get(format!("{}{path}", portal.url()));
        self.send(request).await
    }

    pub(crate) async fn post(&mut self, portal: &Running, path: &str, fields: &[(&str, &str)]) -> Answer {
        let request = self
            .http
            .post(format!("{}{path}", portal.url()))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form(fields));
        self.send(request).await
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> Answer {
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = request.header(HOST, HOST_NAME).header(COOKIE, cookies.join("; "));
        let answer = request.send().await.expect("the portal answers");
        self.keep(answer.headers());
        let location = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok());
        Answer {
            status: answer.status().as_u16(),
            location: location.unwrap_or_default().to_owned(),
            text: answer.text().await.expect("text"),
        }
    }

    fn keep(&mut self, headers: &HeaderMap) {
        for cookie in headers.get_all(SET_COOKIE) {
            let (name, rest) = cookie
                .to_str()
                .ok()
                .and_then(|text| text.split_once('='))
                .expect("a cookie");
            let value = rest.split(';').next().unwrap_or_default();
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// Sends a form that ends in a redirection, as all of `/my` do, and reads the page of its result.
    pub(crate) async fn act(&mut self, portal: &Running, path: &str, fields: &[(&str, &str)]) -> Answer {
        let sent = self.post(portal, path, fields).await;
        assert_eq!(sent.status, 303, "{}", sent.text);
        self.get(portal, &sent.location).await
    }

    /// Signs in through the provider: begins at one portal, and comes back to another.
    pub(crate) async fn sign_in(
        &mut self,
        provider: &OpenIdProvider,
        login: &str,
        area: &str,
        (begins, ends): (&Running, &Running),
    ) {
        let sent = self.get(begins, &format!("/sign-in/oidc?area={area}")).await;
        assert_eq!(sent.status, 303, "{}", sent.text);
        assert!(sent.location.starts_with(provider.issuer()), "{}", sent.location);
        let back = self.http.get(format!("{}&login={login}", sent.location)).send().await;
        let back = back.expect("the provider answers");
        let back = back.headers().get(LOCATION).and_then(|to| to.to_str().ok());
        let back: Url = back
            .expect("the provider knows the person")
            .parse()
            .expect("an address");
        assert_eq!(back.host_str(), Some(HOST_NAME));
        let path = format!("{}?{}", back.path(), back.query().unwrap_or_default());
        let signed_in = self.get(ends, &path).await;
        assert_eq!(signed_in.status, 200, "{}", signed_in.text);
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    let pairs = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Percent-encoding of every byte (URL Standard, application/x-www-form-urlencoded).
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

impl Answer {
    /// The value of the first hidden field with this name.
    pub(crate) fn field(&self, name: &str) -> String {
        self.after(&format!("name=\"{name}\" value=\""))
    }

    /// The value of the first attribute with this name.
    pub(crate) fn attribute(&self, name: &str) -> String {
        self.after(&format!("{name}=\""))
    }

    fn after(&self, begins: &str) -> String {
        let rest = self.text.split_once(begins).map(|(_, rest)| rest);
        let rest = rest.unwrap_or_else(|| panic!("{}: no {begins} in {}", self.status, self.text));
        rest.split('"').next().unwrap_or_default().to_owned()
    }

    pub(crate) fn says(&self, text: &str) -> bool {
        self.text.contains(text)
    }
}
