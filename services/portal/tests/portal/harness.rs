//! A portal over the fakes, as `citycode up` builds it, called without a socket.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use citycode_auth::{AUDIENCE, AccessTokens, Authenticate, Grant, LocalAuthority, Role, TrustedKeys};
use citycode_domain::ids::CodeKind;
use citycode_domain::policy::{ChannelPolicy, GuardianPolicy, KindPolicy, Label, PlacePolicy, Policy, ProofPolicy};
use citycode_portal::{Portal, PortalParts};
use citycode_service_clients::Clients;
use citycode_service_kit::clock::{Clock, ManualClock, UnixSeconds};
use citycode_service_kit::entropy::SeededEntropy;
use citycode_service_kit::serve::app;
use citycode_wire::proto::audit::v1::audit_service_server::AuditServiceServer;
use citycode_wire::proto::issuer::v1::issuer_service_server::IssuerServiceServer;
use citycode_wire::proto::revocation::v1::revocation_service_server::RevocationServiceServer;
use citycode_wire::proto::verifier::v1::verifier_service_server::VerifierServiceServer;
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tonic::service::Routes;
use tower::{Layer as _, ServiceExt as _};

use crate::fakes::Fakes;

const NOW: UnixSeconds = UnixSeconds(1_661_911_200);

/// The fake services and their portal.
pub(crate) struct City {
    pub(crate) fakes: Fakes,
    /// An admin's token.
    pub(crate) token: String,
    authority: LocalAuthority,
    pub(crate) clock: Arc<ManualClock>,
    router: Router,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl City {
    pub(crate) fn new() -> Self {
        Self::build(None)
    }

    /// A portal with these clients.
    pub(crate) fn before(clients: Clients) -> Self {
        Self::build(Some(clients))
    }

    fn build(clients: Option<Clients>) -> Self {
        let fakes = Fakes::default();
        let authority = LocalAuthority::ephemeral(&SeededEntropy::new(7));
        let keys = TrustedKeys::new().with_local(&authority).unwrap();
        let tokens = Arc::new(AccessTokens::new(AUDIENCE, keys));
        let manual = Arc::new(ManualClock::at(NOW));
        let clock: Arc<dyn Clock> = Arc::clone(&manual) as Arc<dyn Clock>;
        let token = mint(&authority, "tester", &[Role::Admin]);
        // The services verify the token again that the portal passes on.
        let inside = Authenticate::optional(Arc::clone(&tokens), Arc::clone(&clock)).in_process();
        let services = Routes::new(inside.layer(IssuerServiceServer::new(fakes.clone())))
            .add_service(inside.layer(RevocationServiceServer::new(fakes.clone())))
            .add_service(inside.layer(VerifierServiceServer::new(fakes.clone())))
            .add_service(inside.layer(AuditServiceServer::new(fakes.clone())));
        let portal = Portal::new(PortalParts {
            clients: clients.unwrap_or_else(|| Clients::in_process(services)),
            policy: Arc::new(policy()),
            tokens,
            clock,
            entropy: Arc::new(SeededEntropy::new(9)),
            local_tokens: None,
            pages: None,
        });
        Self {
            fakes,
            token,
            authority,
            clock: manual,
            router: app(Routes::default(), portal.into_router()),
        }
    }

    /// A request with the admin's token.
    pub(crate) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        request_with(&self.token, method, path)
    }

    /// A request with the token of a caller with these roles.
    pub(crate) fn request_of(&self, subject: &str, roles: &[&str], method: &str, path: &str) -> http::request::Builder {
        let roles: Vec<Role> = roles.iter().map(|role| Role::parse(role).unwrap().unwrap()).collect();
        request_with(&mint(&self.authority, subject, &roles), method, path)
    }

    /// The response with its body unread.
    pub(crate) async fn open(&self, request: Request<Body>) -> http::Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.open(request).await.into_parts();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    /// Sends JSON with the admin's token.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        let request = self.request("POST", path).header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    /// Sends JSON under a command id in the header.
    pub(crate) async fn post_under(&self, path: &str, key: &str, body: Value) -> Answer {
        let request = self
            .request("POST", path)
            .header("content-type", "application/json")
            .header("idempotency-key", key);
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    /// Requests a public path without a token.
    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the answer is JSON")
    }

    /// The answer's JSON; asserts that it is not a problem.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{:?}", self.body);
        assert_eq!(self.header("content-type"), "application/json");
        self.json()
    }

    /// Status and stable code; asserts that it is a well-formed problem.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(
            problem["status"], self.status,
            "the object names the status that is sent"
        );
        let code = problem["code"].as_str().unwrap();
        assert_eq!(problem["type"], format!("urn:citycode:problem:{code}"));
        (self.status, code.to_owned())
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Lines of newline-delimited JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        assert_eq!(self.status, 200, "{:?}", self.body);
        assert_eq!(self.header("content-type"), "application/x-ndjson");
        assert!(self.body.is_empty() || self.body.ends_with(b"\n"));
        let text = std::str::from_utf8(&self.body).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A token that is valid for an hour.
fn mint(authority: &LocalAuthority, subject: &str, roles: &[Role]) -> String {
    let grant = Grant {
        subject,
        roles,
        card_reader: false,
        local_only: false,
        lifetime_seconds: 3_600,
    };
    authority.mint(&grant, AUDIENCE, NOW).unwrap().to_string()
}

fn request_with(token: &str, method: &str, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"))
}

fn label(zh: &str, en: &str) -> Label {
    Label {
        zh: zh.into(),
        en: en.into(),
    }
}

fn place(name: &str, label: Label, registers: bool) -> PlacePolicy {
    PlacePolicy {
        name: name.into(),
        label,
        accepts: Vec::new(),
        accepts_id_card: true,
        standing_counts: true,
        max_knowledge_age_ms: 10_000,
        registers,
    }
}

fn policy() -> Policy {
    Policy {
        name: "testville".into(),
        label: label("试城", "Testville"),
        help_telephone: None,
        time_zone: "Asia/Shanghai".into(),
        status_base_uri: "https://s.example/".into(),
        kinds: vec![KindPolicy {
            kind: CodeKind::new(4).unwrap(),
            name: "offline".into(),
            label: label("离线随申码", "Offline code"),
            reissue_label: None,
            validity_seconds: 15_552_000,
            device_bound: false,
            on_paper: true,
            guardian: GuardianPolicy::WithRelationship,
            eligibility: Vec::new(),
        }],
        places: vec![
            place("sentinel", label("数字哨兵", "Digital sentinel"), false),
            place("sampling_desk", label("采样点", "Sampling desk"), true),
        ],
        channels: vec![ChannelPolicy {
            name: "kiosk".into(),
            label: label("自助终端", "Kiosk"),
            reissue_label: None,
            acts: Vec::new(),
            attests: true,
            needs_assertion: false,
        }],
        groups: Vec::new(),
        proof: ProofPolicy {
            max_age_seconds: 60,
            max_ahead_seconds: 5,
        },
        retention: Default::default(),
    }
}
