//! The limit on ID cards that do not belong to a code's holder: many different cards for one code are a search for its
//! holder's ID number (R19).
//!
//! Only wrong cards are counted, for each device and code, by all verifiers together: each wrong card claims one of
//! [`MAX_WRONG_CARDS`] slots of its period. A slot is claimed once in the city, durably, because it is a registration
//! in the scan records ([`ScanRecords::register`]). A wrong card without a slot is not answered, so concurrent
//! requests to many verifiers yield no more answers. The last slot blocks the code at that device for
//! [`PERIOD_SECONDS`]: right and wrong cards are then answered alike, and no other device or code is affected.
//!
//! ```text
//! device   "wrong-card DEVICE", or "wrong-card" for the whole city: no device has a space in its name
//! scan id  CODE PERIOD SLOT, or CODE closed PERIOD
//! ```
//!
//! If the records do not answer, a card with a code is answered as `unavailable`, because it cannot be counted.

use std::collections::HashMap;
use std::sync::Arc;

use citycode_domain::admission::Reason;
use citycode_domain::ids::{CodeId, Position};
use citycode_scan_records::{RecordsError, Registered, ScanNote, ScanRecords, ShownBytes};
use citycode_service_kit::problem::{Code, Problem};
use futures::future::try_join_all;
use parking_lot::Mutex;

/// Wrong cards that a device may present with one code in a period: enough for mistakes, too few for a search.
const MAX_WRONG_CARDS: u32 = 10;
/// How long they count, and how long the code is blocked at the device afterwards.
const PERIOD_SECONDS: i64 = 15 * 60;
/// Wrong cards with one code in the whole city within [`CITY_PERIOD_SECONDS`] that raise an alarm: as many as three
/// devices at their limit.
const CITY_ALARM_THRESHOLD: u32 = 30;
/// How long those count.
const CITY_PERIOD_SECONDS: i64 = 3_600;
/// Number of locks above which unused ones are removed.
const MAX_LOCKS: usize = 1_024;

type CardLock = Arc<tokio::sync::Mutex<()>>;

/// The wrong-card limit of one verifier.
pub(crate) struct WrongCards {
    records: Arc<dyn ScanRecords>,
    /// Serialises the cards of each device and code.
    locks: Mutex<HashMap<(String, CodeId), CardLock>>,
}

/// A card that is presented with a code.
#[derive(Clone, Copy)]
pub(crate) struct HeldCard<'a> {
    /// The device.
    pub(crate) device: &'a str,
    /// The place.
    pub(crate) place: &'a str,
    /// The code.
    pub(crate) code_id: CodeId,
    /// The time in Unix seconds.
    pub(crate) at: i64,
}

impl WrongCards {
    /// A limit whose counts are stored in these records.
    pub(crate) fn new(records: Arc<dyn ScanRecords>) -> Self {
        Self {
            records,
            locks: Mutex::default(),
        }
    }

    /// Locks the card's device and code until the guard is dropped.
    pub(crate) async fn lock(&self, card: &HeldCard<'_>) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock();
            if locks.len() > MAX_LOCKS {
                locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            }
            Arc::clone(locks.entry((card.device.to_owned(), card.code_id)).or_default())
        };
        lock.lock_owned().await
    }

    /// Checks that the code is not blocked at this device; called before a card is compared.
    ///
    /// # Errors
    /// `rate_limited` while it is blocked, `unavailable`.
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

    /// Counts a wrong card, durably before it is answered.
    ///
    /// # Errors
    /// `rate_limited` if it exceeds the limit, so that the answer does not reveal that it was wrong; `unavailable`.
    pub(crate) async fn count(&self, card: &HeldCard<'_>) -> Result<(), Problem> {
        let device = device_of(card);
        let counted = self.claim(card, &device, PERIOD_SECONDS, MAX_WRONG_CARDS).await;
        let counted = counted.map_err(|error| unavailable(&error))?;
        // After a crash before this, the next wrong card blocks the code.
        if counted.is_none_or(|counted| counted >= MAX_WRONG_CARDS) {
            let closed = self.close(card, &device).await;
            closed.map_err(|error| unavailable(&error))?;
        }
        if counted.is_none() {
            return Err(closed_until(card, card.at));
        }
        Ok(())
    }

    /// Counts it for the whole city. A failure to count does not affect the answer and raises no alarm.
    pub(crate) async fn count_in_city(&self, card: &HeldCard<'_>) {
        match self.claim(card, CITY, CITY_PERIOD_SECONDS, CITY_ALARM_THRESHOLD).await {
            Ok(Some(CITY_ALARM_THRESHOLD)) => {
                metrics::counter!("citycode_verifier_card_searches_total").increment(1);
                tracing::error!(
                    code_id = %card.code_id,
                    place = card.place,
                    cards = CITY_ALARM_THRESHOLD,
                    "ALARM: a search for the ID number of a code's holder: its scan records name the devices"
                );
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "a wrong ID card was not counted for the city"),
        }
    }

    /// Claims the next slot. Returns the number of wrong cards in the last period including this one, or `None` if that
    /// would exceed `most`.
    async fn claim(
        &self,
        card: &HeldCard<'_>,
        device: &str,
        seconds: i64,
        most: u32,
    ) -> Result<Option<u32>, RecordsError> {
        let period = card.at.div_euclid(seconds);
        let slot = |period: i64, slot: u32| format!("{} {period} {slot}", card.code_id);
        // Slots of the previous period that still count.
        let before = (0..most).map(|number| self.claimed_at(card, device, slot(period - 1, number)));
        let before = try_join_all(before).await?;
        let still = |claimed_at: &i64| card.at < claimed_at.saturating_add(seconds);
        let before = before.into_iter().flatten().filter(still).count();
        let before = u32::try_from(before).unwrap_or(most);
        for number in 0..most.saturating_sub(before) {
            let name = slot(period, number);
            let claimed = self
                .records
                .register(&note(card, device, &name), ShownBytes::default())
                .await?;
            if claimed == Registered::Now {
                return Ok(Some(before + number + 1));
            }
        }
        Ok(None)
    }

    async fn close(&self, card: &HeldCard<'_>, device: &str) -> Result<(), RecordsError> {
        let name = closing(card, card.at.div_euclid(PERIOD_SECONDS));
        let closed = self
            .records
            .register(&note(card, device, &name), ShownBytes::default())
            .await;
        closed.map(drop)
    }

    async fn closed_at(&self, card: &HeldCard<'_>, device: &str, period: i64) -> Result<Option<i64>, RecordsError> {
        self.claimed_at(card, device, closing(card, period)).await
    }

    /// The time at which this was registered.
    async fn claimed_at(&self, card: &HeldCard<'_>, device: &str, name: String) -> Result<Option<i64>, RecordsError> {
        let found = self
            .records
            .registered(&note(card, device, &name), &ShownBytes::default())
            .await?;
        Ok(match found {
            Some(Registered::Before(record)) => Some(record.scan.at),
            _ => None,
        })
    }
}

