//! Limits on pictures: how many are decoded concurrently, how much memory they hold, and how many one caller may send.
//!
//! Memory is reserved for bytes that have arrived, not for the announced length, so a caller that announces much and
//! sends nothing does not affect others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use citycode_auth::{Caller, CallerId};
use citycode_service_kit::clock::Clock;
use citycode_service_kit::limits::{REMEMBERED_CALLERS, Rate, RateLimiter};
use citycode_service_kit::problem::{Code, Problem};
use futures::StreamExt as _;
use std::sync::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::answer::invalid;

/// Pictures decoded concurrently, for machines with two cores: each takes up to two seconds, and one of 40 megapixels
/// holds 286 MB meanwhile (measured on a debug build). Including waiting ones, a portal needs 1 GiB (`deploy`).
const DECODED_AT_ONCE: usize = 2;
/// Mebibytes of undecoded pictures: eight of the largest, or all that a queue of gates sends.
const MEMORY_MEBIBYTES: usize = 128;
/// The unit in which memory is reserved.
const MEBIBYTE: usize = 1 << 20;
/// Largest accepted picture: a phone's photograph has a few MB.
pub(crate) const MAX_PICTURE_BYTES: usize = 16 << 20;
/// How long a picture waits for memory: as long as decoding one takes.
const WAIT_FOR_MEMORY: Duration = Duration::from_secs(2);
/// Pictures that one caller may have in progress: at most half of the memory. A device sends one after another.
const IN_PROGRESS_PER_CALLER: u32 = 4;
/// Rate of pictures of one caller: a device at a busy desk sends one every few seconds.
const PER_CALLER: Rate = Rate {
    burst: 60,
    per_minute: 60,
};

/// The picture limits of one portal.
pub(crate) struct Pictures {
    decoding: Arc<Semaphore>,
    mebibytes: Arc<Semaphore>,
    per_caller: RateLimiter<CallerId>,
    /// Number of pictures in progress for each caller; callers without any are not included.
    in_progress: Arc<Mutex<HashMap<CallerId, u32>>>,
    clock: Arc<dyn Clock>,
}

/// A picture that counts as in progress for its caller until this is dropped.
pub(crate) struct Permit {
    in_progress: Arc<Mutex<HashMap<CallerId, u32>>>,
    /// `None` if the caller is not counted.
    caller: Option<CallerId>,
}

/// A picture as it was sent, with the memory reserved for it.
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Pictures {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            decoding: Arc::new(Semaphore::new(DECODED_AT_ONCE)),
            mebibytes: Arc::new(Semaphore::new(MEMORY_MEBIBYTES)),
            per_caller: RateLimiter::new(PER_CALLER, REMEMBERED_CALLERS),
            in_progress: Arc::default(),
            clock,
        }
    }

    /// Counts a picture of this caller. Admins are exempt, as everywhere.
    ///
    /// # Errors
    /// `rate_limited`: too many in a short time, or too many at once.
    pub(crate) fn turn(&self, caller: &Caller) -> Result<Permit, Problem> {
        if caller.is_admin() {
            return Ok(self.turn_of(None));
        }
        self.per_caller.admit(&caller.id, self.clock.monotonic())?;
        let mut in_progress = self.in_progress.lock().expect("no thread panics while holding it");
        let own = in_progress.entry(caller.id.clone()).or_default();
        if *own >= IN_PROGRESS_PER_CALLER {
            let detail = format!("this caller has {IN_PROGRESS_PER_CALLER} pictures in progress already");
            return Err(Problem::new(Code::RateLimited, detail).with_retry_after(WAIT_FOR_MEMORY.as_secs()));
        }
        *own += 1;
        drop(in_progress);
        Ok(self.turn_of(Some(caller.id.clone())))
    }

    fn turn_of(&self, caller: Option<CallerId>) -> Permit {
        Permit {
            in_progress: Arc::clone(&self.in_progress),
            caller,
        }
    }

    /// Reads the whole body, if it is small enough and memory is available. Memory is reserved per mebibyte as it
    /// arrives.
    ///
    /// # Errors
    /// `too_large`, `unavailable` if there is no memory, `invalid_request` if the body is interrupted.
    pub(crate) async fn receive(&self, body: Body) -> Result<Received, Problem> {
        let mut bytes = Vec::new();
        let mut room: Option<OwnedSemaphorePermit> = None;
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| invalid("the body was interrupted"))?;
            let length = bytes.len() + chunk.len();
            if length > MAX_PICTURE_BYTES {
                return Err(too_large());
            }
            let held = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let needed = length.div_ceil(MEBIBYTE).saturating_sub(held);
            if needed > 0 {
                let more = self.reserve_memory(needed).await?;
                match &mut room {
                    Some(room) => room.merge(more),
                    None => room = Some(more),
                }
                bytes.reserve_exact((held + needed) * MEBIBYTE - bytes.len());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Received {
            bytes: bytes.into(),
            _room: room,
        })
    }

    async fn reserve_memory(&self, mebibytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let mebibytes = u32::try_from(mebibytes).map_err(|_| too_large())?;
        let reserving = Arc::clone(&self.mebibytes).acquire_many_owned(mebibytes);
        match tokio::time::timeout(WAIT_FOR_MEMORY, reserving).await {
            Ok(Ok(room)) => Ok(room),
            Ok(Err(_)) => Err(Problem::internal()),
            Err(_) => {
                let busy = Problem::new(
                    Code::Unavailable,
                    "too many pictures are being decoded; nothing was checked",
                );
                Err(busy.with_retry_after(WAIT_FOR_MEMORY.as_secs()))
            }
        }
    }

    /// A permit to decode a picture now.
    pub(crate) async fn look(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let permit = Arc::clone(&self.decoding).acquire_owned().await;
        permit.map_err(|_| Problem::internal())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(caller) = &self.caller else { return };
        let Ok(mut in_progress) = self.in_progress.lock() else {
            return;
        };
        if let Some(own) = in_progress.get_mut(caller) {
            *own -= 1;
            if *own == 0 {
                in_progress.remove(caller);
            }
        }
    }
}

/// `too_large`.
pub(crate) fn too_large() -> Problem {
    Problem::new(Code::TooLarge, "a picture has at most 16 MiB")
}
