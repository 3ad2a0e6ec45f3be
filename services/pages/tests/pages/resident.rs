//! A resident's act whose outcome is not known at first.
#![expect(clippy::unwrap_used, reason = "a failure of the fixture fails the test")]

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::post;
use citycode_service_kit::problem::Problem;
use citycode_wire::codec::WireCodec;
use citycode_wire::proto::issuer::v1::{
    CodeLife, CodeState, IssueRequest, IssueResponse, IssuedCode, ListCodesRequest, ListCodesResponse,
};
use http::StatusCode;
use tonic::Status;

use crate::browser::Browser;

const SERVICE: &str = "/citycode.issuer.v1.IssuerService";

/// An issuer whose first answer gets lost; it has done the act nevertheless.
#[derive(Clone, Default)]
struct Issuer(Arc<Mutex<Vec<IssueRequest>>>);

impl Issuer {
    fn routes(&self) -> tonic::service::Routes {
        let (issue, list) = (self.clone(), self.clone());
        Router::new()
            .route(
                &format!("{SERVICE}/Issue"),
                post(move |request| answer(request, move |asked| issue.issue(asked))),
            )
            .route(
                &format!("{SERVICE}/ListCodes"),
                post(move |request| answer(request, move |_: ListCodesRequest| Ok(list.list_codes()))),
            )
            .into()
    }

    fn issue(&self, request: IssueRequest) -> Result<IssueResponse, Status> {
        let mut asked = self.0.lock().unwrap();
        asked.push(request);
        if asked.len() == 1 {
            return Err(Problem::outcome_unknown("the answer was lost").into());
        }
        let code = IssuedCode {
            code_id: "00112233aabbccdd".into(),
            kind: "sampling".into(),
            token: "CC1:TOKEN".into(),
            ..IssuedCode::default()
        };
        Ok(IssueResponse { code: Some(code) })
    }

    fn list_codes(&self) -> ListCodesResponse {
        let code = CodeState {
            code_id: "00112233aabbccdd".into(),
            kind: "sampling".into(),
            expires_at: 2_000_000_000,
            state: CodeLife::Valid.into(),
            ..CodeState::default()
        };
        let has_code = !self.0.lock().unwrap().is_empty();
        ListCodesResponse {
            codes: if has_code { vec![code] } else { Vec::new() },
            ..ListCodesResponse::default()
        }
    }
}

/// One method of a gRPC service.
async fn answer<Q, A>(request: Request, method: impl FnOnce(Q) -> Result<A, Status>) -> Response
where
    Q: prost::Message + Default + 'static,
    A: prost::Message + Default + 'static,
{
    let mut method = Some(method);
    let service = tower::service_fn(move |request: tonic::Request<Q>| {
        let answer = method.take().unwrap()(request.into_inner());
        std::future::ready(answer.map(tonic::Response::new))
    });
    let mut server = tonic::server::Grpc::new(WireCodec::<A, Q>::default());
    server.unary(service, request).await.map(Body::new)
}

#[tokio::test(start_paused = true)]
async fn an_act_of_unknown_outcome_is_asked_for_again_with_its_command_id() {
    let issuer = Issuer::default();
    let mut browser = Browser::of_resident(issuer.routes()).await;
    let page = browser.get("/my/sampling").await;
    let (token, command) = (page.field("form_token"), page.field("command_id"));
    let fields = [("form_token", token.as_str()), ("command_id", command.as_str())];
    let lost = browser.post("/my/sampling/issue", &fields).await;
    assert_eq!(lost.status, StatusCode::SEE_OTHER);

    let pending = browser.get(&lost.location).await;
    assert!(pending.says("data-outcome=\"unknown\"") && pending.says("正在确认，请勿重复办理"));
    assert!(pending.says("data-send-after=") && pending.says("action=\"/my/sampling/issue\""));
    assert_eq!(pending.field("command_id"), command, "the form that is sent again");
    assert!(!pending.says("data-act="), "nothing else is offered meanwhile");

    let again = browser.post("/my/sampling/issue", &fields).await;
    assert_eq!(again.location, lost.location, "the same page");
    let done = browser.get(&again.location).await;
    assert!(done.says("data-result=\"done\"") && done.says("data-code-id=\"00112233aabbccdd\""));
    let asked = issuer.0.lock().unwrap();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].command_id, asked[1].command_id);
}

#[tokio::test(start_paused = true)]
async fn the_page_of_a_result_that_nobody_kept_is_the_page_of_the_code() {
    let mut browser = Browser::of_resident(Issuer::default().routes()).await;
    let unknown = "/my/sampling/result/6f9619ff-8b86-d011-b42d-00c04fc964ff";
    assert_eq!(browser.get(unknown).await.location, "/my/sampling");
    assert_eq!(browser.get("/my/sampling/result/x").await.location, "/my/sampling");
    assert_eq!(browser.get("/my/nothing/result/x").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn only_pages_that_show_details_of_codes_ask_for_them() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&asked);
    let routes: Router = Router::new().route(
        &format!("{SERVICE}/ListCodes"),
        post(move |request| {
            let recorded = Arc::clone(&recorded);
            answer(request, move |request: ListCodesRequest| {
                recorded.lock().unwrap().push(request.details);
                Ok(ListCodesResponse::default())
            })
        }),
    );
    let mut browser = Browser::of_resident(routes.into()).await;
    for path in ["/my/sampling", "/my", "/my/family"] {
        assert_eq!(browser.get(path).await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(*asked.lock().unwrap(), [false, true, true]);
}