/// Replaces the device's name in the count of the whole city.
const CITY: &str = "wrong-card ";

fn device_of(card: &HeldCard<'_>) -> String {
    format!("{CITY}{}", card.device)
}

fn closing(card: &HeldCard<'_>, period: i64) -> String {
    format!("{} closed {period}", card.code_id)
}

fn note<'a>(card: &HeldCard<'a>, device: &'a str, name: &'a str) -> ScanNote<&'a str> {
    ScanNote {
        at: card.at,
        place: card.place,
        device,
        scan_id: name,
        code_id: Some(card.code_id),
        reason: Reason::IdMismatch,
        position: Position::new(0, 0),
        age_ms: 0,
        basis: None,
    }
}

fn closed_until(card: &HeldCard<'_>, closed_at: i64) -> Problem {
    let seconds = closed_at.saturating_add(PERIOD_SECONDS).saturating_sub(card.at);
    let detail = "too many ID cards that are not the holder's were presented with this code at this device";
    Problem::new(Code::RateLimited, detail).with_retry_after(u64::try_from(seconds.max(1)).unwrap_or(1))
}

fn unavailable(error: &RecordsError) -> Problem {
    tracing::error!(%error, "wrong ID cards cannot be counted");
    Problem::new(
        Code::Unavailable,
        "wrong ID cards cannot be counted, so cards are not compared with codes",
    )
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// Locks need no records.
    struct NoRecords;

    #[tonic::async_trait]
    impl ScanRecords for NoRecords {
        fn note(&self, _: &ScanNote<&str>) {}

        async fn register(&self, _: &ScanNote<&str>, _: ShownBytes) -> Result<Registered, RecordsError> {
            Err(RecordsError::Unavailable("there are none".into()))
        }

        async fn registered(&self, _: &ScanNote<&str>, _: &ShownBytes) -> Result<Option<Registered>, RecordsError> {
            Err(RecordsError::Unavailable("there are none".into()))
        }

        async fn flush(&self) {}
    }

    fn card(number: usize) -> HeldCard<'static> {
        let number = u64::try_from(number).expect("few");
        HeldCard {
            device: "gate-1",
            place: "staffed",
            code_id: CodeId(number.to_be_bytes()),
            at: 0,
        }
    }

    #[test]
    fn locks_are_bounded_and_a_lock_in_use_is_never_forgotten() {
        let cards = WrongCards::new(Arc::new(NoRecords));
        let lock = |number| cards.lock(&card(number)).now_or_never();
        let held = lock(0).expect("it is free");
        let mut most = 0;
        for number in 1..3 * MAX_LOCKS {
            assert!(lock(number).is_some(), "code {number} is free");
            most = most.max(cards.locks.lock().len());
        }
        assert_eq!(most, MAX_LOCKS + 1);
        assert!(lock(0).is_none(), "its card is still being compared");
        drop(held);
        assert!(lock(0).is_some());
    }
}
