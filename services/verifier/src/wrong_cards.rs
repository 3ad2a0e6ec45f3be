//! The limit on ID cards that are not those of a code's holder: whoever holds card after card against one code is
//! searching for the number behind it (R19).
//!
//! Wrong cards alone are counted, for each device and code, by all verifiers together: each wrong card claims a place
//! among [`MOST`] of its period, and a place is claimed once in the city, durably, since it is a registration among the
//! scan records ([`ScanRecords::register`]). A wrong card that finds no place is not answered, so no number of verifiers
//! asked at once gives more answers. The last place closes the code to that device for [`PERIOD_SECONDS`]: right and
//! wrong cards are then answered alike, and no other device and no other code notices.
//!
//! ```text
//! device   "wrong-card DEVICE", or "wrong-card" for the whole city: no device has a space in its name
//! scan id  CODE PERIOD PLACE, or CODE closed PERIOD
//! ```
//!
//! Where the records cannot be asked, a card beside a code is `unavailable`: nobody searches while nobody counts.

use std::collections::HashMap;
use std::sync::Arc;

use citycode_domain::admission::Reason;
use citycode_domain::ids::{CodeId, CommitPosition};
use citycode_scan_records::{RecordsError, Registered, ScanNote, ScanRecords, ShownBytes};
use citycode_service_kit::problem::{Code, Problem};
use futures::future::try_join_all;
use parking_lot::Mutex;

/// Wrong cards that a device may hold against one code in a period: a person at a desk fumbles, a machine would search.
const MOST: u32 = 10;
/// How long they count, and how long the device and the code wait afterwards.
const PERIOD_SECONDS: i64 = 15 * 60;
/// Wrong cards against one code in the whole city and [`CITY_PERIOD_SECONDS`] that raise an alarm: three devices that
/// reached their limit.
const MOST_IN_CITY: u32 = 30;
/// How long those count.
const CITY_PERIOD_SECONDS: i64 = 3_600;
/// Devices and codes with a card under comparison, beyond which those that nobody waits for are let go.
const TURNS: usize = 1_024;

type CardLock = Arc<tokio::sync::Mutex<()>>;

/// The count, as one verifier keeps it.
pub(crate) struct WrongCards {
    records: Arc<dyn ScanRecords>,
    /// One card at a time for each device and code: another one waits for how this one ends.
    turns: Mutex<HashMap<(String, CodeId), CardLock>>,
}

/// A card that is held against a code.
#[derive(Clone, Copy)]
pub(crate) struct HeldCard<'a> {
    /// By which device.
    pub(crate) device: &'a str,
    /// Where.
    pub(crate) place: &'a str,
    /// Against which code.
    pub(crate) code_id: CodeId,
    /// When, in Unix seconds.
    pub(crate) at: i64,
}

impl WrongCards {
    /// Counted in these records.
    pub(crate) fn new(records: Arc<dyn ScanRecords>) -> Self {
        Self {
            records,
            turns: Mutex::default(),
        }
    }

