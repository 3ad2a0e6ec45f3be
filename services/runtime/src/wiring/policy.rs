//! The policy in the log: writers adopt theirs before they use it, and a verifier is ready once the log has its own.

use std::sync::Arc;
use std::time::Duration;

use citycode_domain::time::Timestamp;
use citycode_event_store::EventStore;
use citycode_holder_log::{HolderLog, is_auditable};
use citycode_policy_file::PolicyFile;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::health::Component;
use citycode_service_kit::repeated::Repeated;
use citycode_verifier::Verifier;
use tokio::task::JoinHandle;

/// Interval of attempts, and of the check whether the log demands a version that has policies.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// Interval of the check whether the policy has reached a verifier.
const READY_CHECK: Duration = Duration::from_millis(250);

/// Puts the policy into the log if it is not there. If the log cannot be appended to now, or does not demand a reader
/// version that has policies, the returned task does so as soon as it can.
pub(crate) async fn keep_adopted(policy: PolicyFile, log: Arc<HolderLog>, clock: Arc<dyn Clock>) -> JoinHandle<()> {
    let repeated = Repeated::default();
    let attempt = async move || {
        if !is_auditable(&**log.store()) {
            return false;
        }
        match log.adopt_policy(&policy.adopted(), Timestamp(clock.now().0)).await {
            Ok(()) => true,
            Err(error) => {
                let error = error.to_string();
                if let Some(unreported) = repeated.failed(&error, clock.monotonic()) {
                    tracing::error!(error, unreported, "the policy is not in the log yet");
                }
                false
            }
        }
    };
    let adopted = attempt().await;
    tokio::spawn(async move {
        if adopted {
            return;
        }
        let mut tick = tokio::time::interval(CHECK_EVERY);
        loop {
            tick.tick().await;
            if attempt().await {
                return;
            }
        }
    })
}

/// Reports a verifier as ready once its policy is in the log, or at once if the log has no policies yet. Without it,
/// recorded verdicts could not be recomputed.
pub(crate) async fn report_adopted(verifier: Arc<Verifier>, store: Arc<dyn EventStore>, component: Component) {
    let mut tick = tokio::time::interval(READY_CHECK);
    loop {
        tick.tick().await;
        if verifier.has_policy_in_log() {
            component.ready();
            return;
        }
        if is_auditable(&*store) {
            component
                .starting("this verifier's policy is not in the log; issuers and revocation services put theirs there");
        } else {
            component.ready_saying("the log has no policies until its minimum reader version is raised");
            return;
        }
    }
}
