//! Freshness (R24): the proved age of the state, and a trusted clock.

use std::time::Duration;

use citycode_domain::admission::{Decision, Reason};
use citycode_domain::event::{CodeRevoked, Event, Sealed};
use citycode_event_store::Partition;
use citycode_service_kit::clock::UnixSeconds;

use metrics_exporter_prometheus::PrometheusBuilder;

use crate::city::{City, Code, START, WANG, card, desk, holder_in, holder_stream, partition_of, request, wang, words};

#[tokio::test]
async fn r24_a_state_older_than_the_places_limit_yields_cannot_check_and_dead_codes_are_still_refused() {
    let city = City::new().await;
    let (alive, dead) = (city.issue("sampling", 1).await, city.issue("sampling", 2).await);
    let revoked = CodeRevoked {
        code: dead.issued.code,
        reason: Sealed::default(),
    };
    city.tell(&holder_stream(), Event::CodeRevoked(revoked)).await;
    city.prove().await;
    city.clock.advance(Duration::from_secs(60));
    let at_limit = city.scan("sampling_desk", &alive.text);
    assert_eq!((at_limit.verdict.reason, at_limit.age_ms), (Reason::Ok, 60_000));
    city.clock.advance(Duration::from_millis(1));
    let stale = city.scan("sampling_desk", &alive.text).verdict;
    assert_eq!(
        (stale.decision, stale.reason),
        (Decision::CannotCheck, Reason::TooStale)
    );
    assert_eq!(city.reason("sampling_desk", &dead.text), Reason::Revoked);
    let card = city
        .verifier
        .scan_id_card(city.place("staffed"), &wang(), None, city.at_once());
    assert_eq!(card.verdict.reason, Reason::TooStale, "for the card too");
    city.prove().await;
    assert_eq!(city.reason("sampling_desk", &alive.text), Reason::Ok);
}

#[tokio::test]
async fn r24_a_state_that_becomes_stale_during_the_vaults_answer_admits_nobody() {
    let city = City::new().await;
    let mut reader = desk();
    reader.card_reader = true;
    let limit_ms = city.place("staffed").max_knowledge_age_ms;
    city.vault.take(limit_ms / 1000);
    let at_limit = city.verify(&reader, card("staffed", WANG, "")).await.unwrap();
    assert_eq!(words(&at_limit).1, Reason::Ok);
    assert_eq!(at_limit.as_of.unwrap().age_ms, limit_ms);
    city.prove().await;
    city.vault.take(limit_ms / 1000 + 1);
    let stale = city.verify(&reader, card("staffed", WANG, "")).await.unwrap();
    assert_eq!(words(&stale), (Decision::CannotCheck, Reason::TooStale));
}

#[tokio::test]
async fn r24_a_code_issued_after_the_proved_state_cannot_be_checked() {
    let city = City::new().await;
    city.clock.advance(Duration::from_secs(3));
    let newborn = city.sign("sampling", 1, None);
    let verdict = city.scan("sampling_desk", &newborn.text).verdict;
    assert_eq!(
        (verdict.decision, verdict.reason),
        (Decision::CannotCheck, Reason::TooStale)
    );
    city.tell(&holder_stream(), Event::CodeIssued(newborn.issued.clone()))
        .await;
    assert_eq!(city.reason("sampling_desk", &newborn.text), Reason::Ok);
}

/// The age of the state is proved on the verifier's own clock: a writer whose clock is ahead must not make it call a
/// code forged whose commit it has not read yet.
#[tokio::test]
async fn r24_a_writer_whose_clock_is_ahead_does_not_make_other_codes_unknown() {
    let city = City::new().await;
    city.clock.advance(Duration::from_secs(3));
    let other = city.sign("sampling", 1, None);
    let ahead = city.now().plus_seconds(600);
    let position = city
        .append_at(&holder_stream(), &Event::CodeIssued(other.issued), ahead)
        .await;
    city.progress.wait_for(position).await.unwrap();
    let newborn = city.sign("sampling", 2, None);
    let verdict = city.scan("sampling_desk", &newborn.text).verdict;
    assert_eq!(
        (verdict.decision, verdict.reason),
        (Decision::CannotCheck, Reason::TooStale)
    );
}

