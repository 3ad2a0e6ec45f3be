//! The shutdown signal of a process: a [`Signal`] for which servers and background tasks wait.

use tokio::sync::watch;

/// Completes once the process was asked to stop. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Signal {
    stopped: watch::Receiver<bool>,
}

/// Triggers the signal. Dropping the last trigger has the same effect as [`Trigger::pull`].
#[derive(Debug, Clone)]
pub struct Trigger {
    stop: watch::Sender<bool>,
}

impl Trigger {
    /// Triggers the signal. Further calls have no effect.
    pub fn pull(&self) {
        self.stop.send_replace(true);
    }
}

impl Signal {
    /// A signal and its trigger.
    #[must_use]
    pub fn channel() -> (Trigger, Self) {
        let (stop, stopped) = watch::channel(false);
        (Trigger { stop }, Self { stopped })
    }

    /// A signal that SIGTERM or SIGINT (Ctrl-C) triggers.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn from_os() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let (trigger, this) = Self::channel();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "stopping");
            trigger.pull();
        });
        Ok(this)
    }

    /// Waits until the signal is triggered.
    pub async fn wait(mut self) {
        // An error means that every trigger was dropped, which counts as a stop: nothing could trigger it any more.
        let _ = self.stopped.wait_for(|stopped| *stopped).await;
    }

    /// Whether it was triggered.
    #[must_use]
    pub fn is_pulled(&self) -> bool {
        *self.stopped.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_pull_reaches_every_clone_also_later() {
        let (trigger, signal) = Signal::channel();
        let other = signal.clone();
        assert!(!signal.is_pulled());
        let task = tokio::spawn(other.wait());
        trigger.pull();
        task.await.unwrap();
        assert!(signal.is_pulled());
        signal.wait().await;
    }

    #[tokio::test]
    async fn a_dropped_trigger_counts_as_a_pull() {
        let (trigger, signal) = Signal::channel();
        drop(trigger);
        signal.wait().await;
    }
}
