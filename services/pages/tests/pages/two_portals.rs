//! Two portals over the records of a city, on a real server.
#![expect(clippy::unwrap_used, reason = "a failure of the fixture fails the test")]

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use citycode_access_records::jetstream::{Environment, JetStreamRecords, RecordsConfig, provision};
use citycode_jetstream::Connection;
use citycode_pages::{KioskSettings, PageCaller, PageTokens, Pages, PagesParts, StartFor};
use citycode_policy_file::PolicyFile;
use citycode_qr::Fonts;
use citycode_service_clients::Clients;
use citycode_service_kit::clock::{Clock as _, SystemClock};
use citycode_service_kit::entropy::{Entropy as _, OsEntropy};
use citycode_service_kit::problem::{Code, Problem};
use citycode_testkit::NatsServer;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use tower::ServiceExt as _;
use zeroize::Zeroizing;

const CITY_KEY: [u8; 32] = [7; 32];

struct NoTokens;

impl PageTokens for NoTokens {
    fn token(&self, _: &PageCaller) -> Result<Zeroizing<String>, Problem> {
        Err(Problem::new(Code::NotAllowed, "no service is called"))
    }
}

async fn portal(config: &RecordsConfig) -> Pages {
    let clock = Arc::new(SystemClock::new());
    let (now, monotonic) = (Arc::clone(&clock), Arc::clone(&clock));
    let environment = Environment {
        now: Arc::new(move || now.now().0),
        monotonic: Arc::new(move || monotonic.monotonic()),
        fill_random: Arc::new(|bytes| OsEntropy.fill(bytes)),
    };
    let records = JetStreamRecords::open(config, &CITY_KEY, environment).await.unwrap();
    let pages = Pages::new(PagesParts {
        clients: Clients::in_process(tonic::service::Routes::default()),
        policy: PolicyFile::open(None).unwrap().policy,
        tokens: Arc::new(NoTokens),
        assertions: None,
        session_key: records.session_key(&CITY_KEY),
        records: Arc::new(records),
        clock,
        entropy: Arc::new(OsEntropy),
        fonts: Arc::new(Fonts::built_in()),
        kiosk: KioskSettings::default(),
        demo: Vec::new(),
        sign_in: None,
        host_names: Vec::new(),
        secure: false,
    });
    pages.unwrap()
}

async fn start(portal: &Router, secret: &str) -> StatusCode {
    let here: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let request = Request::post("/start")
        .header(HOST, "127.0.0.1")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .extension(ConnectInfo(here))
        .body(Body::from(format!("secret={secret}")));
    portal.clone().oneshot(request.unwrap()).await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_link_that_was_used_at_one_portal_is_refused_at_the_other() {
    let server = NatsServer::start().await;
    let config = RecordsConfig {
        connection: Connection::new(vec![server.url()], "test"),
        replicas: 1,
    };
    provision(&config, &CITY_KEY, [1; 16]).await.unwrap();
    let (one, other) = (portal(&config).await, portal(&config).await);
    let links = one.start_links();
    let link = async || links.make(&StartFor::Identity("staff".to_owned())).await.unwrap();
    let (first, second) = (link().await, link().await);
    let (one, other) = (one.into_router(), other.into_router());
    assert_eq!(start(&other, &first).await, StatusCode::SEE_OTHER);
    assert_eq!(start(&one, &first).await, StatusCode::FORBIDDEN);
    // Of two attempts at the same moment one begins a session.
    let both = tokio::join!(start(&one, &second), start(&other, &second));
    assert!(
        [
            (StatusCode::SEE_OTHER, StatusCode::FORBIDDEN),
            (StatusCode::FORBIDDEN, StatusCode::SEE_OTHER)
        ]
        .contains(&both),
        "{both:?}"
    );
}