/// An issuer whose clock is behind dates its codes before the proved state of a verifier, which has not read them yet.
#[tokio::test]
async fn r24_a_new_code_of_an_issuer_whose_clock_is_behind_is_not_called_forged() {
    let city = City::new().await;
    let (newborn, forged) = (city.sign("sampling", 1, None), city.sign("sampling", 2, None));
    for behind in [1, 600, 3_600] {
        city.clock.advance(Duration::from_secs(behind));
        city.prove().await;
    }
    for code in [&newborn, &forged] {
        let verdict = city.scan("sampling_desk", &code.text).verdict;
        assert_eq!(
            (verdict.decision, verdict.reason),
            (Decision::CannotCheck, Reason::TooStale)
        );
    }
    // A proof that began before the scan does not cover it, whenever it ends.
    city.prove().await;
    assert_eq!(city.reason("sampling_desk", &forged.text), Reason::TooStale);
    city.tell(&holder_stream(), Event::CodeIssued(newborn.issued.clone()))
        .await;
    city.clock.advance(Duration::from_millis(1));
    city.prove().await;
    assert_eq!(city.reason("sampling_desk", &newborn.text), Reason::Ok);
    assert_eq!(city.reason("sampling_desk", &forged.text), Reason::UnknownCode);
    city.clock.advance(Duration::from_secs(2 * 3_600));
    let old = city.sign("sampling", 3, None);
    city.clock.advance(Duration::from_secs(2 * 3_600 + 1));
    city.prove().await;
    assert_eq!(
        city.reason("sampling_desk", &old.text),
        Reason::UnknownCode,
        "no clock is that far behind"
    );
}

/// A scan waits for the next proof, which distinguishes a new code from a forged one.
#[tokio::test]
async fn r25_a_scan_of_an_unknown_code_waits_for_the_proof_that_decides() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let rendered = recorder.handle();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let city = City::new().await;
    let (newborn, forged) = (city.sign("sampling", 1, None), city.sign("sampling", 2, None));
    let desk = desk();
    let ask = async |code: &Code| {
        let answer = city.verify(&desk, request("sampling_desk", &code.text, "")).await;
        words(&answer.unwrap())
    };
    let proof = async |born: Option<&Code>| {
        if let Some(code) = born {
            city.tell(&holder_stream(), Event::CodeIssued(code.issued.clone()))
                .await;
        }
        city.clock.advance(Duration::from_millis(1));
        city.prove().await;
    };
    let (said, ()) = tokio::join!(ask(&newborn), proof(Some(&newborn)));
    assert_eq!(said, (Decision::Admit, Reason::Ok));
    // Without a proof it is answered nevertheless.
    assert_eq!(ask(&forged).await, (Decision::CannotCheck, Reason::TooStale));
    let alarms = || {
        rendered
            .render()
            .contains("\ncitycode_verifier_unknown_codes_total 1\n")
    };
    assert!(!alarms(), "{}", rendered.render());
    let (said, ()) = tokio::join!(ask(&forged), proof(None));
    assert_eq!(said, (Decision::Refuse, Reason::UnknownCode));
    assert!(alarms(), "{}", rendered.render());
}

#[tokio::test]
async fn r24_nothing_is_proved_while_the_log_is_not_followed() {
    let city = City::new().await;
    let code = city.issue("sampling", 1).await;
    city.prove().await;
    city.stop_following();
    city.append(
        &holder_stream(),
        &Event::CodeIssued(city.sign("sampling", 2, None).issued),
    )
    .await;
    city.clock.advance(Duration::from_secs(61));
    let freshness = std::sync::Arc::clone(city.verifier.freshness());
    let probe = freshness.probe(&city.store, &city.progress, &*city.clock);
    tokio::pin!(probe);
    assert!(
        futures::poll!(probe.as_mut()).is_pending(),
        "the log is ahead of the fold: no proof"
    );
    assert_eq!(city.reason("sampling_desk", &code.text), Reason::TooStale);
}

/// A virtual machine that was migrated, whose clocks were all stopped until its wall clock was corrected.
#[tokio::test]
async fn r24_a_jump_of_the_wall_clock_adds_to_the_age_of_earlier_proofs() {
    let city = City::new().await;
    let code = city.issue("sampling", 1).await;
    city.clock.advance(Duration::from_secs(1));
    city.clock.set_wall(UnixSeconds(START + 6));
    let corrected = city.scan("sampling_desk", &code.text);
    assert_eq!((corrected.verdict.reason, corrected.age_ms), (Reason::Ok, 1_000));
    city.clock.set_wall(UnixSeconds(START + 3_601));
    let leapt = city.scan("sampling_desk", &code.text);
    assert_eq!(
        (leapt.verdict.decision, leapt.verdict.reason),
        (Decision::CannotCheck, Reason::TooStale)
    );
    assert_eq!(leapt.age_ms, 3_601_000);
    city.prove().await;
    assert_eq!(
        city.reason("sampling_desk", &code.text),
        Reason::Ok,
        "a new proof resets the age"
    );
}

