//! Real faults, and afterwards a checker that compares all answers with the whole log.
//!
//! Each test runs a town on real NATS servers under load and injects a fault into its servers, network, disks or
//! messages. Faults of services as separate processes are in `tests/distributed`.

mod disks;
mod messages;
mod network_partitions;
mod servers;
mod town;
