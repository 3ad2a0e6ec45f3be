//! The transport of gRPC calls, which [`clients`](crate::clients) use and `balancer` implements.

use tower::BoxError;
use tower::util::BoxCloneSyncService;

/// A transport of gRPC calls: a channel to another machine, or the services' own routes in this process.
pub type Transport =
    BoxCloneSyncService<http::Request<tonic::body::Body>, http::Response<tonic::body::Body>, TransportError>;

/// A call could not be transported.
#[derive(Debug, thiserror::Error)]
#[error("the service cannot be reached")]
pub struct TransportError(#[source] pub(crate) BoxError);
