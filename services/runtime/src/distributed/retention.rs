//! An audit service's second work: the days of scan records. Each is made the day before it comes, and destroyed, its
//! key first, once it was kept as long as it may be. Any number of audit services may do it at the same time.

use std::time::Duration;

use citycode_scan_records::day_of;
use citycode_scan_records::jetstream::keeper::ScanKeeper;
use citycode_scan_records::jetstream::{KeeperSecrets, ScansConfig};
use citycode_service_kit::clock::ClockTrust;
use citycode_service_kit::health::Component;
use citycode_service_kit::repeated::Repeated;

use crate::wiring::Surroundings;

/// Between two rounds. A day is made from midnight of the day before on.
const ROUND_EVERY: Duration = Duration::from_secs(60);
/// After a round that did not come to its end.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

pub(super) struct Retention {
    pub(super) config: ScansConfig,
    pub(super) secrets: KeeperSecrets,
    pub(super) retention_days: u16,
    pub(super) surroundings: Surroundings,
    pub(super) component: Component,
}

impl Retention {
    /// For good. Auditors are answered meanwhile, whatever becomes of it.
    pub(super) async fn run(self) {
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
                    if let Some(unreported) = repeated.trouble(&reason, self.surroundings.clock.monotonic()) {
                        tracing::warn!(reason, unreported, "the days of scan records are not kept");
                    }
                    self.component
                        .ready_saying(format!("DAYS OF SCAN RECORDS ARE NOT KEPT: {reason}"));
                    AGAIN_AFTER
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn round(&self, keeper: &mut Option<ScanKeeper>) -> Result<(), String> {
        let keeper = match keeper {
            Some(keeper) => keeper,
            None => {
                let opened = ScanKeeper::open(&self.config, &self.secrets, self.surroundings.fill_random()).await;
                keeper.insert(opened.map_err(|error| error.to_string())?)
            }
        };
        let now = self.surroundings.clock.reading();
        // What is destroyed stays destroyed: not by a clock that nobody believes.
        if now.trust != ClockTrust::Trusted {
            return Err("this server's clock stepped back".into());
        }
        let today = day_of(now.now.0).map_err(|error| error.to_string())?;
        let kept = keeper.keep(today, self.retention_days).await;
        let kept = kept.map_err(|error| error.to_string())?;
        for day in kept.made {
            tracing::info!(day, "the streams of a day of scan records were made");
        }
        for day in kept.destroyed {
            tracing::info!(day, "a day of scan records was destroyed, its key and its streams");
        }
        Ok(())
    }
}
