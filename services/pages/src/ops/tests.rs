//! The pages of operations over the router, without services: which role gets which page, and what forms answer.

mod devices;
mod policy;
mod texts;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use citycode_access_records::embedded::EmbeddedRecords;

use citycode_qr::{FontChoice, Fonts};
use citycode_service_clients::Clients;
use citycode_service_kit::clock::{ManualClock, UnixSeconds};
use citycode_service_kit::entropy::SeededEntropy;
use citycode_service_kit::problem::Problem;
use http::header::{CONTENT_TYPE, COOKIE, LOCATION};
use http::{Request, StatusCode};
use tower::ServiceExt as _;
use zeroize::Zeroizing;

use crate::kiosk::settings::KioskSettings;
use crate::session::{Area, Operator, Session, Who};
use crate::site::Site;
use crate::{PageCaller, PageTokens, Pages, PagesParts};

const NOW: i64 = 1_795_000_000;
const ROLES: [&str; 5] = ["officer", "health_authority", "auditor", "privacy", "admin"];

/// Every caller gets the same token.
struct AnyToken;

impl PageTokens for AnyToken {
    fn token(&self, _: &PageCaller) -> Result<Zeroizing<String>, Problem> {
        Ok(Zeroizing::new("token".to_owned()))
    }
}

/// The pages over no services: each call is answered with `not_found`.
struct World {
    router: Router,
    site: Arc<Site>,
    _folder: tempfile::TempDir,
}

fn world() -> World {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let records = EmbeddedRecords::open(&folder.path().join("access.redb")).expect("new records");
    let policy = citycode_policy_file::parse(citycode_policy_file::SHANGHAI).expect("a valid policy");
    let pages = Pages::new(PagesParts {
        clients: Clients::in_process(tonic::service::Routes::default()),
        policy: Arc::new(policy),
        tokens: Arc::new(AnyToken),
        records: Arc::new(records),
        session_key: Zeroizing::new([7; 32]),
        clock: Arc::new(ManualClock::at(UnixSeconds(NOW))),
        entropy: Arc::new(SeededEntropy::new(1)),
        fonts: Arc::new(Fonts::load(&FontChoice::BuiltIn).expect("the built-in font")),
        demo: Vec::new(),
        host_names: Vec::new(),
        secure: false,
        sign_in: None,
        assertions: None,
        kiosk: KioskSettings::default(),
    })
    .expect("no sign-in is configured");
    World {
        site: Arc::clone(&pages.start_links().0),
        router: pages.into_router(),
        _folder: folder,
    }
}

impl World {
    fn session(&self, role: &str) -> Session {
        let who = Who::Operator(Operator {
            subject: "tester".to_owned(),
            name: role.to_owned(),
            roles: vec![role.to_owned()],
        });
        Session::begin(&self.site, Area::Ops, who)
    }

    async fn get(&self, session: &Session, path: &str) -> (StatusCode, String) {
        self.ask(session, Request::get(path), Body::empty()).await
    }

    async fn post(&self, session: &Session, path: &str, fields: &[(&str, &str)]) -> (StatusCode, String) {
        let token = session.form_token(&self.site);
        let mut form = format!("form_token={token}");
        for (name, value) in fields {
            form.push_str(&format!("&{name}={}", value.replace(' ', "+")));
        }
        let request = Request::post(path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.ask(session, request, Body::from(form)).await
    }

    async fn ask(&self, session: &Session, request: http::request::Builder, body: Body) -> (StatusCode, String) {
        let cookie = session.set_cookie(&self.site);
        let cookie = cookie.split(';').next().expect("a cookie").to_owned();
        let request = request.header(COOKIE, cookie).header("host", "localhost");
        let request = request.body(body).expect("a valid request");
        let response = self.router.clone().oneshot(request).await.expect("the router answers");
        let status = response.status();
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|to| to.to_str().ok())
            .map(str::to_owned);
        let body = axum::body::to_bytes(response.into_body(), 4 << 20)
            .await
            .expect("a whole body");
        let text = String::from_utf8(body.to_vec()).expect("text");
        (status, location.unwrap_or(text))
    }
}

