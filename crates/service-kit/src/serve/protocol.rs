//! Serves HTTP on one connection: TLS if configured, HTTP/1.1 or HTTP/2 by the client's first bytes, and a graceful end
//! when the connection has to be closed.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::response::IntoResponse as _;
use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::bodies::{AnswerBody, RequestBody};
use super::call::{Call, CallHandle, Control, Refusal};
use super::connection::Connection;
use super::connections::ClientClass;
use super::limits::{
    CONNECTION_WINDOW, HTTP1_BUFFER_BYTES, MAX_HEADER_BYTES, PEER_CONNECTION_WINDOW, PIECE_BYTES, STREAM_WINDOW,
};
use super::socket::{Prefixed, Socket};
use super::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, is_grpc, outcome};
use crate::deadline;
use crate::problem::Problem;

/// The client connection preface of HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a client may take to close an idle connection after GOAWAY.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

tokio::task_local! {
    /// Set while the task of one HTTP/2 stream runs.
    static CONTROL: Arc<Control>;
}

/// An accepted connection and what is needed to serve it.
pub(super) struct NewConnection {
    pub(super) stream: TcpStream,
    pub(super) connection: Arc<Connection>,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) router: Router,
}

/// Serves the connection until it ends.
pub(super) async fn serve_connection(new: NewConnection) {
    let NewConnection {
        stream,
        connection,
        tls,
        router,
    } = new;
    let socket = Socket {
        stream,
        connection: Arc::clone(&connection),
    };
    let served = async {
        match tls {
            None => serve(socket, &connection, router).await,
            Some(tls) => {
                // The time limit for the first request bounds the handshake.
                let handshake = tokio::select! {
                    handshake = tls.accept(socket) => handshake,
                    () = connection.wait_for_end() => return,
                };
                let Ok(stream) = handshake else {
                    metrics::counter!("citycode_server_connections_closed_total", "reason" => "handshake").increment(1);
                    return;
                };
                // The handshake succeeds only with a certificate of the city's authority.
                connection.server.promote(&connection, ClientClass::Peer);
                serve(stream, &connection, router).await;
            }
        }
    };
    tokio::select! {
        () = served => {}
        () = connection.wait_for_abrupt_end() => {}
    }
    connection.server.remove(&connection);
}

async fn serve<S>(mut stream: S, connection: &Arc<Connection>, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let begun = tokio::select! {
        begun = read_preface(&mut stream) => begun,
        // The connection was closed before a request arrived.
        () = connection.wait_for_end() => return,
    };
    let Ok(first) = begun else {
        return;
    };
    let is_http2 = &*first == PREFACE;
    let io = TokioIo::new(Prefixed { first, rest: stream });
    if is_http2 {
        connection.speaks_http2();
        let served = pin!(http2_server(connection).serve_connection(io, http_service(connection, router)));
        drive_to_end(served, |served| served.graceful_shutdown(), connection).await;
    } else {
        let served = pin!(http1_server().serve_connection(io, http_service(connection, router)));
        drive_to_end(served, |served| served.graceful_shutdown(), connection).await;
    }
}

/// Reads the client's first bytes until they determine the protocol.
async fn read_preface<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<Bytes> {
    let mut first = Vec::with_capacity(PREFACE.len());
    while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
        let room = (PREFACE.len() - first.len()) as u64;
        if (&mut *stream).take(room).read_buf(&mut first).await? == 0 {
            break;
        }
    }
    Ok(first.into())
}

/// Serves to the end. When the connection has to be closed, it is shut down gracefully and calls in flight may finish.
async fn drive_to_end<C>(
    mut served: std::pin::Pin<&mut C>,
    shut_down: impl Fn(std::pin::Pin<&mut C>),
    connection: &Connection,
) where
    C: Future<Output = Result<(), hyper::Error>>,
{
    tokio::select! {
        ended = &mut served => return log_error(ended, connection),
        () = connection.wait_for_end() => {}
    }
    shut_down(served.as_mut());
    loop {
        match tokio::time::timeout(CLOSE_TIMEOUT, &mut served).await {
            Ok(ended) => return log_error(ended, connection),
            Err(_) if connection.is_idle() => return,
            Err(_) => {}
        }
    }
}

fn log_error(ended: Result<(), hyper::Error>, connection: &Connection) {
    if let Err(error) = ended {
        tracing::debug!(%error, id = connection.id, "a connection ended with an error");
    }
}

fn http1_server() -> http1::Builder {
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        // `Connection` enforces the limit for a head that was begun; hyper's would also close idle connections.
        .header_read_timeout(None)
        .max_buf_size(HTTP1_BUFFER_BYTES);
    server
}

