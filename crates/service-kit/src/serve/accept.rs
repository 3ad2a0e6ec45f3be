//! Accepts connections from a listening socket, and pauses while the system has no free descriptor.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_stream::StreamExt as _;
use tonic::transport::server::TcpIncoming;

use super::connections::Connections;
use super::protocol::{NewConnection, serve_connection};
use crate::shutdown::Signal;

/// First pause after an error of the operating system that concerns every connection, such as no free descriptor.
const PAUSE: Duration = Duration::from_millis(10);
/// Longest such pause; each is twice the one before.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Accepts connections until the signal.
pub(super) async fn accept(
    mut incoming: TcpIncoming,
    connections: Arc<Connections>,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: Signal,
) {
    let mut stopped = std::pin::pin!(stop.wait());
    let mut pause = PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopped => return,
            accepted = incoming.next() => accepted,
        };
        match accepted {
            // The stream of a listening socket never ends.
            None => return,
            Some(Ok(stream)) => {
                pause = PAUSE;
                begin(stream, &connections, tls.clone(), router.clone());
            }
            Some(Err(error)) if concerns_one(error.kind()) => {}
            Some(Err(error)) => {
                metrics::counter!("citycode_server_accept_failures_total").increment(1);
                connections
                    .log
                    .warn("connections cannot be accepted: the operating system has no free descriptor or memory");
                tracing::debug!(%error, "accepting failed");
                // Closing an anonymous connection frees a descriptor.
                connections.evict_for_descriptors();
                tokio::select! {
                    () = &mut stopped => return,
                    () = tokio::time::sleep(pause) => pause = LONGEST_PAUSE.min(pause * 2),
                }
            }
        }
    }
}

/// Whether the error concerns only the connection that was to be accepted (accept(2)).
fn concerns_one(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted | ErrorKind::WouldBlock
    )
}

fn begin(stream: TcpStream, connections: &Arc<Connections>, tls: Option<TlsAcceptor>, router: Router) {
    // A client that has already disconnected has no address.
    let Ok(remote) = stream.peer_addr() else {
        return;
    };
    let Some(connection) = connections.admit(remote) else {
        return;
    };
    tokio::spawn(serve_connection(NewConnection {
        stream,
        connection,
        tls,
        router,
    }));
}