/// Every page that is loaded with GET, the roles that may see it, and a text that only its content has.
const PAGES: [(&str, &[&str], &str); 20] = [
    ("/ops/counts", &["auditor", "admin"], "data-poll="),
    ("/ops/counts/live", &["auditor", "admin"], "notice"),
    ("/ops/counts/table", &["auditor", "admin"], "quiet"),
    ("/ops/devices", &["admin"], "name=\"device_name\""),
    ("/ops/code", &["officer", "auditor", "admin"], "name=\"serial\""),
    (
        "/ops/officer",
        &["officer", "health_authority", "privacy", "admin"],
        "class=\"cards\"",
    ),
    ("/ops/officer/suspend", &["officer", "admin"], "name=\"reason\""),
    ("/ops/officer/reinstate", &["officer", "admin"], "name=\"reason\""),
    ("/ops/officer/revoke", &["officer", "admin"], "name=\"reason\""),
    (
        "/ops/officer/standing",
        &["health_authority", "admin"],
        "name=\"standing\"",
    ),
    ("/ops/officer/relate", &["officer", "admin"], "name=\"guardian\""),
    ("/ops/officer/unrelate", &["officer", "admin"], "name=\"guardian\""),
    ("/ops/officer/rename", &["officer", "admin"], "name=\"name\""),
    (
        "/ops/officer/erase",
        &["officer", "privacy", "admin"],
        "name=\"id_number\"",
    ),
    ("/ops/import", &["admin"], "name=\"file\""),
    ("/ops/keys", &["admin"], "/ops/keys/rotate"),
    ("/ops/keys/rotate", &["admin"], "data-act=\"rotate\""),
    ("/ops/components", &["admin"], "part-verdict"),
    ("/ops/policy", &ROLES, "name=\"policy\""),
    ("/ops/audit", &["auditor", "admin"], "name=\"scan_id\""),
];

#[tokio::test]
async fn each_role_gets_its_pages_and_403_without_content_for_others() {
    let world = world();
    for role in ROLES {
        let session = world.session(role);
        for (path, allowed, content) in PAGES {
            let (status, text) = world.get(&session, path).await;
            if allowed.contains(&role) {
                assert_eq!(status, StatusCode::OK, "{role} {path}: {text}");
                assert!(text.contains(content), "{role} {path}: {text}");
            } else if path.starts_with("/ops/counts/") {
                // The page that asks for these parts is loaded again and says why.
                assert_eq!(status, StatusCode::UNAUTHORIZED, "{role} {path}");
            } else {
                assert_eq!(status, StatusCode::FORBIDDEN, "{role} {path}");
                assert!(
                    text.contains("data-result=\"not_allowed\"") && !text.contains(content),
                    "{role} {path}"
                );
            }
        }
    }
}

#[tokio::test]
async fn each_role_may_send_only_its_own_forms() {
    let world = world();
    let posts: [(&str, &[&str]); 9] = [
        ("/ops/counts/scans", &["auditor", "admin"]),
        ("/ops/devices", &["admin"]),
        ("/ops/devices/end", &["admin"]),
        ("/ops/code", &["officer", "auditor", "admin"]),
        ("/ops/officer/suspend/confirm", &["officer", "admin"]),
        ("/ops/officer/standing/confirm", &["health_authority", "admin"]),
        ("/ops/officer/erase/done", &["officer", "privacy", "admin"]),
        ("/ops/keys/rotate", &["admin"]),
        ("/ops/audit/explain", &["auditor", "admin"]),
    ];
    for role in ROLES {
        let session = world.session(role);
        for (path, allowed) in posts {
            let (status, text) = world.post(&session, path, &[("id", "none")]).await;
            let refused = text.contains("data-result=\"not_allowed\"");
            assert_eq!(refused, !allowed.contains(&role), "{role} {path}: {status}");
        }
    }
}

#[tokio::test]
async fn the_start_leads_to_the_first_page_of_the_role() {
    let world = world();
    for (role, first) in [
        ("officer", "/ops/code"),
        ("health_authority", "/ops/officer"),
        ("auditor", "/ops/counts"),
        ("privacy", "/ops/officer"),
        ("admin", "/ops/counts"),
    ] {
        let (status, to) = world.get(&world.session(role), "/ops").await;
        assert_eq!((status, to.as_str()), (StatusCode::SEE_OTHER, first), "{role}");
    }
}

#[tokio::test]
async fn counts_say_that_services_do_not_answer_and_show_no_zero() {
    let world = world();
    let (_, text) = world.get(&world.session("auditor"), "/ops/counts?lang=en").await;
    for service in ["issuer", "revocation service", "verifier", "audit service"] {
        assert!(
            text.contains(&format!("The {service} does not answer")),
            "{service}: {text}"
        );
    }
    assert!(
        !text.contains("stat-value") && !text.contains("Nothing is wrong"),
        "{text}"
    );
}

#[tokio::test]
async fn a_form_without_the_token_of_its_session_does_nothing() {
    let world = world();
    let session = world.session("admin");
    let other = world.session("admin").form_token(&world.site);
    for token in ["", "0", &other] {
        let request = Request::post("/ops/keys/rotate").header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let body = Body::from(format!(
            "form_token={token}&command_id=00000000-0000-4000-8000-000000000000"
        ));
        let (status, text) = world.ask(&session, request, body).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert!(text.contains("data-result=\"stale_form\""), "{text}");
    }
}

#[tokio::test]
async fn a_typed_text_comes_back_as_text_beside_its_field() {
    let world = world();
    let fields = [("serial", "<script>alert(1)</script>")];
    let (status, text) = world.post(&world.session("officer"), "/ops/code", &fields).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        text.contains("id=\"serial-error\"") && text.contains("&#60;script&#62;alert(1)"),
        "{text}"
    );
    assert!(!text.contains("<script>alert(1)"));
}
