//! Constructs the parts of writers: the authorizer, and the publication of status lists.

use std::sync::Arc;

use citycode_command_auth::{AssertionVerifier, Authorizer, CommandLimits};
use citycode_domain::policy::Policy;
use citycode_holder_log::HolderLog;
use citycode_revocation::past_lists::PastLists;
use citycode_revocation::{Followed, StatusLists};
use citycode_service_kit::clock::Clock;
use citycode_token::SigningKey;
use citycode_vault::Vault;
use tokio::task::JoinHandle;

use super::Environment;

/// The authorizer of one process.
pub(crate) fn open_authorizer(
    policy: &Arc<Policy>,
    vault: &Arc<dyn Vault>,
    log: HolderLog,
    assertions: Option<AssertionVerifier>,
    environment: &Environment,
) -> Arc<Authorizer> {
    let Environment { clock, entropy } = environment.clone();
    report_channels(policy, assertions.is_some());
    Arc::new(Authorizer {
        policy: Arc::clone(policy),
        vault: Arc::clone(vault),
        log: Arc::new(log),
        limits: CommandLimits::new(&*entropy),
        assertions,
        clock,
        entropy,
    })
}

/// Logs at startup which channels may act for any person, and which cannot act yet.
fn report_channels(policy: &Policy, has_provider: bool) {
    let named = |needs_assertion: bool| {
        let channels = policy.channels.iter();
        let channels = channels.filter(|channel| channel.needs_assertion == needs_assertion);
        channels
            .map(|channel| channel.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let without = named(false);
    if !without.is_empty() {
        tracing::warn!(
            channels = without,
            "these channels act without an assertion: a bearer of such a channel's access token may act for any person. \
             The policy can require assertions (needs_assertion)"
        );
    }
    let with = named(true);
    if !with.is_empty() && !has_provider {
        tracing::error!(
            channels = with,
            "these channels need assertions and no assertion_provider is configured: they cannot act for any person"
        );
    }
}

/// Publishes the status lists and keeps them updated in a task.
pub(crate) async fn publish_lists(
    followed: Followed,
    key: SigningKey,
    policy: &Policy,
    clock: &Arc<dyn Clock>,
    past: Option<Arc<dyn PastLists>>,
) -> (Arc<StatusLists>, JoinHandle<()>) {
    let lists = StatusLists::new(followed, key, policy.status_base_uri.clone(), Arc::clone(clock));
    let lists = Arc::new(lists.with_past(past));
    if let Err(error) = lists.update().await {
        tracing::error!(%error, "no status lists were published at startup; retrying at the next tick");
    }
    let updating = tokio::spawn(Arc::clone(&lists).keep_updating());
    (lists, updating)
}
