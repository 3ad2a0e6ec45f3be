//! What pictures may cost: how many are looked at at once, what they hold in memory, and how many one caller may show.
//!
//! Memory is taken for what has arrived, not for what was announced, so a caller that announces much and sends nothing
//! keeps nobody else from the room.

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

/// Pictures looked at at once, on machines of two cores: each computes for up to two seconds, and one of 40 megapixels
/// holds 286 MB meanwhile (measured on a debug build). With those that wait a portal is given 1 GiB (`deploy`).
const LOOKED_AT_AT_ONCE: usize = 2;
/// Mebibytes of pictures that are held as they were sent: eight of the largest, or all that a queue of gates sends.
const ROOM_MEBIBYTES: usize = 128;
/// What the room is counted in.
const MEBIBYTE: usize = 1 << 20;
/// Largest picture taken: a phone's photograph has a few MB.
pub(crate) const MAX_PICTURE_BYTES: usize = 16 << 20;
/// How long a picture waits for room: as long as reading one takes.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(2);
/// Pictures that one caller may have under way: half of the room at most. A device shows one after another.
const UNDER_WAY_PER_CALLER: u32 = 4;
/// Pictures of one caller: a device at a busy desk shows one every few seconds.
const PER_CALLER: Rate = Rate {
    burst: 60,
    per_minute: 60,
};

/// The room for pictures of one portal.
pub(crate) struct Pictures {
    looked_at: Arc<Semaphore>,
    mebibytes: Arc<Semaphore>,
    per_caller: RateLimiter<CallerId>,
    /// How many each caller has under way; who has none is not in it.
    under_way: Arc<Mutex<HashMap<CallerId, u32>>>,
    clock: Arc<dyn Clock>,
}

/// A picture that counts as under way for its caller until this is dropped.
pub(crate) struct Permit {
    under_way: Arc<Mutex<HashMap<CallerId, u32>>>,
    /// None where the caller is not counted.
    caller: Option<CallerId>,
}

/// A picture as it was sent, and the room that it takes.
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Pictures {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            looked_at: Arc::new(Semaphore::new(LOOKED_AT_AT_ONCE)),
            mebibytes: Arc::new(Semaphore::new(ROOM_MEBIBYTES)),
            per_caller: RateLimiter::new(PER_CALLER, REMEMBERED_CALLERS),
            under_way: Arc::default(),
            clock,
        }
    }

    /// Counts a picture of this caller. An admin is not counted, as everywhere.
    ///
    /// # Errors
    /// `rate_limited`: too many in a short time, or too many at once.
    pub(crate) fn turn(&self, caller: &Caller) -> Result<Permit, Problem> {
        if caller.is_admin() {
            return Ok(self.turn_of(None));
        }
        self.per_caller.admit(&caller.id, self.clock.monotonic())?;
        let mut under_way = self.under_way.lock().expect("nobody panics while holding it");
        let own = under_way.entry(caller.id.clone()).or_default();
        if *own >= UNDER_WAY_PER_CALLER {
            let detail = format!("this caller has {UNDER_WAY_PER_CALLER} pictures under way already");
            return Err(Problem::new(Code::RateLimited, detail).with_retry_after(WAIT_FOR_ROOM.as_secs()));
        }
        *own += 1;
        drop(under_way);
        Ok(self.turn_of(Some(caller.id.clone())))
    }

    fn turn_of(&self, caller: Option<CallerId>) -> Permit {
        Permit {
            under_way: Arc::clone(&self.under_way),
            caller,
        }
    }

    /// The whole body, if it is small enough and there is room for it. Room is taken mebibyte by mebibyte, as it comes.
    ///
    /// # Errors
    /// `too_large`, `unavailable` where there is no room, `invalid_request` where the body breaks off.
    pub(crate) async fn receive(&self, body: Body) -> Result<Received, Problem> {
        let mut bytes = Vec::new();
        let mut room: Option<OwnedSemaphorePermit> = None;
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| invalid("the body broke off"))?;
            let length = bytes.len() + chunk.len();
            if length > MAX_PICTURE_BYTES {
                return Err(too_large());
            }
            let held = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let needed = length.div_ceil(MEBIBYTE).saturating_sub(held);
            if needed > 0 {
                let more = self.more_room(needed).await?;
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

    async fn more_room(&self, mebibytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let mebibytes = u32::try_from(mebibytes).map_err(|_| too_large())?;
        let asked = Arc::clone(&self.mebibytes).acquire_many_owned(mebibytes);
        match tokio::time::timeout(WAIT_FOR_ROOM, asked).await {
            Ok(Ok(room)) => Ok(room),
            Ok(Err(_)) => Err(Problem::internal()),
            Err(_) => {
                let busy = Problem::new(
                    Code::Unavailable,
                    "too many pictures are being read; nothing was checked",
                );
                Err(busy.with_retry_after(WAIT_FOR_ROOM.as_secs()))
            }
        }
    }

    /// The right to look at a picture now.
    pub(crate) async fn look(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let permit = Arc::clone(&self.looked_at).acquire_owned().await;
        permit.map_err(|_| Problem::internal())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(caller) = &self.caller else { return };
        let Ok(mut under_way) = self.under_way.lock() else {
            return;
        };
        if let Some(own) = under_way.get_mut(caller) {
            *own -= 1;
            if *own == 0 {
                under_way.remove(caller);
            }
        }
    }
}

/// `too_large`.
pub(crate) fn too_large() -> Problem {
    Problem::new(Code::TooLarge, "a picture has at most 16 MiB")
}
