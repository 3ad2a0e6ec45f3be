//! The vault's single writer: it batches requests into transactions and acknowledges them when durable.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use citycode_domain::ids::HolderId;
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use super::Core;
use super::rows::{self, Rows};
use crate::names::NameStep;
use crate::{Found, NameApplied, VaultError};

/// Limit of requests in one transaction; it bounds the wait of the first.
const BATCH: usize = 1024;

type Answer<T> = oneshot::Sender<Result<T, VaultError>>;

pub(super) enum Job {
    Create {
        id_tag: [u8; 32],
        candidate: HolderId,
        record: Zeroizing<Vec<u8>>,
        answer: Answer<Found>,
    },
    Erase {
        holder: HolderId,
        answer: Answer<()>,
    },
    Rename {
        holder: HolderId,
        step: NameStep,
        answer: Answer<NameApplied>,
    },
}

/// Runs until every sender is gone or a write has failed. A failed write is never retried, because it is
/// unknown what reached the disk. Callers then get "unavailable"; reads continue.
pub(super) fn run(core: &Core, mut queue: mpsc::Receiver<Job>) {
    let mut jobs = Vec::with_capacity(BATCH);
    while queue.blocking_recv_many(&mut jobs, BATCH) > 0 {
        let (creations, others): (Vec<_>, Vec<_>) = jobs.drain(..).partition(|job| matches!(job, Job::Create { .. }));
        if !create_all(core, creations) {
            return;
        }
        for job in others {
            let done = match job {
                Job::Erase { holder, answer } => answered(core.erase(holder), answer),
                Job::Rename { holder, step, answer } => answered(core.rename(holder, &step), answer),
                Job::Create { .. } => true,
            };
            if !done {
                return;
            }
        }
    }
}

/// Sends the result; returns whether the job succeeded.
fn answered<T>(outcome: Result<T, VaultError>, answer: Answer<T>) -> bool {
    let done = outcome.is_ok();
    // A caller that no longer waits needs no result.
    let _ = answer.send(outcome);
    done
}

/// Creates all in one transaction. A crash before the commit leaves none of them, and no result was sent. A
/// crash after it leaves people without a registration in the log, which the next attempt to register finds.
fn create_all(core: &Core, creations: Vec<Job>) -> bool {
    if creations.is_empty() {
        return true;
    }
    let outcome = try_create_all(core, &creations);
    let ok = outcome.is_ok();
    let mut found = outcome.map(Vec::into_iter);
    for job in creations {
        if let Job::Create { answer, .. } = job {
            let one = match &mut found {
                Ok(found) => Ok(found.next().expect("one outcome for each request")),
                Err(error) => Err(error.clone()),
            };
            let _ = answer.send(one);
        }
    }
    ok
}

fn try_create_all(core: &Core, creations: &[Job]) -> Result<Vec<Found>, VaultError> {
    let transaction = core.database.begin_write().map_err(rows::unavailable)?;
    let mut found = Vec::with_capacity(creations.len());
    {
        let keys = core.keys.read();
        let mut tables = Rows::writing(&transaction, &keys)?;
        let mut fresh: HashMap<[u8; 32], HolderId> = HashMap::new();
        for job in creations {
            let Job::Create {
                id_tag,
                candidate,
                record,
                ..
            } = job
            else {
                continue;
            };
            let known = match fresh.get(id_tag) {
                Some(holder) => Some(*holder),
                None => tables.find(id_tag)?,
            };
            found.push(match known {
                Some(holder) => Found { holder, created: false },
                None => {
                    tables.create(id_tag, *candidate, record, &core.random)?;
                    fresh.insert(*id_tag, *candidate);
                    Found {
                        holder: *candidate,
                        created: true,
                    }
                }
            });
        }
    }
    transaction.commit().map_err(rows::unavailable)?;
    core.committed.fetch_add(1, Ordering::Relaxed);
    Ok(found)
}
