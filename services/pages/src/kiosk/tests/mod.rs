//! Tests of the kiosk's pages before any service is asked. Acts are tested in a browser, over the real services.

mod identify;
mod visit;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use citycode_access_records::embedded::EmbeddedRecords;
use citycode_access_records::{Entry, Table};
use citycode_qr::{FontChoice, Fonts};
use citycode_service_clients::Clients;
use citycode_service_kit::clock::{Clock as _, ManualClock, UnixSeconds};
use citycode_service_kit::entropy::SeededEntropy;
use citycode_service_kit::problem::Problem;
use http::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{Method, Request, Response, StatusCode};
use zeroize::Zeroizing;

use super::reading::tests::{KEY, reading};
use super::settings::{Identification, KioskSettings};
use super::visit::Visit;
use crate::session::{Area, Device, Session, Who};
use crate::site::Site;
use crate::{PageCaller, PageTokens, Pages, PagesParts};

const NOW: i64 = 1_790_000_000;
/// Numbers of nobody, with the same last four digits.
const NUMBERS: [&str; 2] = ["990100194403080010", "990100195205190010"];

/// Gives no token, and counts who asks: a page needs a token for every call of a service.
#[derive(Default)]
struct NoTokens(AtomicUsize);

impl PageTokens for NoTokens {
    fn token(&self, _: &PageCaller) -> Result<Zeroizing<String>, Problem> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Err(Problem::internal())
    }
}

struct Kiosk {
    router: Router,
    site: Arc<Site>,
    clock: Arc<ManualClock>,
    tokens: Arc<NoTokens>,
    session: Session,
    _dir: tempfile::TempDir,
}

/// What a browser sees.
struct Seen {
    status: StatusCode,
    location: String,
    cookies: Vec<String>,
    body: String,
}

fn with_reader_and_pin() -> KioskSettings {
    let how = Identification {
        reader_key: Some(Zeroizing::new(KEY.to_vec())),
        attendant_pin: Some(Zeroizing::new("246810".to_owned())),
    };
    KioskSettings {
        identification: [("kiosk".to_owned(), how)].into(),
        ..KioskSettings::default()
    }
}

impl Kiosk {
    async fn new(kiosk: KioskSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(UnixSeconds(NOW)));
        let tokens = Arc::new(NoTokens::default());
        let records = Arc::new(EmbeddedRecords::open(&dir.path().join("access.redb")).unwrap());
        let pages = Pages::new(PagesParts {
            clients: Clients::in_process(tonic::service::Routes::default()),
            policy: Arc::new(citycode_policy_file::parse(citycode_policy_file::SHANGHAI).unwrap()),
            tokens: Arc::clone(&tokens) as Arc<dyn PageTokens>,
            assertions: None,
            records,
            session_key: Zeroizing::new([7; 32]),
            clock: Arc::clone(&clock) as Arc<_>,
            entropy: Arc::new(SeededEntropy::new(1)),
            fonts: Arc::new(Fonts::load(&FontChoice::BuiltIn).unwrap()),
            kiosk,
            demo: Vec::new(),
            sign_in: None,
            host_names: Vec::new(),
            secure: false,
        })
        .unwrap();
        let site = Arc::clone(&pages.start_links().0);
        let this = Self {
            session: session(&site, "kiosk-7").await,
            router: pages.into_router(),
            site,
            clock,
            tokens,
            _dir: dir,
        };
        assert_eq!(this.clock.now().0, NOW);
        this
    }

    async fn send(&self, method: Method, path: &str, cookies: &[&str], form: &str) -> Seen {
        let own = self.session.set_cookie(&self.site);
        let own = own.split(';').next().unwrap();
        let cookies: Vec<&str> = [own].into_iter().chain(cookies.iter().copied()).collect();
        let request = Request::builder()
            .header("host", "127.0.0.1")
            .method(method)
            .uri(path)
            .header(COOKIE, cookies.join("; "));
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = request.body(Body::from(form.to_owned())).unwrap();
        let answer = tower::ServiceExt::oneshot(self.router.clone(), request).await.unwrap();
        Seen::of(answer).await
    }

    async fn get(&self, path: &str, cookies: &[&str]) -> Seen {
        self.send(Method::GET, path, cookies, "").await
    }

    async fn post(&self, path: &str, cookies: &[&str], field: &str, value: &str) -> Seen {
        let token = self.session.form_token(&self.site);
        let value: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.send(
            Method::POST,
            path,
            cookies,
            &format!("form_token={token}&{field}={value}"),
        )
        .await
    }

    async fn read_card(&self, typed: &str) -> Seen {
        self.post("/kiosk/person", &[], "card", typed).await
    }

    /// The visit in a cookie.
    async fn visit(&self, cookie: &str) -> Option<Visit> {
        let request = Request::builder().header(COOKIE, cookie).body(()).unwrap();
        Visit::of(&self.site, &request.into_parts().0, &self.session)
            .await
            .unwrap()
    }
}

impl Seen {
    async fn of(answer: Response<Body>) -> Self {
        let text = |name| {
            let values = answer.headers().get_all(name).iter();
            values
                .map(|value| value.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        Self {
            status: answer.status(),
            location: text(LOCATION).concat(),
            cookies: text(SET_COOKIE),
            body: String::from_utf8(to_bytes(answer.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap(),
        }
    }

    /// `NAME=VALUE` of the visit's cookie.
    fn visit(&self) -> &str {
        let visit = self
            .cookies
            .iter()
            .find(|cookie| cookie.starts_with("citycode-kiosk-visit="));
        visit.expect("a visit begins").split(';').next().unwrap()
    }
}

async fn session(site: &Site, device: &str) -> Session {
    let who = Device {
        pairing: String::new(),
        id: device.to_owned(),
        name: device.to_owned(),
        channel: "kiosk".to_owned(),
        places: Vec::new(),
    };
    let value = serde_json::to_vec(&who).unwrap();
    let entry = Entry {
        value: &value,
        expires_at: NOW + 1_000_000,
    };
    site.records
        .create(Table::Device, device.as_bytes(), entry, NOW)
        .await
        .unwrap();
    Session::begin(site, Area::Kiosk, Who::Device(who))
}

fn reading_now() -> String {
    reading(NUMBERS[0], "王秀英", NOW, KEY)
}
