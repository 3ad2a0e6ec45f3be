//! Certificates between services, both ways: a server takes only callers whose certificate rests on the city's
//! authority, and a caller takes only the server that has the name of the service it asks for.
//!
//! Which certificate may do what stands in the certificate (extended key usage, RFC 5280 §4.2.1.12): one for servers
//! alone cannot call, one for clients alone cannot pose as a service. A certificate says which machine speaks; which
//! person does is said by the access token, as without.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use crate::files::{self, FileError};

/// Longest handshake, so that a caller who says nothing holds no connection.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Where an own certificate and the authority's stand, all PEM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MutualTls {
    /// The authority on which the others' certificates rest.
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
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The private key cannot be read, or others may read it.
    #[error("the certificate's private key cannot be used: {0}")]
    Key(#[from] FileError),
    /// They are no certificates, or do not belong together.
    #[error("the certificates are refused")]
    Refused(#[source] tonic::transport::Error),
}

impl MutualTls {
    /// As a server: who connects must have a certificate of the authority's that is for clients.
    pub(crate) fn server(&self) -> Result<ServerTlsConfig, TlsError> {
        Ok(ServerTlsConfig::new()
            .identity(self.identity()?)
            .client_ca_root(authority(&self.ca_file)?)
            .timeout(HANDSHAKE))
    }

    /// As a client of the service `name`, whatever the address under which it is reached.
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

fn authority(path: &Path) -> Result<Certificate, TlsError> {
    read(path).map(Certificate::from_pem)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}
