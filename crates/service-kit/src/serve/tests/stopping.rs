//! What the shutdown of a server waits for, and what it does not wait for.

use axum::body::Bytes;
use futures::StreamExt as _;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::net::TcpStream;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

use super::*;

/// A drain time longer than any test: a test that waits for it never ends.
const LONG: Duration = Duration::from_secs(86_400);
/// More than fits into any socket's buffers, so that an answer of this size stays unread.
const LARGE: usize = 64 << 20;

async fn sent(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    socket
}

async fn all(mut socket: TcpStream) -> String {
    let mut answer = Vec::new();
    // A connection that was closed may end with a reset; the bytes before it count.
    let _ = socket.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn channel(address: SocketAddr) -> tonic::transport::Channel {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

/// The routes of these tests: a JSON body, an answer that stays unread, health and reflection.
fn everything(health: &HealthRegistry, stop: Signal) -> Router {
    let (server, follow) = health.grpc(&[], stop);
    tokio::spawn(follow);
    let http = with_fallbacks(health.routes())
        .route(
            "/n",
            post(|JsonBody(value): JsonBody<u8>| async move { value.to_string() }),
        )
        .route("/large", get(|| async { Body::from(vec![b'x'; LARGE]) }));
    app(with_reflection(Routes::new(server), &[]).unwrap(), http)
}

#[tokio::test]
async fn connections_without_a_call_in_progress_do_not_delay_the_end() {
    let health = HealthRegistry::new();
    let (health_trigger, health_stop) = Signal::channel();
    let (address, trigger, task) = start(everything(&health, health_stop), LONG);

    let silent = sent(address, b"").await;
    let half_a_header = sent(address, b"GET /health/ready HTTP/1.1\r\nhost: x\r\nx-more: ").await;
    let preface = sent(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let head = "POST /n HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n7";
    let half_a_body = sent(address, head.as_bytes()).await;
    let mut unread = sent(address, b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    unread.read_exact(&mut [0; 100]).await.expect("the answer has begun");
    let mut kept_alive = sent(address, b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").await;
    kept_alive.read_exact(&mut [0; 12]).await.expect("an answer");
    let channel = channel(address).await;
    let mut health_client = HealthClient::new(channel.clone());
    let watch = health_client.watch(HealthCheckRequest::default()).await.unwrap();
    let mut watch = watch.into_inner();
    watch.message().await.unwrap().expect("a first status");
    let mut reflection = ServerReflectionClient::new(channel)
        .server_reflection_info(futures::stream::pending::<ServerReflectionRequest>())
        .await
        .unwrap()
        .into_inner();

    trigger.pull();
    task.await.unwrap();
    let refused = all(half_a_body).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(
        refused.contains("\"unavailable\"") && refused.contains("stopping"),
        "{refused}"
    );
    let ended = watch.message().await.unwrap_err();
    assert_eq!(ended.code(), tonic::Code::Unavailable, "{ended}");
    assert!(!matches!(reflection.message().await, Ok(Some(_))));
    for idle in [silent, half_a_header, preface, kept_alive, unread] {
        all(idle).await;
    }
    health_trigger.pull();
}

/// Answers each chunk of the body after `go_on` is notified.
fn echo_when(entered: &Arc<Notify>, go_on: &Arc<Notify>) -> Router {
    let (entered, go_on) = (entered.clone(), go_on.clone());
    let answer = move |body: Body| async move {
        let chunks = body.into_data_stream().filter_map(move |chunk| {
            let (entered, go_on) = (entered.clone(), go_on.clone());
            async move {
                let chunk: Bytes = chunk.ok()?;
                entered.notify_one();
                go_on.notified().await;
                Some(Ok::<_, axum::Error>(Frame::data(chunk)))
            }
        });
        Response::new(Body::new(StreamBody::new(chunks)))
    };
    Router::new().route("/echo", post(answer))
}

#[tokio::test]
async fn a_streams_received_messages_are_answered_and_then_the_stream_ends() {
    let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (address, trigger, task) = start(app(Routes::default(), echo_when(&entered, &go_on)), LONG);
    let head = "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let stream = sent(address, format!("{head}5\r\nfirst\r\n").as_bytes()).await;
    entered.notified().await;
    trigger.pull();
    // The listener is closed at once; the message that was sent is still processed.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!task.is_finished());
    go_on.notify_one();
    task.await.unwrap();
    let answer = all(stream).await;
    assert!(answer.contains("first"), "{answer}");
}
