//! The whole city at an instant: how many codes of each kind were in each state.
//!
//! The states are folded from the [index](crate::index)'s journal of effects with the same transitions as in the verifiers'
//! projection ([`CodeState`]). Effects that were decided later are left out; within a holder's stream, which has every
//! change of a code, times never decrease, so what is left is what the log had then. One partition is folded after the
//! other.
//!
//! Memory: some 40 bytes for each code that was ever issued in the largest partition (about 130 MB for a city of 50
//! million codes in 16 partitions, of which one question is answered at a time).

use std::collections::{BTreeMap, HashMap};

use citycode_auth::Caller;
use citycode_domain::ids::{CodeKind, StatusRef};
use citycode_domain::time::Timestamp;
use citycode_event_store::Partition;
use citycode_projection::status::CodeState;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::answer::code_life;
use citycode_wire::proto::audit::v1 as proto;
use citycode_wire::proto::issuer::v1::CodeLife;
use citycode_wire::request::Until;

use crate::history::{Audit, unavailable};
use crate::index::{IndexError, IndexReader, PlaceEffect};
use crate::run::Observer;
use crate::suppression::{shown, shown_of_table};

/// Codes by kind and state.
type Counts = BTreeMap<(CodeKind, CodeLife), u64>;

/// What is known of one code.
#[derive(Clone, Copy)]
struct KnownCode {
    kind: CodeKind,
    expires_at: Timestamp,
    state: CodeState,
}

impl Audit {
    /// The counts of codes by kind and state at an instant. Small ones are hidden unless `exact`. The caller checks who
    /// asks.
    ///
    /// # Errors
    /// `invalid_request` for an instant of the future, `not_found` for one before the log; `unavailable` if the index is
    /// not complete or cannot be read, or the observer ended the count.
    pub async fn state(
        &self,
        as_of: i64,
        exact: bool,
        observer: &mut dyn Observer,
    ) -> Result<proto::StateResult, Problem> {
        self.check_moment(Until::Instant(as_of)).await?;
        self.check_beginning(Until::Instant(as_of)).await?;
        self.catch_up(None).await?;
        let (mut counts, mut read) = (Counts::new(), 0);
        for partition in 0..self.store.layout().partitions() {
            let index = self.index.clone();
            let counting = move || count(&index, Partition(partition), Timestamp(as_of));
            let counted = tokio::task::spawn_blocking(counting).await;
            let (of_partition, effects) = counted
                .map_err(|_| Problem::internal())?
                .map_err(|error| unavailable(&error))?;
            for (group, count) in of_partition {
                *counts.entry(group).or_default() += count;
            }
            read += effects;
            observer.report(proto::AuditProgress {
                commits: read,
                ..proto::AuditProgress::default()
            })?;
        }
        Ok(self.result(as_of, exact, &counts))
    }

    fn result(&self, as_of: i64, exact: bool, counts: &Counts) -> proto::StateResult {
        let numbers: Vec<u64> = counts.values().copied().collect();
        let total = numbers.iter().sum();
        let (codes, table) = if exact {
            (Some(total), numbers.into_iter().map(Some).collect())
        } else {
            (shown(total), shown_of_table(&numbers))
        };
        let groups = counts.keys().zip(table);
        let by = groups.map(|((kind, state), count)| proto::StateGroup {
            kind: match self.policy.kind(*kind) {
                Some(named) => named.name.clone(),
                None => kind.number().to_string(),
            },
            state: (*state).into(),
            count,
        });
        proto::StateResult {
            as_of,
            codes,
            by: by.collect(),
        }
    }

    /// # Errors
    /// `not_allowed` unless the caller may see small counts.
    pub(crate) fn exact_counts_only(&self, caller: &Caller) -> Result<(), Problem> {
        // Whoever may read every history can count its codes; a role that only sees counts must not be added here.
        if caller.is_auditor() || caller.is_admin() {
            return Ok(());
        }
        Err(Problem::new(
            Code::NotAllowed,
            "only an auditor or an admin may see small counts",
        ))
    }
}

/// The codes of a partition by kind and state at an instant, and the number of effects that were read.
fn count(index: &IndexReader, partition: Partition, at: Timestamp) -> Result<(Counts, u64), IndexError> {
    let (mut codes, mut read) = (HashMap::<StatusRef, KnownCode>::new(), 0);
    index.effects_in(partition, |recorded| {
        read += 1;
        if recorded.decided_at > at {
            return;
        }
        match recorded.effect {
            PlaceEffect::Issue {
                kind,
                expires_at,
                standing,
            } => {
                let state = CodeState::issued(standing);
                codes.insert(
                    recorded.place,
                    KnownCode {
                        kind,
                        expires_at,
                        state,
                    },
                );
            }
            PlaceEffect::Change(change) => {
                if let Some(code) = codes.get_mut(&recorded.place) {
                    code.state = code.state.after(change);
                }
            }
            // Places without a known code are not counted.
            PlaceEffect::Void(_) => {}
        }
    })?;
    let mut counts = Counts::new();
    for code in codes.values() {
        let (life, _) = code.state.get();
        *counts
            .entry((code.kind, code_life(life, at >= code.expires_at)))
            .or_default() += 1;
    }
    Ok((counts, read))
}
