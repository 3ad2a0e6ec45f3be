//! What an answer shows of the log, and to whom.

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
        answer.as_of.expect("what it rests on")
    }
}

/// Who may read cards besides verifying.
fn reader() -> Caller {
    Caller {
        card_reader: true,
        ..desk()
    }
}

#[tokio::test]
async fn r29_where_in_the_log_a_verdict_rests_is_shown_to_auditors_and_admins_alone() {
    let city = City::new().await;
    let code = city.issue("sampling", 1).await;
    city.prove().await;
    city.clock.advance(Duration::from_millis(1_001));
    let requests = [
        request("sentinel", &code.text, ""),
        request("sampling_desk", &code.text, "scan-1"),
        // The repeat is answered as it was recorded.
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
async fn r31_a_card_of_an_unknown_person_is_answered_as_one_of_a_known_person() {
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
    // Not always the same partition: they lie in all, as those of known people do.
    let mut partitions = BTreeSet::new();
    for serial in 1..32 {
        let body = format!("31010119900101{serial:03}");
        let number = format!("{body}{}", char::from(check_character(body.as_bytes())));
        partitions.insert(city.as_of(&admin, card("staffed", &number, "")).await.partition);
    }
    assert_eq!(partitions, BTreeSet::from([Some(0), Some(1)]));
}
