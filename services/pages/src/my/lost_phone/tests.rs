//! The result page. The act is tested in a browser, over the real services.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use citycode_access_records::embedded::EmbeddedRecords;
use citycode_qr::{FontChoice, Fonts};
use citycode_service_clients::Clients;
use citycode_service_kit::clock::{ManualClock, UnixSeconds};
use citycode_service_kit::entropy::SeededEntropy;
use http::Request;
use http::header::COOKIE;
use tower::ServiceExt as _;
use zeroize::Zeroizing;

use super::*;
use crate::kiosk::settings::KioskSettings;
use crate::{PageTokens, Pages, PagesParts};

const NOW: i64 = 1_790_000_000;

struct NoTokens;

impl PageTokens for NoTokens {
    fn token(&self, _: &PageCaller) -> Result<Zeroizing<String>, Problem> {
        Err(Problem::internal())
    }
}

/// The result page of what the act did.
async fn shown(router: &Router, site: &Site, sessions_remain: bool) -> String {
    let code = Named {
        code_id: "c".to_owned(),
        kind: "app".to_owned(),
        name: "张*三".to_owned(),
    };
    let reported = Reported {
        died: vec![code],
        failed: Vec::new(),
        sessions_remain,
        expires_at: NOW + 1,
    };
    let text = serde_json::to_vec(&reported).unwrap();
    let sealed = site.seal.seal(COOKIE_NAME, &text, &*site.entropy);
    let request = Request::get("/my/lost-phone/done")
        .header("host", "localhost")
        .header(COOKIE, format!("{COOKIE_NAME}={sealed}"));
    let request = request.body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn the_person_is_told_if_sessions_could_not_be_ended() {
    let folder = tempfile::tempdir().unwrap();
    let records = EmbeddedRecords::open(&folder.path().join("access.redb")).unwrap();
    let pages = Pages::new(PagesParts {
        clients: Clients::in_process(tonic::service::Routes::default()),
        policy: Arc::new(citycode_policy_file::parse(citycode_policy_file::SHANGHAI).unwrap()),
        tokens: Arc::new(NoTokens),
        assertions: None,
        records: Arc::new(records),
        session_key: Zeroizing::new([7; 32]),
        clock: Arc::new(ManualClock::at(UnixSeconds(NOW))),
        entropy: Arc::new(SeededEntropy::new(1)),
        fonts: Arc::new(Fonts::load(&FontChoice::BuiltIn).unwrap()),
        kiosk: KioskSettings::default(),
        demo: Vec::new(),
        sign_in: None,
        host_names: Vec::new(),
        secure: false,
    })
    .unwrap();
    let site = Arc::clone(&pages.start_links().0);
    let router = pages.into_router();
    let (told, again) = (
        "data-sessions=\"remain\"",
        "class=\"btn btn-primary\" href=\"/my/lost-phone\"",
    );
    let page = shown(&router, &site, true).await;
    assert!(
        page.contains(told) && page.contains(again) && page.contains("data-died=\"c\""),
        "{page}"
    );
    let page = shown(&router, &site, false).await;
    assert!(!page.contains(told) && !page.contains(again), "{page}");
}