    /// This card's turn; it lasts until what comes back is dropped.
    pub(crate) async fn turn(&self, card: &HeldCard<'_>) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock();
            if turns.len() > TURNS {
                turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            }
            Arc::clone(turns.entry((card.device.to_owned(), card.code_id)).or_default())
        };
        turn.lock_owned().await
    }

    /// Whether the code is open to cards at this device; asked before any card is compared.
    ///
    /// # Errors
    /// `rate_limited` while it is closed, `unavailable`.
    pub(crate) async fn open(&self, card: &HeldCard<'_>) -> Result<(), Problem> {
        let device = device_of(card);
        let period = card.at.div_euclid(PERIOD_SECONDS);
        let asked = [period - 1, period].map(|period| self.closed_at(card, &device, period));
        let closed = try_join_all(asked).await.map_err(|error| unavailable(&error))?;
        match closed.into_iter().flatten().max() {
            Some(closed_at) if card.at < closed_at + PERIOD_SECONDS => Err(closed_until(card, closed_at)),
            _ => Ok(()),
        }
    }

    /// Counts a card that was compared and is wrong: durable before it is answered.
    ///
    /// # Errors
    /// `rate_limited` where it was one too many, and then nobody learns that it was wrong; `unavailable`.
    pub(crate) async fn count(&self, card: &HeldCard<'_>) -> Result<(), Problem> {
        let device = device_of(card);
        let counted = self.claim(card, &device, PERIOD_SECONDS, MOST).await;
        let counted = counted.map_err(|error| unavailable(&error))?;
        // A crash before this leaves a code that the next wrong card closes.
        if counted.is_none_or(|counted| counted >= MOST) {
            let closed = self.close(card, &device).await;
            closed.map_err(|error| unavailable(&error))?;
        }
        if counted.is_none() {
            return Err(closed_until(card, card.at));
        }
        Ok(())
    }

    /// Counts it in the whole city. Never in the way of the answer: what cannot be counted here raises no alarm.
    pub(crate) async fn count_in_city(&self, card: &HeldCard<'_>) {
        match self.claim(card, CITY, CITY_PERIOD_SECONDS, MOST_IN_CITY).await {
            Ok(Some(MOST_IN_CITY)) => {
                metrics::counter!("citycode_verifier_card_searches_total").increment(1);
                tracing::error!(
                    code_id = %card.code_id,
                    place = card.place,
                    cards = MOST_IN_CITY,
                    "ALARM: somebody searches for the ID number behind a code: its scan records name the devices"
                );
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "a wrong ID card was not counted in the city"),
        }
    }

    /// Claims the next place: how many wrong cards there were in the last period with this one; none where that would be
    /// more than `most`.
    async fn claim(
        &self,
        card: &HeldCard<'_>,
        device: &str,
        seconds: i64,
        most: u32,
    ) -> Result<Option<u32>, RecordsError> {
        let period = card.at.div_euclid(seconds);
        let place = |period: i64, place: u32| format!("{} {period} {place}", card.code_id);
        // Those of the period before that are not over yet.
        let before = (0..most).map(|number| self.claimed_at(card, device, place(period - 1, number)));
        let before = try_join_all(before).await?;
        let still = |claimed_at: &i64| card.at < claimed_at.saturating_add(seconds);
        let before = before.into_iter().flatten().filter(still).count();
        let before = u32::try_from(before).unwrap_or(most);
        for number in 0..most.saturating_sub(before) {
            let name = place(period, number);
            let claimed = self.records.register(&note(card, device, &name), nothing()).await?;
            if claimed == Registered::Now {
                return Ok(Some(before + number + 1));
            }
        }
        Ok(None)
    }

    async fn close(&self, card: &HeldCard<'_>, device: &str) -> Result<(), RecordsError> {
        let name = closing(card, card.at.div_euclid(PERIOD_SECONDS));
        let closed = self.records.register(&note(card, device, &name), nothing()).await;
        closed.map(drop)
    }

    async fn closed_at(&self, card: &HeldCard<'_>, device: &str, period: i64) -> Result<Option<i64>, RecordsError> {
        self.claimed_at(card, device, closing(card, period)).await
    }

    /// When this was registered.
    async fn claimed_at(&self, card: &HeldCard<'_>, device: &str, name: String) -> Result<Option<i64>, RecordsError> {
        let found = self.records.registered(&note(card, device, &name), &nothing()).await?;
        Ok(match found {
            Some(Registered::Before(record)) => Some(record.scan.at),
            _ => None,
        })
    }
}

/// In the place of a device, for the whole city.
const CITY: &str = "wrong-card ";

fn device_of(card: &HeldCard<'_>) -> String {
    format!("{CITY}{}", card.device)
}

fn closing(card: &HeldCard<'_>, period: i64) -> String {
    format!("{} closed {period}", card.code_id)
}

fn nothing() -> ShownBytes {
    ShownBytes::new(Vec::new())
}

fn note<'a>(card: &HeldCard<'a>, device: &'a str, name: &'a str) -> ScanNote<&'a str> {
    ScanNote {
        at: card.at,
        place: card.place,
        device,
        scan_id: name,
        code_id: Some(card.code_id),
        reason: Reason::IdMismatch,
        position: CommitPosition {
            partition: 0,
            sequence: 0,
        },
        age_ms: 0,
    }
}

fn closed_until(card: &HeldCard<'_>, closed_at: i64) -> Problem {
    let seconds = closed_at.saturating_add(PERIOD_SECONDS).saturating_sub(card.at);
    let detail = "too many ID cards that are not the holder's were held against this code at this device";
    Problem::new(Code::RateLimited, detail).with_retry_after(u64::try_from(seconds.max(1)).unwrap_or(1))
}

fn unavailable(error: &RecordsError) -> Problem {
    tracing::error!(%error, "wrong ID cards cannot be counted");
    Problem::new(
        Code::Unavailable,
        "ID cards held against codes cannot be counted, so none is compared",
    )
}
