//! How often a provider that does not answer is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use citycode_service_kit::clock::{ManualClock, UnixSeconds};
use tokio::net::TcpListener;

use super::*;

fn provider_at(issuer: String) -> Provider {
    let settings = SignInSettings {
        issuer,
        client_id: "citycode".to_owned(),
        client_secret_file: None,
        public_url: "https://code.example.org".to_owned(),
        scopes: scopes(),
        id_number_claim: id_number_claim(),
        name_claim: name_claim(),
        roles_claim: roles_claim(),
    };
    Provider::new(settings).expect("a provider")
}

#[tokio::test]
async fn those_who_wait_for_a_provider_that_hangs_share_its_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let provider = provider_at(format!("http://{}", listener.local_addr().expect("an address")));
    let clock = Arc::new(ManualClock::at(UnixSeconds(1_795_000_000)));
    let attempts = Arc::new(AtomicUsize::new(0));
    let (clock_of_provider, counted) = (Arc::clone(&clock), Arc::clone(&attempts));
    let hanging = tokio::spawn(async move {
        // It closes each connection after the time that the portal waits, without an answer.
        while let Ok((connection, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            clock_of_provider.advance(TIMEOUT);
            drop(connection);
        }
    });
    let asked = (0..8).map(|_| provider.addresses(&*clock));
    let answers = futures::future::join_all(asked).await;
    let is_unreachable = |answer: &Result<Addresses, NotSignedIn>| matches!(answer, Err(NotSignedIn::Unreachable));
    assert!(answers.iter().all(is_unreachable));
    assert_eq!(attempts.load(Ordering::SeqCst), 1, "who waited asks no second time");
    clock.advance(LEFT_ALONE_FOR);
    assert!(is_unreachable(&provider.addresses(&*clock).await));
    assert_eq!(attempts.load(Ordering::SeqCst), 2, "later the provider is asked again");
    hanging.abort();
}
