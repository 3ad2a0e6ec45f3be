//! Test utilities: fictitious people, waiting for a condition, real processes, injected faults, and a log checker.
//!
//! Product code must not depend on this crate. All random values are derived from seeds, so that a failing test fails
//! again. All people are fictitious; their ID numbers are well formed and derived from the seed.

pub mod checker;
mod child;
mod city;
mod commit;
mod disk;
mod draw;
mod eventually;
mod id_numbers;
mod nats;
mod nats_proxy;
mod network;
mod person;
mod port;
mod process;
mod stored_bytes;

pub use child::Process;
pub use city::City;
pub use commit::{append_all, code_at, code_issued, commit_of};
pub use disk::{SlowDisk, SmallDisk};
pub use draw::Draw;
pub use eventually::{eventually, eventually_some};
pub use id_numbers::{IdNumbers, id_number};
pub use nats::{NatsCluster, NatsServer, NatsSync};
pub use nats_proxy::{NatsProxy, Traffic};
pub use network::Network;
pub use person::{Person, PersonBuilder};
pub use port::free_port;
pub use process::{Running, StartError};
pub use stored_bytes::StoredBytes;
