//! Faults that are really done, and afterwards the checker: what everybody was told against the whole log.
//!
//! Each test is a town on real NATS servers under load, and something that happens to its servers, its network, its
//! disks or its messages. What happens to services as processes of their own stands in `tests/distributed`.

mod disks;
mod messages;
mod servers;
mod town;
mod wires;
