//! Writers of the log.

use std::sync::Arc;
use std::time::Duration;

use citycode_event_store::LogPosition;
use citycode_event_store::follow::{Progress, follow};
use citycode_event_store_jetstream::{Config, ProbeAnswers};
use citycode_holder_log::HolderLog;
use citycode_log_folds::RegisterFold;
use citycode_projection::register::HolderRegister;
use citycode_service_kit::clock::Clock as _;
use tokio::task::JoinHandle;

use super::{Common, LIMIT, PARTITIONS, opened};

/// The core of an issuer and a revocation service.
pub(super) struct Writer {
    pub(super) log: Arc<HolderLog>,
    pub(super) tasks: Vec<JoinHandle<()>>,
}

impl Writer {
    pub(super) async fn open(config: &Config, common: &Arc<Common>) -> Self {
        let store = Arc::new(opened(config).await);
        let register = Arc::new(HolderRegister::new(PARTITIONS));
        let progress = Progress::new(&LogPosition::start(PARTITIONS));
        let mut fold = RegisterFold::new(Arc::clone(&register), Vec::new());
        let (followed, folded) = (Arc::clone(&store), progress.clone());
        let following = tokio::spawn(async move {
            let error = follow(&*followed, &mut fold, &folded).await;
            eprintln!("a writer stopped following: {error}");
        });
        let (answering, clock) = (Arc::clone(&store), Arc::clone(common));
        let answers = ProbeAnswers {
            heartbeat_every: LIMIT / 3,
            patience: Duration::from_millis(50),
            now: Box::new(move || clock.clock.now().0),
        };
        let answering = tokio::spawn(async move {
            let reason = answering.answer_probes(answers).await;
            eprintln!("a writer stopped answering: {reason}");
        });
        progress.wait_until_live().await.expect("the log is followed");
        Self {
            log: Arc::new(HolderLog::new(store, register, progress, Vec::new())),
            tasks: vec![following, answering],
        }
    }
}
