//! The task that keeps the retention of scan records by day. Each day's streams are created a day in advance and
//! destroyed, the key first, after the retention period. Any number of services may run it at once.

use std::sync::Arc;
use std::time::Duration;

use citycode_service_kit::clock::{Clock, ClockTrust};
use citycode_service_kit::health::Component;
use citycode_service_kit::repeated::Repeated;
use citycode_vault::FillRandom;

use super::keeper::ScanKeeper;
use super::{KeeperSecrets, ScansConfig};
use crate::day_of;

/// Pause between two rounds. A day is created in the first round of the day before.
const ROUND_EVERY: Duration = Duration::from_secs(60);
/// Pause after a failed round.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The retention of the scan records of a city.
pub struct Retention {
    /// The location of the records.
    pub config: ScansConfig,
    /// The secrets of a service that creates days.
    pub secrets: KeeperSecrets,
    /// Days that records are kept before today (UTC).
    pub retention_days: u16,
    /// Determines the current day; no day is destroyed while it is not trusted.
    pub clock: Arc<dyn Clock>,
    /// Randomness for the keys of days.
    pub random: FillRandom,
    /// Health of the retention. It is ready also if a round fails, with the reason.
    pub component: Component,
}

impl Retention {
    /// Runs forever; a failed round is repeated.
    pub async fn run(self) {
        let mut keeper: Option<ScanKeeper> = None;
        let repeated = Repeated::default();
        loop {
            let pause = match self.round(&mut keeper).await {
                Ok(()) => {
                    repeated.over();
                    self.component.ready();
                    ROUND_EVERY
                }
                Err(reason) => {
                    if let Some(unreported) = repeated.failed(&reason, self.clock.monotonic()) {
                        tracing::warn!(reason, unreported, "the retention of scan records does not run");
                    }
                    self.component
                        .ready_saying(format!("RETENTION OF SCAN RECORDS DOES NOT RUN: {reason}"));
                    RETRY_AFTER
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn round(&self, keeper: &mut Option<ScanKeeper>) -> Result<(), String> {
        let keeper = match keeper {
            Some(keeper) => keeper,
            None => {
                let opened = ScanKeeper::open(&self.config, &self.secrets, Arc::clone(&self.random)).await;
                keeper.insert(opened.map_err(|error| error.to_string())?)
            }
        };
        let now = self.clock.reading();
        // Destruction is final, so it needs a trusted clock.
        if now.trust != ClockTrust::Trusted {
            return Err("this server's clock stepped back".into());
        }
        let today = day_of(now.now.0).map_err(|error| error.to_string())?;
        let changed = keeper.keep(today, self.retention_days).await;
        let changed = changed.map_err(|error| error.to_string())?;
        for day in changed.made {
            tracing::info!(day, "the streams of a day of scan records were created");
        }
        for day in changed.destroyed {
            tracing::info!(day, "the key and the streams of a day of scan records were destroyed");
        }
        Ok(())
    }
}
