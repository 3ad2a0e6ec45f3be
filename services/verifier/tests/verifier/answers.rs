//! What answers reveal about the log, and to which callers.

use std::collections::BTreeSet;
use std::time::Duration;

use citycode_auth::Caller;
use citycode_domain::admission::Reason;
use citycode_domain::id_number::check_character;
use citycode_wire::proto::verifier::v1::{AsOf, VerifyRequest};

use crate::city::{City, LI, WANG, caller, card, desk, request, words};

impl City {
    async fn as_of(&self, caller: &Caller, request: VerifyRequest) -> AsOf {
        let answer = self.verify(caller, request).await.expect("an answer");
        answer.as_of.expect("the state of the verdict")
    }
}

/// A caller that may read cards as well as verify.
fn reader() -> Caller {
    Caller {
        card_reader: true,
        ..desk()
    }
}

#[tokio::test]
async fn r29_the_position_of_a_verdict_is_shown_only_to_auditors_and_admins() {
    let city = City::new().await;
    let code = city.issue("sampling", 1).await;
    city.prove().await;
    city.clock.advance(Duration::from_millis(1_001));
    let requests = [
        request("sentinel", &code.text, ""),
        request("sampling_desk", &code.text, "scan-1"),
        // The repeat is answered as recorded.
        request("sampling_desk", &code.text, "scan-1"),
        request("sampling_desk", "none of ours", ""),
        card("staffed", WANG, ""),
    ];
    for asked in requests {
        let shown = city.as_of(&reader(), asked.clone()).await;
        assert_eq!((shown.partition, shown.sequence), (None, None), "{asked:?}");
        assert_eq!(shown.age_ms, 1_500, "rounded up: {asked:?}");
        let shown = city.as_of(&caller(&["admin"]), asked.clone()).await;
        assert!(shown.partition.is_some() && shown.sequence.is_some(), "{asked:?}");
        assert_eq!(shown.age_ms, 1_001, "{asked:?}");
    }
    let mut question = request("sampling_desk", &code.text, "");
    question.at = Some(city.now().0);
    let shown = city.as_of(&caller(&["auditor"]), question).await;
    assert!(shown.partition.is_some() && shown.sequence.is_some());
}

#[tokio::test]
async fn r31_cards_of_unregistered_and_registered_persons_are_answered_alike() {
    let city = City::new().await;
    city.know(WANG).await;
    let [known, unknown] = [WANG, LI].map(|number| card("staffed", number, ""));
    let of_known = city.verify(&reader(), known.clone()).await.unwrap();
    assert_eq!(words(&of_known).1, Reason::Ok);
    assert_eq!(of_known, city.verify(&reader(), unknown.clone()).await.unwrap());
    let admin = caller(&["admin"]);
    let shapes = [known, unknown].map(|asked| async {
        let first = city.as_of(&admin, asked.clone()).await;
        assert_eq!(first, city.as_of(&admin, asked).await, "the same card, the same answer");
        (first.partition.is_some(), first.sequence.is_some(), first.age_ms)
    });
    let [known, unknown] = shapes;
    assert_eq!(known.await, unknown.await);
    // The positions are spread over the partitions, like those of registered persons.
    let mut partitions = BTreeSet::new();
    for serial in 1..32 {
        let body = format!("31010119900101{serial:03}");
        let number = format!("{body}{}", char::from(check_character(body.as_bytes())));
        partitions.insert(city.as_of(&admin, card("staffed", &number, "")).await.partition);
    }
    assert_eq!(partitions, BTreeSet::from([Some(0), Some(1)]));
}
