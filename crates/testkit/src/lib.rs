//! What tests need and no product code may: made-up people, waiting for a condition, real processes.
//!
//! Only ever a dev-dependency. Everything random comes from a seed, so that a failing test fails again.
//! Nobody here is a real person: ID numbers are well formed and drawn from the seed.

pub mod checker;
mod child;
mod city;
mod commit;
mod disk;
mod draw;
mod eventually;
mod id_numbers;
mod nats;
mod network;
mod person;
mod port;
mod process;
mod road;

pub use child::Process;
pub use city::City;
pub use commit::commit_of;
pub use disk::{SlowDisk, SmallDisk};
pub use draw::Draw;
pub use eventually::{eventually, eventually_some};
pub use id_numbers::IdNumbers;
pub use nats::{NatsCluster, NatsServer, NatsSync};
pub use network::Network;
pub use person::{Person, PersonBuilder};
pub use port::free_port;
pub use process::{Running, StartError};
pub use road::{Road, Traffic};
