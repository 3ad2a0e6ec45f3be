//! `citycode-issuer`.

use std::sync::Arc;

use citycode_holder_log::SystemFold;
use citycode_issuer::{ErasureQueue, IndexLeases, Issuer, KeyFolder, SigningKeys};
use citycode_service_kit::auth::Authenticate;
use citycode_service_kit::health::HealthRegistry;
use citycode_service_kit::shutdown::Signal;
use citycode_token::IdCheckKey;
use tonic::service::Routes;

use super::ground::Ground;
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
    let leases = Arc::new(IndexLeases::default());
    let (erasures, erased) = ErasureQueue::new();
    let refolded: Vec<Arc<dyn SystemFold>> = vec![signing.clone(), leases.clone()];
    let kept_erasures = Some(erasures.clone() as Arc<dyn SystemFold>);
    let desk = desk::open(&ground, settings, surroundings, health, &vault, refolded, kept_erasures).await?;
    if desk.starting.is_from_shared() {
        // Whoever folded these erasures may be gone, and may have gone before the vault forgot: it is asked again.
        let register = Arc::clone(desk.snapshot.register());
        let erased = tokio::task::spawn_blocking(move || register.erased_holders()).await;
        erased
            .unwrap_or_default()
            .into_iter()
            .for_each(|holder| erasures.ask(holder));
    }
    let mut tasks = vec![
        desk.follower,
        spawn_erasures(vault, erased, health.component("erasures")),
        ground.answer_echoes(surroundings),
    ];
    let reached = tokio::select! {
        reached = desk.progress.wait_until_live() => reached.map_err(StartError::Follow),
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
    let authenticate = Authenticate::optional(Arc::clone(&ground.tokens), Arc::clone(&surroundings.clock));
    Ok(Service {
        router: grpc_router(Routes::new(faces::issuer(&issuer, &authenticate)))?,
        snapshots: vec![Arc::new(desk.snapshot)],
        tasks,
        kept: Some(Box::new(ground.state)),
    })
}
