//! An issuer with the wiring of `up`, on the embedded engines, behind a gRPC server on loopback.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use citycode_auth::{Caller, CallerId, Role};
use citycode_command_auth::{Authorizer, CommandLimits};
use citycode_event_store::follow::{Progress, follow};
use citycode_event_store::{EventStore, Layout, LogId, LogPosition};
use citycode_event_store_embedded::{Config, EmbeddedEventStore, NewLog};
use citycode_holder_log::HolderLog;
use citycode_issuer::grpc::IssuerGrpc;
use citycode_issuer::{ErasureQueue, IndexLeases, Issuer, KeyFolder, SigningKeys};
use citycode_log_folds::RegisterFold;
use citycode_projection::register::HolderRegister;
use citycode_projection::status::{self, FingerprintKey};
use citycode_service_kit::clock::SystemClock;
use citycode_service_kit::entropy::{Draw as _, Entropy, OsEntropy};
use citycode_token::IdCheckKey;
use citycode_vault::Vault;
use citycode_vault::embedded::EmbeddedVault;
use citycode_wire::proto::issuer::v1::issuer_service_client::IssuerServiceClient;
use citycode_wire::proto::issuer::v1::issuer_service_server::IssuerServiceServer;
use tokio::task::JoinHandle;
use tonic::Request;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use zeroize::Zeroizing;

use crate::replay::StatusFold;

pub(crate) type Client = IssuerServiceClient<Channel>;

/// The running issuer.
pub(crate) struct IssuerUp {
    address: std::net::SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

/// The dependencies of an issuer.
pub(crate) struct Dependencies {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) vault: Arc<dyn Vault>,
    /// Whether a status projection in this process must fold a change before it is acknowledged, as in `up`.
    pub(crate) with_status: bool,
}

/// New embedded engines in a folder; also returns the vault with its own type, for its figures.
pub(crate) fn embedded(folder: &Path) -> Result<(Dependencies, Arc<EmbeddedVault>)> {
    let new_log = NewLog::new(LogId(OsEntropy.array()), Layout::default());
    let config = Config {
        create: Some(new_log),
        ..Config::default()
    };
    let store = EmbeddedEventStore::open(&folder.join("log"), &config)?;
    let master = Zeroizing::new(OsEntropy.array());
    let vault = Arc::new(EmbeddedVault::open(&folder.join("vault"), &master, random())?);
    let dependencies = Dependencies {
        store: Arc::new(store),
        vault: vault.clone(),
        with_status: true,
    };
    Ok((dependencies, vault))
}

pub(crate) fn random() -> citycode_vault::FillRandom {
    Arc::new(|buffer| OsEntropy.fill(buffer))
}

impl IssuerUp {
    /// Starts an issuer with a new log and a new vault; its keys are in `folder`.
    pub(crate) async fn start(folder: &Path, dependencies: &Dependencies) -> Result<Self> {
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
        let Dependencies {
            store,
            vault,
            with_status,
        } = dependencies;
        let layout = store.layout();
        let key_folder = KeyFolder::open(&folder.join("keys"))?;
        let leases = Arc::new(IndexLeases::new(key_folder.list_names(Some(&*entropy))?));
        let keys = Arc::new(SigningKeys::load(key_folder)?);
        let (erasures, _erased) = ErasureQueue::new();
        let register = Arc::new(HolderRegister::new(layout.partitions()));
        let start = LogPosition::start(layout.partitions());
        let (folded, seen) = (Progress::new(&start), Progress::new(&start));
        let mut register_fold = RegisterFold::new(
            Arc::clone(&register),
            vec![keys.clone(), leases.clone(), erasures.clone()],
        );
        let (writer, _reader) = status::new(layout.partitions(), FingerprintKey(entropy.array()));
        let mut status_fold = StatusFold(writer);
        let mut tasks = Vec::new();
        let (log, progress) = (Arc::clone(store), folded.clone());
        tasks.push(tokio::spawn(async move {
            drop(follow(&*log, &mut register_fold, &progress).await);
        }));
        let mut acknowledged_by = Vec::new();
        if *with_status {
            let (log, progress) = (Arc::clone(store), seen.clone());
            acknowledged_by.push(seen);
            tasks.push(tokio::spawn(async move {
                drop(follow(&*log, &mut status_fold, &progress).await);
            }));
        }
        let log = HolderLog::new(Arc::clone(store), register, folded.clone(), acknowledged_by);
        let policy = citycode_policy_file::parse(citycode_policy_file::SHANGHAI)
            .ok()
            .context("the policy")?;
        let authorizer = Authorizer {
            policy: Arc::new(policy),
            vault: Arc::clone(vault),
            log: Arc::new(log),
            clock: Arc::new(SystemClock::new()),
            limits: CommandLimits::new(&*entropy),
            entropy: Arc::clone(&entropy),
            assertions: None,
        };
        let issuer = Arc::new(Issuer {
            authorizer: Arc::new(authorizer),
            keys,
            leases,
            id_check_key: IdCheckKey::from_bytes(entropy.array()),
            erasures,
            queries: None,
        });
        folded.wait_until_live().await?;
        issuer.ensure_signing_key().await.ok().context("no signing key")?;
        let (address, server) = serve(issuer).await?;
        tasks.push(server);
        Ok(Self { address, tasks })
    }

    /// A client with a separate connection.
    pub(crate) async fn client(&self) -> Result<Client> {
        let endpoint = Channel::from_shared(format!("http://{}", self.address))?;
        Ok(IssuerServiceClient::new(endpoint.connect().await?))
    }

    /// Stops everything and closes the files.
    pub(crate) async fn stop(self) -> Result<()> {
        for task in self.tasks {
            task.abort();
            // The only error is that the task was aborted.
            let _ = task.await;
        }
        Ok(())
    }
}

async fn serve(issuer: Arc<Issuer>) -> Result<(std::net::SocketAddr, JoinHandle<()>)> {
    let id = CallerId::new("bench", "admin").context("an id")?;
    let admin = Arc::new(Caller::new(id, vec![Role::Admin]));
    let service = IssuerServiceServer::with_interceptor(IssuerGrpc(issuer), move |mut request: Request<()>| {
        request.extensions_mut().insert(Arc::clone(&admin));
        Ok(request)
    });
    // With TCP_NODELAY like the product's listener: otherwise each call waits 40 ms for an acknowledgement.
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into())?.with_nodelay(Some(true));
    let address = incoming.local_addr()?;
    let server = Server::builder().add_service(service).serve_with_incoming(incoming);
    let task = tokio::spawn(async move {
        if let Err(error) = server.await {
            eprintln!("citycode-bench: the server ended: {error}");
        }
    });
    Ok((address, task))
}