#[tokio::test]
async fn a_clock_set_back_admits_nobody_until_it_has_caught_up() {
    let city = City::new().await;
    let code = city.issue("sampling", 1).await;
    city.clock.advance(Duration::from_secs(40));
    assert_eq!(city.reason("sampling_desk", &code.text), Reason::Ok);
    city.clock.set_wall(UnixSeconds(START + 30));
    let verdict = city.scan("sampling_desk", &code.text).verdict;
    assert_eq!(
        (verdict.decision, verdict.reason),
        (Decision::CannotCheck, Reason::ClockUntrusted)
    );
    city.clock.set_wall(UnixSeconds(START + 36));
    assert_eq!(
        city.reason("sampling_desk", &code.text),
        Reason::Ok,
        "a small correction is none"
    );
}

/// The partitions of the log: that of the signing keys, and another.
fn of_keys_and_another() -> (Partition, Partition) {
    let of_keys = partition_of("keys");
    (of_keys, Partition(1 - of_keys.0))
}

#[tokio::test]
async fn r24_a_partition_that_cannot_be_proved_makes_only_its_own_codes_cannot_check() {
    let city = City::new().await;
    let (of_keys, silent) = of_keys_and_another();
    let (fresh, stale) = (holder_in(of_keys), holder_in(silent));
    let (fresh, stale) = (
        city.issue_to(fresh, "sampling", 1).await,
        city.issue_to(stale, "sampling", 1).await,
    );
    let dead = city.issue_to(holder_in(silent), "sampling", 2).await;
    let revoked = CodeRevoked {
        code: dead.issued.code,
        reason: Sealed::default(),
    };
    city.tell(&crate::city::stream_of(holder_in(silent)), Event::CodeRevoked(revoked))
        .await;
    city.prove().await;
    city.store.silence(silent, true);
    city.clock.advance(Duration::from_secs(61));
    city.prove_others();
    let checked = city.scan("sampling_desk", &fresh.text);
    assert_eq!((checked.verdict.reason, checked.age_ms), (Reason::Ok, 0));
    let unchecked = city.scan("sampling_desk", &stale.text);
    assert_eq!(
        (unchecked.verdict.decision, unchecked.verdict.reason, unchecked.age_ms),
        (Decision::CannotCheck, Reason::TooStale, 61_000)
    );
    assert_eq!(city.reason("sampling_desk", &dead.text), Reason::Revoked);
    let newborn = city.sign("sampling", 9, None);
    let newborn = city.scan("sampling_desk", &newborn.text);
    assert_eq!(newborn.verdict.decision, Decision::CannotCheck);
    let card = city
        .verifier
        .scan_id_card(city.place("staffed"), &wang(), None, city.at_once());
    assert_eq!(
        (card.verdict.reason, card.age_ms),
        (Reason::TooStale, 61_000),
        "the age for a card is that of the oldest partition"
    );
    let unreadable = city.scan("sampling_desk", "no code of ours");
    assert_eq!(unreadable.age_ms, 61_000, "as it is for a code without a list");
    city.store.silence(silent, false);
    city.prove().await;
    assert_eq!(city.reason("sampling_desk", &stale.text), Reason::Ok);
}

#[tokio::test]
async fn r24_every_verdict_also_depends_on_the_partition_of_the_signing_keys() {
    let city = City::new().await;
    let (of_keys, other) = of_keys_and_another();
    let code = city.issue_to(holder_in(other), "sampling", 1).await;
    city.prove().await;
    city.store.silence(of_keys, true);
    city.clock.advance(Duration::from_secs(61));
    city.prove_others();
    let unchecked = city.scan("sampling_desk", &code.text);
    assert_eq!(
        (unchecked.verdict.reason, unchecked.age_ms),
        (Reason::TooStale, 61_000),
        "its key may have been compromised since"
    );
}
