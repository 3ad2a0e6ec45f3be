use std::sync::Arc;

use super::*;
use citycode_service_kit::peer::PeerKind;

use crate::{AUDIENCE, AccessTokens, AuthError, TrustedKeys};
use citycode_service_kit::entropy::SeededEntropy;

const NOW: UnixSeconds = UnixSeconds(1_661_904_000);

fn open(folder: &std::path::Path) -> (Arc<IssuedTokens>, AccessTokens) {
    let authority = LocalAuthority::create_or_open(&folder.join("keys"), &SeededEntropy::new(1)).unwrap();
    let issued = Arc::new(IssuedTokens::open(authority, folder.join("issued-tokens.json")).unwrap());
    let tokens = AccessTokens::new(AUDIENCE, TrustedKeys::new());
    (Arc::clone(&issued), tokens.with_issued(issued).unwrap())
}

fn request(roles: &[&str], lifetime_seconds: i64) -> TokenRequest {
    TokenRequest {
        subject: None,
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        card_reader: false,
        lifetime_seconds,
    }
}

#[test]
fn a_token_is_valid_until_it_is_revoked_also_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let (issued, tokens) = open(folder.path());
    let entropy = SeededEntropy::new(2);
    let (first, text) = issued
        .issue(&request(&["verifier:sentinel:gate-7"], 3_600), &entropy, NOW)
        .unwrap();
    let (second, other) = issued.issue(&request(&["officer"], 3_600), &entropy, NOW).unwrap();
    let verify = |tokens: &AccessTokens, text: &str, at| tokens.verify(text, PeerKind::Remote, at).map(drop);
    assert!(
        tokens
            .verify(&text, PeerKind::Remote, NOW)
            .unwrap()
            .may_verify("sentinel", "gate-7")
    );
    let id = TokenId::parse(&first.id).unwrap();
    assert!(issued.revoke(id, NOW).unwrap().unwrap().revoked_at.is_some());
    assert_eq!(
        verify(&tokens, &text, NOW),
        Err(AuthError::Revoked),
        "although it was cached"
    );
    verify(&tokens, &other, NOW).unwrap();

    let (issued, tokens) = open(folder.path());
    assert_eq!(verify(&tokens, &text, NOW), Err(AuthError::Revoked));
    verify(&tokens, &other, NOW).unwrap();
    assert_eq!(
        issued.list(NOW).iter().map(|token| &token.id).collect::<Vec<_>>(),
        [&first.id, &second.id]
    );
    let later = NOW.plus(3_600 + LEEWAY_SECONDS);
    assert_eq!(verify(&tokens, &other, later), Err(AuthError::Expired));
    assert!(issued.list(later).is_empty());
    assert_eq!(issued.revoke(TokenId::parse(&second.id).unwrap(), later).unwrap(), None);

    // Without the list the token is invalid.
    std::fs::remove_file(folder.path().join("issued-tokens.json")).unwrap();
    let (_, tokens) = open(folder.path());
    assert_eq!(verify(&tokens, &other, NOW), Err(AuthError::Revoked));
}

#[test]
fn no_token_is_an_admins_or_valid_longer_than_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let (issued, tokens) = open(folder.path());
    let entropy = SeededEntropy::new(2);
    for (roles, lifetime) in [
        (&["admin"][..], 60),
        (&["officer", "admin"], 60),
        (&["gate"], 60),
        (&["verifier:sentinel"], 60),
        (&[], 60),
        (&["officer"], 0),
        (&["officer"], 86_401),
    ] {
        assert!(
            issued.issue(&request(roles, lifetime), &entropy, NOW).is_err(),
            "{roles:?} {lifetime}"
        );
    }
    for subject in ["a b", "", "local-admin"] {
        let mut wrong = request(&["officer"], 60);
        wrong.subject = Some(subject.into());
        let refused = issued.issue(&wrong, &entropy, NOW);
        assert!(matches!(refused, Err(IssuedError::Subject)), "{subject}");
    }
    assert!(issued.list(NOW).is_empty());
    // Tokens that an earlier release signed with the same key are invalid as well.
    let authority = LocalAuthority::create_or_open(&folder.path().join("keys"), &entropy).unwrap();
    let old = authority.mint_local_admin(AUDIENCE, NOW).unwrap();
    assert!(tokens.verify(&old, PeerKind::Loopback, NOW).is_err());
    let grant = Grant {
        subject: "gate",
        roles: &[Role::Officer],
        card_reader: false,
        local_only: false,
        lifetime_seconds: 60,
    };
    let unknown = authority.mint(&grant, AUDIENCE, NOW).unwrap();
    assert_eq!(
        tokens.verify(&unknown, PeerKind::Loopback, NOW).unwrap_err(),
        AuthError::Revoked
    );
    let forged = grant.mint_as("0000000000000000", &authority, NOW).unwrap();
    assert_eq!(
        tokens.verify(&forged, PeerKind::Loopback, NOW).unwrap_err(),
        AuthError::Revoked
    );
}

#[tokio::test]
async fn waiting_for_a_revocation_completes_when_it_happens() {
    let folder = tempfile::tempdir().unwrap();
    let (issued, tokens) = open(folder.path());
    let (token, text) = issued
        .issue(&request(&["officer"], 60), &SeededEntropy::new(2), NOW)
        .unwrap();
    let caller = tokens.verify(&text, PeerKind::Remote, NOW).unwrap();
    let revoked = tokio::spawn(tokens.revocation(&caller).unwrap());
    issued.revoke(TokenId::parse(&token.id).unwrap(), NOW).unwrap();
    revoked.await.unwrap();
}

#[test]
fn a_damaged_list_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let authority = || LocalAuthority::ephemeral(&SeededEntropy::new(1));
    let file = folder.path().join("t.json");
    files::create_private(&file, b"{\"version\":2,\"tokens\":[]}").unwrap();
    let damaged = IssuedTokens::open(authority(), file).unwrap_err();
    assert!(matches!(damaged, IssuedError::Damaged(_)), "{damaged}");
}
