//! One word to stop, heard by everybody: a [`Signal`] that servers and background tasks wait for.

use tokio::sync::watch;

/// Completes once the process was asked to stop. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Signal {
    stopped: watch::Receiver<bool>,
}

/// The hand that pulls. If it is dropped without a pull, that counts as one.
#[derive(Debug, Clone)]
pub struct Trigger {
    stop: watch::Sender<bool>,
}

impl Trigger {
    /// Asks everybody to stop; again does nothing.
    pub fn pull(&self) {
        self.stop.send_replace(true);
    }
}

impl Signal {
    /// A signal and the hand that pulls it.
    #[must_use]
    pub fn channel() -> (Trigger, Self) {
        let (stop, stopped) = watch::channel(false);
        (Trigger { stop }, Self { stopped })
    }

    /// A signal pulled by SIGTERM or SIGINT (Ctrl-C).
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

    /// Waits until the signal was pulled.
    pub async fn wait(mut self) {
        // An error means that every trigger is gone: nobody could stop us any more, which counts as a stop.
        let _ = self.stopped.wait_for(|stopped| *stopped).await;
    }

    /// Whether it was pulled already.
    #[must_use]
    pub fn is_pulled(&self) -> bool {
        *self.stopped.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_hears_one_pull_also_afterwards() {
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
