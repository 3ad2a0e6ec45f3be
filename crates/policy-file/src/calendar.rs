//! The local date in the policy's time zone (R12), from bundled zone data.

use std::sync::LazyLock;

use citycode_domain::policy::Policy;
use citycode_domain::time::Timestamp;
use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// Bundled zone data, so that all machines agree on birthdays. The database caches the zones that it has read.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The zone of this IANA name.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    ZONES.get(name).ok()
}

/// The time zone of this IANA name, from the bundled zone data; `None` if there is none.
#[must_use]
pub fn time_zone(name: &str) -> Option<TimeZone> {
    zone(name)
}

/// The names of every zone.
pub(crate) fn zone_names() -> impl Iterator<Item = String> {
    ZONES.available().map(|name| name.to_string())
}

/// The local date at `at` in the policy's time zone. Instants beyond the calendar (years ±9999) are clamped.
///
/// # Panics
/// If the policy names an unknown zone; a policy from [`crate::parse`] never does.
#[must_use]
pub fn local_date(policy: &Policy, at: Timestamp) -> Date {
    let zone = zone(&policy.time_zone).expect("a checked policy names a zone that exists");
    let bounded =
        at.0.clamp(jiff::Timestamp::MIN.as_second(), jiff::Timestamp::MAX.as_second());
    let instant = jiff::Timestamp::from_second(bounded).expect("clamped to the range");
    zone.to_datetime(instant).date()
}
