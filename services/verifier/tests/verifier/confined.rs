//! Codes that are not in the log: a foreign message may have been their issue, and one scan of a caller waits for the
//! proof.

use std::time::Duration;

use citycode_domain::admission::{Decision, Reason};
use citycode_domain::ids::HolderId;
use citycode_event_store::{EventStore as _, Partition, StreamName};

use crate::city::{City, HOLDER, desk, holder_in, holder_stream, partition_of, request, stream_of, words};

impl City {
    /// Confines the bucket of a holder.
    async fn confine(&self, holder: HolderId) {
        let stream = StreamName::new(&stream_of(holder)).expect("a name");
        let position = self
            .store
            .put_foreign(self.store.layout().bucket_of(&stream), b"no commit");
        self.progress.wait_for(position).await.expect("folded");
    }
}

#[tokio::test]
async fn r25_a_code_whose_issue_may_be_a_foreign_message_is_not_called_forged() {
    let city = City::new().await;
    let here = partition_of(&holder_stream());
    let elsewhere = holder_in(Partition(1 - here.0));
    city.issue("sampling", 1).await;
    city.issue_to(elsewhere, "sampling", 1).await;
    let unknown = city.sign("sampling", 2, None);
    let forged = city.sign_for(elsewhere, &city.key, "sampling", 2, None);
    for code in [&unknown, &forged] {
        assert_eq!(city.reason("sampling_desk", &code.text), Reason::TooStale);
    }
    city.clock.advance(Duration::from_millis(1));
    city.prove().await;
    assert_eq!(city.reason("sampling_desk", &unknown.text), Reason::UnknownCode);
    // Another holder of the partition: the issue may have been for any holder in the bucket.
    city.confine(HOLDER).await;
    city.prove().await;
    let verdict = city.scan("sampling_desk", &unknown.text).verdict;
    assert_eq!(
        (verdict.decision, verdict.reason),
        (Decision::CannotCheck, Reason::TooStale)
    );
    assert_eq!(
        city.reason("sampling_desk", &forged.text),
        Reason::UnknownCode,
        "its list is of a partition without a confined bucket"
    );
}

/// Otherwise each forged token would delay the scans behind it in the stream.
#[tokio::test]
async fn one_scan_of_a_caller_waits_and_the_next_is_answered_at_once() {
    let city = City::new().await;
    let desk = desk();
    let ask = async |number| {
        let code = city.sign("sampling", number, None);
        let answer = city.verify(&desk, request("sampling_desk", &code.text, "")).await;
        words(&answer.unwrap())
    };
    let mut first = std::pin::pin!(ask(1));
    assert!(futures::poll!(first.as_mut()).is_pending());
    let second = futures::poll!(std::pin::pin!(ask(2)));
    let too_stale = (Decision::CannotCheck, Reason::TooStale);
    assert_eq!(second, std::task::Poll::Ready(too_stale));
    city.clock.advance(Duration::from_millis(1));
    city.prove().await;
    assert_eq!(first.await, (Decision::Refuse, Reason::UnknownCode));
    assert!(
        futures::poll!(std::pin::pin!(ask(3))).is_pending(),
        "no scan waits any more"
    );
}
