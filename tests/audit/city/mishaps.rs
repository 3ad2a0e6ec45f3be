//! What may happen to a city beside its ordinary life: records lost by a restore, a log that lost its end, a code twice.

use std::collections::BTreeSet;

use citycode_domain::admission::Reason;
use citycode_domain::event::{Event, HolderRegistered, IndexRangeRevoked};
use citycode_domain::ids::Position;
use citycode_domain::time::Timestamp;
use citycode_event_store::memory::MemoryEventStore;
use citycode_event_store::{AppendOutcome, EventStore, RecordedCommit, Sequence, StreamState};
use citycode_log_folds::holder_stream;
use citycode_scan_records::{ScanNote, ScanRecords as _};

use super::{City, Code, HOLDERS, PLACES, holder};

impl City {
    /// Notes a scan with this id now, and puts the digest of its batch into the log.
    pub(crate) async fn note(&mut self, scan_id: &str) {
        self.records().note(&ScanNote {
            at: self.now().0,
            place: PLACES[0],
            device: "gate-9",
            scan_id,
            code_id: None,
            reason: Reason::Unreadable,
            position: Position::new(0, 1),
            age_ms: 0,
            basis: None,
        });
        self.seal().await;
    }

    /// Issues the first code again.
    pub(crate) async fn issue_again(&mut self) {
        let (issued, holder) = (self.codes[0].issued.clone(), self.codes[0].holder);
        self.append(holder_stream(holder).as_str(), Event::CodeIssued(issued))
            .await;
    }

    /// Loses everything that was decided since an instant. The loss is accepted: the indices of the status lists are revoked,
    /// other changes take the positions of the lost ones, and lost digests are appended again. Returns the texts of the paper
    /// codes that were lost.
    pub(crate) async fn lose_since(&mut self, since: Timestamp) -> Vec<String> {
        self.gates.drain(..).for_each(|gate| gate.following.abort());
        self.reopen_records().await;
        let shorter = MemoryEventStore::new(self.store.log_id(), self.store.layout());
        for commit in self.commits().await {
            if commit.commit.decided_at < since.0 {
                let copied = shorter.append_to_stream(commit.commit, StreamState::Any).await;
                let Ok(AppendOutcome::Appended { position, .. }) = copied else {
                    panic!("{copied:?}");
                };
                assert_eq!(position, commit.position);
            }
        }
        self.store = shorter;
        self.clock.advance(std::time::Duration::from_secs(3_600));
        let lost: Vec<Code> = std::mem::take(&mut self.codes);
        let lost = lost.into_iter().filter(|code| code.issued.issued_at >= since);
        let lost: Vec<Code> = lost.filter(|code| code.phone.is_none()).collect();
        for list in lost
            .iter()
            .map(|code| code.issued.code.status.list)
            .collect::<BTreeSet<_>>()
        {
            let revoked = IndexRangeRevoked {
                list,
                first_index: 0,
                count: self.indexes + 1,
            };
            self.append("lease-00", Event::IndexRangeRevoked(revoked)).await;
        }
        for number in 0..8 * HOLDERS {
            let holder = holder(HOLDERS + number);
            let registered = Event::HolderRegistered(HolderRegistered { holder });
            self.append(holder_stream(holder).as_str(), registered).await;
        }
        self.clock.advance(std::time::Duration::from_secs(3_600));
        self.records().forget_recorded().expect("forgotten");
        self.seal().await;
        lost.into_iter().map(|code| code.text).collect()
    }

    /// Every commit of the log, each partition in its order.
    pub(crate) async fn commits(&self) -> Vec<RecordedCommit> {
        let mut commits = Vec::new();
        for (partition, head) in self.store.heads().await.expect("heads").iter() {
            for sequence in (1..=head.0).map(Sequence) {
                let read = self
                    .store
                    .read_at(citycode_event_store::Position { partition, sequence })
                    .await;
                commits.push(read.expect("readable").expect("a commit"));
            }
        }
        commits
    }
}
