//! The fold into the register of holders; system events go to other projections.

use std::sync::Arc;

use citycode_domain::event::Event;
use citycode_event_store::follow::{Continuity, Fold};
use citycode_event_store::{BucketId, CommitHash, Partition, Position, RecordedCommit};
use citycode_projection::ApplyError;
use citycode_projection::register::HolderRegister;

use crate::commit::{folded_events, foreign_message, projected};

/// A projection of events that do not belong to a holder, such as leases and keys. It is called in the order of
/// each partition.
pub trait SystemFold: Send + Sync {
    /// Folds one event of a system stream; its sealed fields are empty.
    ///
    /// # Errors
    /// Why the event cannot be folded, in one sentence; the follower then stops for good.
    fn fold_system(&self, event: &Event, position: Position) -> Result<(), String>;

    /// Folds an event of a holder's stream after the register has folded it; its sealed fields are empty. An
    /// implementation must not block.
    fn fold_holder(&self, _holder: citycode_domain::ids::HolderId, _event: &Event, _position: Position) {}
}

/// The fold of a writer: every commit goes into the register, and system events to the other projections.
pub struct RegisterFold {
    register: Arc<HolderRegister>,
    system_folds: Vec<Arc<dyn SystemFold>>,
}

impl RegisterFold {
    /// Folds into `register` and passes system events to each of `system_folds`.
    #[must_use]
    pub fn new(register: Arc<HolderRegister>, system_folds: Vec<Arc<dyn SystemFold>>) -> Self {
        Self { register, system_folds }
    }
}

impl Fold for RegisterFold {
    fn continuity(&self, commit: &RecordedCommit) -> Continuity {
        let BucketId { partition, bucket } = commit.bucket;
        let tail = self.register.tail(partition.0, bucket);
        if tail.map_or(CommitHash::NONE, |tail| tail.hash) == commit.previous_hash {
            Continuity::Follows
        } else {
            Continuity::Breaks
        }
    }

    fn confined(&self) -> Vec<BucketId> {
        let confined = (0..).map_while(|number| Some((Partition(number), self.register.confined(number)?)));
        let buckets = confined.flat_map(|(partition, buckets)| {
            let buckets = buckets.into_iter();
            buckets.map(move |bucket| BucketId { partition, bucket })
        });
        buckets.collect()
    }

    fn fold(&mut self, commit: &RecordedCommit) -> Result<(), String> {
        if let Some(message) = &commit.foreign {
            let folded = self
                .register
                .apply_foreign(commit.position, foreign_message(commit.bucket, message));
            return match folded {
                Ok(()) | Err(ApplyError::AlreadyApplied { .. }) => Ok(()),
                Err(error) => Err(error.to_string()),
            };
        }
        let events = folded_events(commit).map_err(|error| error.to_string())?;
        let projected = projected(commit, &events);
        let holder = projected.holder;
        if holder.is_none() && !self.has(commit.position) {
            // System folds come first: code that reads a bucket's tail from the register then finds everything
            // up to it in them, so a lease is never decided on a newer tail with older leases.
            for event in &events {
                self.system_folds
                    .iter()
                    .try_for_each(|keeper| keeper.fold_system(event, commit.position))?;
            }
        }
        match self.register.apply(&projected) {
            Ok(()) => {}
            Err(ApplyError::AlreadyApplied { .. }) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
        if let Some(holder) = holder {
            for event in &events {
                let system_folds = self.system_folds.iter();
                system_folds.for_each(|fold| fold.fold_holder(holder, event, commit.position));
            }
        }
        Ok(())
    }
}

impl RegisterFold {
    fn has(&self, position: Position) -> bool {
        let point = self.register.point(position.partition.0);
        point.is_some_and(|point| point.sequence >= position.sequence.0)
    }
}
