//! The local admin's token over a real socket.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use citycode_auth::{AUDIENCE, AccessTokens, Authenticate, Caller, LocalAuthority, TrustedKeys};
use citycode_service_kit::clock::{ManualClock, UnixSeconds};
use citycode_service_kit::entropy::SeededEntropy;
use citycode_service_kit::serve::{Listener, app};
use citycode_service_kit::shutdown::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::service::Routes;

#[tokio::test]
async fn the_local_admin_token_passes_over_loopback_but_not_through_a_proxy() {
    let now = UnixSeconds(1_800_000_000);
    let authority = LocalAuthority::ephemeral(&SeededEntropy::new(1));
    let keys = TrustedKeys::new().with_local(&authority).unwrap();
    let tokens = Arc::new(AccessTokens::new(AUDIENCE, keys));
    let layer = Authenticate::required(tokens, Arc::new(ManualClock::at(now)));
    let who = get(|caller: Caller| async move { format!("admin={}", caller.local_admin) });
    let http = Router::new().route("/who", who).layer(layer);
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.address();
    let (trigger, stop) = Signal::channel();
    let serving = listener.serve(app(Routes::default(), http), stop);
    let task = tokio::spawn(serving);
    let token = authority.mint_local_admin(AUDIENCE, now).unwrap();
    let ask = async |extra: &str| {
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!(
            "GET /who HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\n{extra}\r\n",
            *token
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = ask("").await;
    assert!(answer.ends_with("admin=true"), "{answer}");
    let answer = ask("x-forwarded-for: 127.0.0.1\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    trigger.pull();
    task.await.unwrap();
}