fn http2_server(connection: &Arc<Connection>) -> http2::Builder<StreamExecutor> {
    let limits = &connection.server.limits;
    let (streams, window) = if connection.class() == ClientClass::Peer {
        (limits.peer_streams_per_connection, PEER_CONNECTION_WINDOW)
    } else {
        (limits.streams_per_connection, CONNECTION_WINDOW)
    };
    let mut server = http2::Builder::new(StreamExecutor {
        connection: Arc::clone(connection),
    });
    server
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(KEEPALIVE_INTERVAL))
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .max_concurrent_streams(streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(window)
        .max_send_buf_size(2 * PIECE_BYTES)
        .max_header_list_size(MAX_HEADER_BYTES);
    server
}

/// Runs each HTTP/2 stream as a task that can be ended, which resets the stream.
///
/// Clients without a token may open streams faster than their tasks are polled. Once the backlog is as large as the
/// limit on their calls, further streams of a connection without a token that exceeds its share of it are reset at
/// once.
#[derive(Debug, Clone)]
struct StreamExecutor {
    connection: Arc<Connection>,
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        if self.connection.has_too_many_streams() {
            // Dropping the stream resets it.
            self.connection.count_eviction();
            return Refusal::Calls.count();
        }
        let control = Control::of(&self.connection);
        let run = {
            let control = Arc::clone(&control);
            async move {
                {
                    let stream = pin!(stream);
                    tokio::select! {
                        biased;
                        () = stream => {}
                        () = control.must_end() => {}
                    }
                }
                control.has_ended();
            }
        };
        tokio::spawn(CONTROL.scope(control, run));
    }
}

fn http_service(
    connection: &Arc<Connection>,
    router: Router,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Response<AnswerBody>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<AnswerBody>, Infallible>> + Send + 'static,
> {
    let connection = Arc::clone(connection);
    service_fn(move |request| answer(Arc::clone(&connection), router.clone(), request))
}

async fn answer(
    connection: Arc<Connection>,
    router: Router,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    let (parts, incoming) = request.into_parts();
    let grpc = is_grpc(&parts.headers);
    let change = outcome::is_change(&parts, grpc);
    let kind = CallKind { grpc, change };
    let (response, call) = answer_or_refuse(connection, router, (parts, incoming), kind).await;
    let response = if change {
        outcome::complete(response, grpc)
    } else {
        response
    };
    Ok(response.map(|body| AnswerBody::new(body, call)))
}

/// What kind of call is answered.
#[derive(Clone, Copy)]
struct CallKind {
    grpc: bool,
    /// Whether it may change something.
    change: bool,
}

/// The answer, and the call that it belongs to.
async fn answer_or_refuse(
    connection: Arc<Connection>,
    router: Router,
    (mut parts, incoming): (http::request::Parts, Incoming),
    kind: CallKind,
) -> (Response<Body>, Arc<Call>) {
    let grpc = kind.grpc;
    let control = CONTROL.try_with(Arc::clone).ok();
    if let Some(control) = &control {
        control.has_begun();
    }
    let (call, is_admitted) = connection.server.begin_call(&connection, control);
    if !is_admitted {
        connection
            .server
            .log
            .warn("a call was refused: there are too many at once");
        return (refused(Refusal::Calls, grpc), call);
    }
    parts.extensions.insert(ConnectInfo::<SocketAddr>(connection.remote));
    parts.extensions.insert(CallHandle(Arc::clone(&call)));
    // `grpc-timeout` is a header of gRPC; other requests ignore it.
    let within = deadline::requested_timeout(&parts.headers).filter(|_| grpc);
    let body = Body::new(RequestBody::new(incoming, Arc::clone(&call)));
    let answer = router.oneshot(Request::from_parts(parts, body));
    let answered = match within {
        None => answer.await,
        Some(within) => match tokio::time::timeout(within, answer).await {
            Ok(answered) => answered,
            Err(_) => Ok(outcome::expired()),
        },
    };
    let response = match answered {
        Ok(response) => response,
        Err(never) => match never {},
    };
    // A handler's error about a partial request would give a wrong reason.
    if let Some(refusal) = call.has_answer() {
        return (refused(refusal, grpc), call);
    }
    let response = with_memory(response, &call, kind);
    (response, call)
}

/// Returns the answer if memory is available to hold it until it is read. The handler has finished: if it succeeded, a
/// change may have been made. A refusal is small and is returned unchanged.
fn with_memory(response: Response<Body>, call: &Call, kind: CallKind) -> Response<Body> {
    let exact = response.body().size_hint().exact().unwrap_or_default();
    let exact = usize::try_from(exact).unwrap_or(usize::MAX);
    match call.hold(exact) {
        Err(refusal) if outcome::is_success(&response, kind.grpc) => {
            refusal.count();
            rendered(outcome::no_memory_for_answer(kind.change), kind.grpc)
        }
        Ok(()) | Err(_) => response,
    }
}

fn refused(refusal: Refusal, grpc: bool) -> Response<Body> {
    refusal.count();
    rendered(refusal.problem(), grpc)
}

fn rendered(problem: Problem, grpc: bool) -> Response<Body> {
    if grpc {
        tonic::Status::from(problem).into_http::<Body>()
    } else {
        problem.into_response()
    }
}
