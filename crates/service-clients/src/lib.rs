//! gRPC clients of the services. The JSON API and the web pages share them.
//!
//! | module | content |
//! |---|---|
//! | [`clients`] | clients over any transport: in-process routes, or channels to other machines |
//! | `balancer` | load balancing over the instances of a service, with failover |
//! | `transport` | the type of a transport of gRPC calls, and its error |

mod balancer;
pub mod clients;
mod transport;

pub use balancer::ServedBy;
pub use clients::{Clients, ConnectError, Endpoints, Reached};
pub use transport::{Transport, TransportError};
