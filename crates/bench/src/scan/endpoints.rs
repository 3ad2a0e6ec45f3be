//! Scans over gRPC on loopback with the listener of `up`, compared with a bare tonic server that returns a constant
//! answer. Both get the same requests, including an access token, from the same client.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use citycode_auth::{AUDIENCE, AccessTokens, Authenticate, LocalAuthority, TrustedKeys};
use citycode_service_kit::clock::Clock as _;
use citycode_service_kit::entropy::OsEntropy;
use citycode_service_kit::serve::{Listener, app, with_fallbacks};
use citycode_service_kit::shutdown::Signal;
use citycode_verifier::grpc::VerifierGrpc;
use citycode_wire::proto::verifier::v1::verifier_service_client::VerifierServiceClient;
use citycode_wire::proto::verifier::v1::verifier_service_server::{VerifierService, VerifierServiceServer};
use citycode_wire::proto::verifier::v1::{
    GetKnowledgeRequest, GetKnowledgeResponse, Reason, VerifyRequest, VerifyResponse, verify_request::Scan,
};
use futures::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};
use tower::Layer as _;
use zeroize::Zeroizing;

use super::gate::Gate;
use super::{ROUNDS, median};
use crate::Scale;
use crate::report::{Figure, Goal, Report};

/// Concurrent calls, like those of a portal on one connection.
const IN_FLIGHT: usize = 64;
/// Calls of one round.
const CALLS: u64 = 2_000;
/// Scans of one round on a stream.
const STREAMED: u64 = 20_000;

pub(crate) type Client = VerifierServiceClient<Channel>;

pub(super) async fn run(report: &mut Report, scale: Scale) -> Result<()> {
    let codes = scale.of(CALLS) * ROUNDS;
    let gate = Gate::new(codes, 0).await?;
    let authority = LocalAuthority::ephemeral(&OsEntropy);
    let bearer: MetadataValue<Ascii> = format!("Bearer {}", *admin_token(&gate, &authority)?).parse()?;
    let (address, stop) = product(&gate, &authority)?;
    let product = client(address).await?;
    let first = request(gate.codes.tokens.last().context("a code")?);
    let answer = product.clone().verify(with(&bearer, first)).await?.into_inner();
    anyhow::ensure!(
        answer.reason() == Reason::IdCheckRequired,
        "the scan has an unexpected verdict"
    );
    let echo = echo(answer).await?;

    let (mut new, mut new_limit) = (Vec::new(), Vec::new());
    for tokens in gate.codes.tokens.chunks(usize::try_from(scale.of(CALLS))?) {
        new_limit.push(unary(&echo, &bearer, tokens).await?);
        new.push(unary(&product, &bearer, tokens).await?);
    }
    let (mut seen, mut seen_limit) = (Vec::new(), Vec::new());
    for tokens in gate.codes.tokens.chunks(usize::try_from(scale.of(CALLS))?) {
        seen_limit.push(unary(&echo, &bearer, tokens).await?);
        seen.push(unary(&product, &bearer, tokens).await?);
    }
    let (mut streamed, mut stream_limit) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let texts: Vec<_> = gate
            .codes
            .tokens
            .iter()
            .cycle()
            .take(usize::try_from(scale.of(STREAMED))?)
            .collect();
        stream_limit.push(pipelined(&echo, &bearer, &texts).await?);
        streamed.push(pipelined(&product, &bearer, &texts).await?);
    }
    drop(stop);
    let figures = [
        ("verify_unary_seen", seen, seen_limit, 0.8),
        ("verify_unary_new", new, new_limit, 0.5),
        ("verify_stream_seen", streamed, stream_limit, 0.5),
    ];
    for (name, value, limit, goal) in figures {
        let figure = Figure::new(name, median(value), "1/s").reference(median(limit));
        report.push(figure.goal(Goal::RatioAtLeast(goal)));
    }
    Ok(())
}

fn request(token: &str) -> VerifyRequest {
    VerifyRequest {
        place: "staffed".into(),
        scan: Some(Scan::Code(token.into())),
        ..VerifyRequest::default()
    }
}

fn with<T>(bearer: &MetadataValue<Ascii>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", bearer.clone());
    request
}

