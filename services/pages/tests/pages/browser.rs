//! A browser at the pages: it keeps cookies, and reads forms and verdicts.
#![expect(clippy::unwrap_used, reason = "a failure of the fixture fails the test")]

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use citycode_access_records::embedded::EmbeddedRecords;
use citycode_access_records::{AccessRecords as _, Entry, Table};
use citycode_pages::{DemoPerson, KioskSettings, PageCaller, PageTokens, Pages, PagesParts};
use citycode_policy_file::PolicyFile;
use citycode_qr::Fonts;
use citycode_service_clients::Clients;
use citycode_service_kit::clock::{Clock as _, ManualClock, UnixSeconds};
use citycode_service_kit::entropy::SeededEntropy;
use citycode_service_kit::problem::Problem;
use citycode_wire::proto::verifier::v1::GetKnowledgeResponse;
use citycode_wire::proto::verifier::v1::verifier_service_server::VerifierServiceServer;
use http::header::{CONTENT_TYPE, COOKIE, HOST, LOCATION, SET_COOKIE};
use http::{Request, StatusCode};
use tower::ServiceExt as _;
use zeroize::Zeroizing;

use crate::verifier::FakeVerifier;

/// 2026-11-03T00:14:00Z.
const START: i64 = 1_793_664_840;

/// The pages of a demo, and a browser.
pub(crate) struct Browser {
    pub(crate) verifier: FakeVerifier,
    pub(crate) clock: Arc<ManualClock>,
    router: Router,
    records: Arc<EmbeddedRecords>,
    _folder: tempfile::TempDir,
    cookies: BTreeMap<String, String>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) location: String,
    pub(crate) text: String,
}

struct Tokens;

impl PageTokens for Tokens {
    fn token(&self, _: &PageCaller) -> Result<Zeroizing<String>, Problem> {
        Ok(Zeroizing::new("token".to_owned()))
    }
}

impl Browser {
    /// A browser that has signed in as this sample device.
    pub(crate) async fn of(identity: &str) -> Self {
        let verifier = FakeVerifier::default();
        let routes = tonic::service::Routes::new(VerifierServiceServer::new(verifier.clone()));
        let mut browser = Self::over(routes, verifier);
        let signed_in = browser.post("/sign-in", &[("identity", identity)]).await;
        assert_eq!(signed_in.status, StatusCode::SEE_OTHER);
        browser
    }

    /// A browser that has signed in as the sample resident, over these services.
    pub(crate) async fn of_resident(routes: tonic::service::Routes) -> Self {
        let mut browser = Self::over(routes, FakeVerifier::default());
        let signed_in = browser.post("/sign-in", &[("person", "0"), ("shared", "no")]).await;
        assert_eq!(signed_in.status, StatusCode::SEE_OTHER);
        browser
    }

    fn over(routes: tonic::service::Routes, verifier: FakeVerifier) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let records = Arc::new(EmbeddedRecords::open(&folder.path().join("records")).unwrap());
        let clock = Arc::new(ManualClock::at(UnixSeconds(START)));
        verifier.knows(Some(GetKnowledgeResponse {
            age_ms: Some(500),
            fresh: true,
        }));
        let pages = Pages::new(PagesParts {
            clients: Clients::in_process(routes),
            policy: PolicyFile::open(None).unwrap().policy,
            tokens: Arc::new(Tokens),
            assertions: None,
            records: Arc::clone(&records) as _,
            session_key: Zeroizing::new([1; 32]),
            clock: Arc::clone(&clock) as _,
            entropy: Arc::new(SeededEntropy::new(1)),
            fonts: Arc::new(Fonts::built_in()),
            kiosk: KioskSettings::default(),
            demo: vec![DemoPerson {
                id_number: "11010519491231002X".to_owned(),
                name: "王小明".to_owned(),
                role: "demo-elder".to_owned(),
            }],
            sign_in: None,
            host_names: Vec::new(),
            secure: false,
        });
        Self {
            verifier,
            clock,
            router: pages.unwrap().into_router(),
            records,
            _folder: folder,
            cookies: BTreeMap::new(),
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(Request::get(path), Body::empty()).await
    }

    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let request = Request::post(path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request, form(fields)).await
    }

    /// As the script of a checkpoint posts.
    pub(crate) async fn post_by_script(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let request = Request::post(path)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("hx-request", "true");
        self.send(request, form(fields)).await
    }

    /// As a page's script polls.
    pub(crate) async fn poll(&mut self, path: &str) -> Answer {
        self.send(Request::get(path).header("hx-request", "true"), Body::empty())
            .await
    }

    /// A form with a picture.
    pub(crate) async fn upload(&mut self, path: &str, fields: &[(&str, &str)], picture: &[u8]) -> Answer {
        let mut body = Vec::new();
        for (name, value) in fields {
            body.extend_from_slice(
                format!("--edge\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").as_bytes(),
            );
        }
        let head = "--edge\r\ncontent-disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\n";
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(picture);
        body.extend_from_slice(b"\r\n--edge--\r\n");
        let request = Request::post(path).header(CONTENT_TYPE, "multipart/form-data; boundary=edge");
        self.send(request, Body::from(body)).await
    }

    async fn send(&mut self, request: http::request::Builder, body: Body) -> Answer {
        let cookies: Vec<_> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = request.header(HOST, "127.0.0.1").header(COOKIE, cookies.join("; "));
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        for cookie in response.headers().get_all(SET_COOKIE) {
            let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let location = response
            .headers()
            .get(LOCATION)
            .map(|to| to.to_str().unwrap().to_owned());
        Answer {
            status: response.status(),
            location: location.unwrap_or_default(),
            text: {
                let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
                String::from_utf8(bytes.to_vec()).unwrap()
            },
        }
    }

    /// Ends a paired device.
    pub(crate) async fn end_device(&self, id: &str) {
        let now = self.clock.now().0;
        let found = self
            .records
            .get(Table::Device, id.as_bytes(), now)
            .await
            .unwrap()
            .unwrap();
        let ended = Entry {
            value: &[],
            expires_at: 0,
        };
        let replaced = self
            .records
            .replace(Table::Device, id.as_bytes(), found.revision, ended)
            .await;
        assert!(replaced.unwrap());
    }

    /// Forgets all cookies.
    pub(crate) fn forget(&mut self) {
        self.cookies.clear();
    }
}

fn form(fields: &[(&str, &str)]) -> Body {
    let pairs = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
    Body::from(pairs.collect::<Vec<_>>().join("&"))
}

/// Percent-encoding of every byte (URL Standard, application/x-www-form-urlencoded).
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

impl Answer {
    /// The value of the first hidden field with this name.
    pub(crate) fn field(&self, name: &str) -> String {
        let (_, rest) = self
            .text
            .split_once(&format!("name=\"{name}\" value=\""))
            .unwrap_or_else(|| panic!("the page has no field {name}"));
        rest.split('"').next().unwrap().to_owned()
    }

    /// The start tag of the verdict that is shown; those in templates are not.
    pub(crate) fn verdict(&self) -> &str {
        let shown = self.text.split("<form class=\"scan\"").next().unwrap();
        let (_, rest) = shown
            .split_once("<section class=\"verdict\"")
            .expect("a verdict is shown");
        rest.split('>').next().unwrap()
    }

    /// Whether a verdict is shown.
    pub(crate) fn has_verdict(&self) -> bool {
        self.text
            .split("<form class=\"scan\"")
            .next()
            .unwrap()
            .contains("<section class=\"verdict\"")
    }

    pub(crate) fn says(&self, text: &str) -> bool {
        self.text.contains(text)
    }
}
