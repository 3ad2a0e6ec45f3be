//! Mutual TLS between services: a server accepts only callers with a certificate of the city's authority, and a caller
//! accepts only a server whose certificate has the name of the requested service.
//!
//! The extended key usage (RFC 5280 §4.2.1.12) restricts a certificate: one for servers only cannot call, one for
//! clients only cannot impersonate a service. A certificate authenticates a machine; the access token authenticates
//! the caller, with or without TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::files::{self, FileError};

/// The only supported protocol (ALPN, RFC 7301).
const HTTP2: &[u8] = b"h2";

/// The files of the own certificate and of the authority's, all PEM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MutualTls {
    /// The authority that issued the other side's certificates.
    pub ca_file: PathBuf,
    /// The own certificate.
    pub certificate_file: PathBuf,
    /// Its private key, mode 0600.
    pub certificate_key_file: PathBuf,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate cannot be read.
    #[error("the certificate {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The private key cannot be read, or other users may read it.
    #[error("the certificate's private key cannot be used: {0}")]
    Key(#[from] FileError),
    /// A file contains no valid certificate or key, or they do not belong together.
    #[error("the certificates are invalid")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl MutualTls {
    /// The server configuration: a client must present a client certificate of the authority.
    pub(crate) fn server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca_file)? {
            roots
                .add(certificate)
                .map_err(|error| TlsError::Refused(error.into()))?;
        }
        let clients = WebPkiClientVerifier::builder(Arc::new(roots))
            .build()
            .map_err(|error| TlsError::Refused(error.into()))?;
        let key = files::read_private(&self.certificate_key_file)?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| TlsError::Refused(error.into()))?;
        let mut config = ServerConfig::builder()
            .with_client_cert_verifier(clients)
            .with_single_cert(certificates(&self.certificate_file)?, key)
            .map_err(|error| TlsError::Refused(error.into()))?;
        config.alpn_protocols.push(HTTP2.to_vec());
        Ok(Arc::new(config))
    }

    /// The client configuration for the service `name`, independent of its address.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn client_of(&self, name: &str) -> Result<ClientTlsConfig, TlsError> {
        Ok(ClientTlsConfig::new()
            .identity(self.identity()?)
            .ca_certificate(authority(&self.ca_file)?)
            .domain_name(name))
    }

    fn identity(&self) -> Result<Identity, TlsError> {
        let key = files::read_private(&self.certificate_key_file)?;
        Ok(Identity::from_pem(read(&self.certificate_file)?, &*key))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    all.map_err(|error| TlsError::Refused(error.into()))
}

fn authority(path: &Path) -> Result<Certificate, TlsError> {
    read(path).map(Certificate::from_pem)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}
