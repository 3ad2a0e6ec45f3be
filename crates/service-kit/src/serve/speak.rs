//! Speaks HTTP on one connection: TLS where it is wanted, HTTP/1.1 or HTTP/2 as the client begins, and an end when
//! the connection has to.

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
use super::connections::Standing;
use super::limits::{
    CONNECTION_WINDOW, HTTP1_BUFFER_BYTES, MAX_HEADER_BYTES, PEER_CONNECTION_WINDOW, PIECE_BYTES, STREAM_WINDOW,
};
use super::socket::{Rewound, Socket};
use super::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, is_grpc, outcome};
use crate::deadline;
use crate::problem::Problem;

/// What every HTTP/2 client sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a client has to end a connection that it was asked to end, when nothing is under way.
const FAREWELL: Duration = Duration::from_millis(500);

tokio::task_local! {
    /// Set while the task of one HTTP/2 stream runs.
    static CONTROL: Arc<Control>;
}

/// What is needed to speak with a client.
pub(super) struct Speaking {
    pub(super) stream: TcpStream,
    pub(super) connection: Arc<Connection>,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) router: Router,
}

/// Speaks until the connection ends.
pub(super) async fn speak(speaking: Speaking) {
    let Speaking {
        stream,
        connection,
        tls,
        router,
    } = speaking;
    let socket = Socket {
        stream,
        connection: Arc::clone(&connection),
    };
    let spoken = async {
        match tls {
            None => serve(socket, &connection, router).await,
            Some(tls) => {
                // Bounded by the limit for the first request.
                let shaken = tokio::select! {
                    shaken = tls.accept(socket) => shaken,
                    () = connection.wait_for_end() => return,
                };
                let Ok(stream) = shaken else {
                    metrics::counter!("citycode_server_connections_closed_total", "reason" => "handshake").increment(1);
                    return;
                };
                // Only certificates of the city's authority come so far.
                connection.server.promote(&connection, Standing::Peer);
                serve(stream, &connection, router).await;
            }
        }
    };
    tokio::select! {
        () = spoken => {}
        () = connection.wait_for_abrupt_end() => {}
    }
    connection.server.remove(&connection);
}

async fn serve<S>(mut stream: S, connection: &Arc<Connection>, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let begun = tokio::select! {
        begun = beginning(&mut stream) => begun,
        // Asked to stop before anything was asked.
        () = connection.wait_for_end() => return,
    };
    let Ok(first) = begun else {
        return;
    };
    let is_http2 = &*first == PREFACE;
    let io = TokioIo::new(Rewound { first, rest: stream });
    if is_http2 {
        connection.speaks_http2();
        let spoken = pin!(http2_server(connection).serve_connection(io, answering(connection, router)));
        until_end(spoken, |spoken| spoken.graceful_shutdown(), connection).await;
    } else {
        let spoken = pin!(http1_server().serve_connection(io, answering(connection, router)));
        until_end(spoken, |spoken| spoken.graceful_shutdown(), connection).await;
    }
}

/// What the client sends first, as far as it tells which protocol it speaks.
async fn beginning<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<Bytes> {
    let mut first = Vec::with_capacity(PREFACE.len());
    while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
        let room = (PREFACE.len() - first.len()) as u64;
        if (&mut *stream).take(room).read_buf(&mut first).await? == 0 {
            break;
        }
    }
    Ok(first.into())
}

/// Speaks to the end. When the connection has to end, the client hears of it, and calls in progress are waited for.
async fn until_end<C>(
    mut spoken: std::pin::Pin<&mut C>,
    say_goodbye: impl Fn(std::pin::Pin<&mut C>),
    connection: &Connection,
) where
    C: Future<Output = Result<(), hyper::Error>>,
{
    tokio::select! {
        ended = &mut spoken => return told(ended, connection),
        () = connection.wait_for_end() => {}
    }
    say_goodbye(spoken.as_mut());
    loop {
        match tokio::time::timeout(FAREWELL, &mut spoken).await {
            Ok(ended) => return told(ended, connection),
            Err(_) if connection.is_idle() => return,
            Err(_) => {}
        }
    }
}

fn told(ended: Result<(), hyper::Error>, connection: &Connection) {
    if let Err(error) = ended {
        tracing::debug!(%error, id = connection.id, "a connection ended badly");
    }
}

fn http1_server() -> http1::Builder {
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        // The connection's own limit counts for a head that was begun; an idle one is another matter.
        .header_read_timeout(None)
        .max_buf_size(HTTP1_BUFFER_BYTES);
    server
}

fn http2_server(connection: &Arc<Connection>) -> http2::Builder<EachStream> {
    let limits = &connection.server.limits;
    let (streams, window) = if connection.standing() == Standing::Peer {
        (limits.peer_streams_per_connection, PEER_CONNECTION_WINDOW)
    } else {
        (limits.streams_per_connection, CONNECTION_WINDOW)
    };
    let mut server = http2::Builder::new(EachStream {
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
/// Clients without a token may open streams faster than their tasks get a turn. Beyond a backlog as large as the limit on
/// their calls, a connection without a token that has more than its part of it has further streams reset at once.
#[derive(Debug, Clone)]
struct EachStream {
    connection: Arc<Connection>,
}

impl<F> Executor<F> for EachStream
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        if self.connection.has_too_many_streams() {
            // Dropped, the stream is reset.
            self.connection.makes_room();
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

fn answering(
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
    let asked = CallKind { grpc, change };
    let (response, call) = answer_or_refuse(connection, router, (parts, incoming), asked).await;
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
            .said
            .warn("a call is refused: there are too many at once");
        return (refused(Refusal::Calls, grpc), call);
    }
    parts.extensions.insert(ConnectInfo::<SocketAddr>(connection.remote));
    parts.extensions.insert(CallHandle(Arc::clone(&call)));
    // It is a header of gRPC, and its end is answered as gRPC says.
    let within = deadline::said(&parts.headers).filter(|_| grpc);
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
    // What a handler makes of half a request would blame something else.
    if let Some(refusal) = call.has_answer() {
        return (refused(refusal, grpc), call);
    }
    let response = with_room(response, &call, kind);
    (response, call)
}

/// The answer, where there is room to keep it until it is read. The handler is done by then: where it succeeded, a change
/// may have been made. A refusal is small, and is answered as it is.
fn with_room(response: Response<Body>, call: &Call, kind: CallKind) -> Response<Body> {
    let exact = response.body().size_hint().exact().unwrap_or_default();
    let exact = usize::try_from(exact).unwrap_or(usize::MAX);
    match call.hold(exact) {
        Err(refusal) if outcome::is_success(&response, kind.grpc) => {
            refusal.count();
            rendered(outcome::no_room(kind.change), kind.grpc)
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
