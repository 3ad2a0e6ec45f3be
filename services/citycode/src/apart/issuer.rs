//! `citycode-issuer`.

use std::sync::Arc;

use citycode_holder_log::SystemFold;
use citycode_issuer::{ErasureQueue, IndexLeases, Issuer, KeyFolder, ListNames, SigningKeys};
use citycode_service_kit::health::HealthRegistry;
use citycode_service_kit::shutdown::Signal;
use citycode_token::IdCheckKey;
use citycode_vault::VaultError;
use parking_lot::Mutex;
use tonic::service::Routes;

use super::erasures::{self as marked, ErasureMark};
use super::ground::{self, Ground};
use super::settings::ServiceSettings;
use super::{Role, Service, desk, grpc_router};
use crate::compose::following::spawn_erasures;
use crate::compose::{StartError, Surroundings, faces};

pub(super) async fn open(
    settings: &ServiceSettings,
    surroundings: &Surroundings,
    health: &HealthRegistry,
    stopped: &Signal,
) -> Result<Service, StartError> {
    let ground = Ground::open(Role::Issuer, settings, surroundings, health).await?;
    let id_check_key = IdCheckKey::from_bytes(*ground.secret("id-check.key")?);
    let vault = ground.vault(Role::Issuer, settings, surroundings, health).await?;
    let signing = Arc::new(SigningKeys::load(KeyFolder::open(&ground.state.join("keys"))?)?);
    let names = ListNames::new(ground.secret("list-names.key")?);
    let leases = Arc::new(IndexLeases::new(names));
    let (erasures, erased) = ErasureQueue::new();
    let register = desk::register(&ground, settings, surroundings, health).await?;
    let component = health.component("erasures");
    let left = loop {
        match marked::apply_again(&vault, &ground.log, &register.snapshot.reaches()).await {
            Err(StartError::Vault(error @ VaultError::Unavailable(_))) => ground::wait_for(&component, &error).await,
            ended => break ended?,
        }
    };
    let refolded: Vec<Arc<dyn SystemFold>> = vec![signing.clone(), leases.clone()];
    let kept_erasures = Some(erasures.clone() as Arc<dyn SystemFold>);
    let folds = desk::Folds {
        register,
        refolded,
        erasures: kept_erasures,
    };
    let desk = desk::open(&ground, folds, settings, surroundings, health, &vault).await?;
    let mark = ErasureMark {
        vault: Arc::clone(&vault),
        log: Arc::clone(&ground.log),
        queue: Arc::clone(&erasures),
        progress: desk.progress.clone(),
        left: Mutex::new(left),
    };
    let mut tasks = vec![
        desk.follower,
        spawn_erasures(vault, erased, component),
        ground.answer_echoes(surroundings),
    ];
    let reached = tokio::select! {
        reached = async {
            desk.progress.wait_until_live().await.map_err(StartError::Follow)?;
            // Whom the log called erased on the way is forgotten before anybody is served.
            erasures.wait_until_done().await;
            Ok(())
        } => reached,
        () = stopped.clone().wait() => Err(StartError::Interrupted),
    };
    reached?;
    desk.starting.caught_up(&desk.progress.position());
    let issuer = Arc::new(Issuer {
        desk: desk.desk,
        keys: signing,
        leases,
        id_check_key,
        erasures,
    });
    issuer.ensure_signing_key().await.map_err(StartError::FirstKey)?;
    let keeping = Arc::clone(&issuer);
    tasks.push(tokio::spawn(async move { keeping.keep_signing_key().await }));
    let ending = Arc::clone(&issuer);
    tasks.push(tokio::spawn(async move { ending.keep_ending_orphaned().await }));
    let authenticate = faces::authenticate(&ground.tokens, &surroundings.clock);
    Ok(Service {
        router: grpc_router(Routes::new(faces::issuer(&issuer, &authenticate)))?,
        snapshots: vec![Arc::new(mark), Arc::new(desk.snapshot)],
        tasks,
        kept: Some(Box::new(ground.state)),
    })
}
