//! Keys: forged codes, periods of use, and the effect of a change on the cache of tokens.

use std::time::Duration;

use citycode_domain::admission::Reason;
use citycode_domain::event::{Event, SigningKeyCompromised, SigningKeyRetired};
use citycode_domain::time::Timestamp;
use citycode_token::SigningKey;

use crate::city::{City, START};

#[tokio::test]
async fn r25_a_valid_signature_on_a_code_that_is_not_in_the_log_is_refused() {
    let city = City::new().await;
    let known = city.issue("sampling", 1).await;
    let forged = city.sign("sampling", 2, None);
    city.clock.advance(Duration::from_secs(2));
    assert_eq!(
        city.reason("sampling_desk", &forged.text),
        Reason::TooStale,
        "it may just have been issued"
    );
    city.clock.advance(Duration::from_millis(1));
    city.prove().await;
    assert_eq!(city.reason("sampling_desk", &forged.text), Reason::UnknownCode);
    let dressed_up = city.sign("sampling", 1, None);
    assert_ne!(
        dressed_up.text, known.text,
        "issued two seconds later: other claims at a used index"
    );
    city.clock.advance(Duration::from_secs(2));
    city.prove().await;
    assert_eq!(city.reason("sampling_desk", &dressed_up.text), Reason::UnknownCode);
    assert_eq!(city.reason("sampling_desk", &known.text), Reason::Ok);
    let stranger = SigningKey::from_seed([8; 32]);
    let foreign = city.sign_by(&stranger, "sampling", 3, None);
    assert_eq!(city.reason("sampling_desk", &foreign.text), Reason::BadSignature);
}

#[tokio::test]
async fn r25_codes_in_the_log_stay_valid_when_their_key_is_compromised() {
    let city = City::new().await;
    let code = city.issue("sampling", 1).await;
    assert_eq!(city.reason("sampling_desk", &code.text), Reason::Ok);
    let compromised = SigningKeyCompromised {
        key_id: city.key.key_id(),
    };
    city.tell("keys", Event::SigningKeyCompromised(compromised)).await;
    assert_eq!(city.reason("sampling_desk", &code.text), Reason::Ok);
}

#[tokio::test]
async fn a_cached_token_is_refused_once_its_key_no_longer_verifies() {
    let city = City::new().await;
    let code = city.issue("sampling", 1).await;
    assert_eq!(city.reason("sampling_desk", &code.text), Reason::Ok, "and remembered");
    let retired = SigningKeyRetired {
        key_id: city.key.key_id(),
        signs_until: Timestamp(START + 60),
        verifies_until: Timestamp(START + 120),
    };
    city.tell("keys", Event::SigningKeyRetired(retired)).await;
    assert_eq!(
        city.reason("sampling_desk", &code.text),
        Reason::Ok,
        "within the window"
    );
    city.clock.advance(Duration::from_secs(120));
    city.prove().await;
    assert_eq!(
        city.reason("sampling_desk", &code.text),
        Reason::BadSignature,
        "half-open: past it"
    );
}

#[tokio::test]
async fn a_token_issued_outside_its_keys_period_is_refused_although_it_was_cached_before() {
    let city = City::new().await;
    city.clock.advance(Duration::from_secs(100));
    city.prove().await;
    let code = city.issue("sampling", 1).await;
    assert_eq!(city.reason("sampling_desk", &code.text), Reason::Ok);
    let retired = SigningKeyRetired {
        key_id: city.key.key_id(),
        signs_until: Timestamp(START + 50),
        verifies_until: Timestamp(START + 1_000_000),
    };
    city.tell("keys", Event::SigningKeyRetired(retired)).await;
    assert_eq!(city.reason("sampling_desk", &code.text), Reason::BadSignature);
}