/// The verifier behind the listener and the access check of `up`. It serves until the trigger is dropped.
pub(crate) fn product(gate: &Gate, authority: &LocalAuthority) -> Result<(SocketAddr, impl Sized + use<>)> {
    let keys = TrustedKeys::new().with_local(authority)?;
    let tokens = Arc::new(AccessTokens::new(AUDIENCE, keys));
    let authenticate = Authenticate::required(tokens, Arc::clone(&gate.clock));
    let service = VerifierServiceServer::new(VerifierGrpc(Arc::clone(&gate.verifier)));
    let router = app(
        Routes::new(authenticate.layer(service)),
        with_fallbacks(axum::Router::new()),
    );
    let listener = Listener::bind(([127, 0, 0, 1], 0).into())?;
    let address = listener.address();
    let (trigger, stop) = Signal::channel();
    tokio::spawn(listener.serve(router, stop));
    Ok((address, trigger))
}

/// An access token with all permissions.
pub(crate) fn admin_token(gate: &Gate, authority: &LocalAuthority) -> Result<Zeroizing<String>> {
    Ok(authority.mint_local_admin(AUDIENCE, gate.clock.now())?)
}

pub(crate) async fn client(address: SocketAddr) -> Result<Client> {
    let endpoint = Channel::from_shared(format!("http://{address}"))?;
    Ok(VerifierServiceClient::new(endpoint.connect().await?))
}

/// Returns calls per second with [`IN_FLIGHT`] concurrent calls.
async fn unary(client: &Client, bearer: &MetadataValue<Ascii>, tokens: &[String]) -> Result<f64> {
    let started = Instant::now();
    let calls = stream::iter(tokens).map(|token| {
        let (mut client, request) = (client.clone(), with(bearer, request(token)));
        tokio::spawn(async move { client.verify(request).await })
    });
    let answered = calls.buffer_unordered(IN_FLIGHT);
    answered
        .map(|answer| anyhow::Ok(answer??.into_inner()))
        .try_for_each(|answer| async move { expected(&answer) })
        .await?;
    Ok(tokens.len() as f64 / started.elapsed().as_secs_f64())
}

/// Returns answers per second on one stream, after checking all of them.
pub(crate) async fn pipelined(client: &Client, bearer: &MetadataValue<Ascii>, texts: &[&String]) -> Result<f64> {
    let requests: Vec<_> = texts.iter().map(|text| request(text)).collect();
    let started = Instant::now();
    let answers = client
        .clone()
        .verify_stream(with(bearer, stream::iter(requests)))
        .await?;
    let mut answers = answers.into_inner();
    let mut answered = 0;
    while let Some(answer) = answers.message().await? {
        expected(&answer)?;
        answered += 1;
    }
    let rate = f64::from(answered) / started.elapsed().as_secs_f64();
    anyhow::ensure!(answered as usize == texts.len(), "a scan was not answered");
    Ok(rate)
}

fn expected(answer: &VerifyResponse) -> Result<()> {
    anyhow::ensure!(
        answer.reason() == Reason::IdCheckRequired,
        "a valid code has an unexpected verdict"
    );
    Ok(())
}

/// Answers every request with the same answer.
struct Echo(VerifyResponse);

#[tonic::async_trait]
impl VerifierService for Echo {
    async fn verify(&self, _: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        Ok(Response::new(self.0.clone()))
    }

    type VerifyStreamStream = Pin<Box<dyn Stream<Item = Result<VerifyResponse, Status>> + Send>>;

    async fn verify_stream(
        &self,
        request: Request<Streaming<VerifyRequest>>,
    ) -> Result<Response<Self::VerifyStreamStream>, Status> {
        let answer = self.0.clone();
        Ok(Response::new(Box::pin(
            request.into_inner().map_ok(move |_| answer.clone()),
        )))
    }

    async fn get_knowledge(&self, _: Request<GetKnowledgeRequest>) -> Result<Response<GetKnowledgeResponse>, Status> {
        Err(Status::unimplemented("it answers scans only"))
    }
}

async fn echo(answer: VerifyResponse) -> Result<Client> {
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into())?.with_nodelay(Some(true));
    let address = incoming.local_addr()?;
    let server = Server::builder().add_service(VerifierServiceServer::new(Echo(answer)));
    tokio::spawn(server.serve_with_incoming(incoming));
    client(address).await
}
