//! A city whose services run apart: real processes of every service on real NATS servers, used through the portals.

mod archive;
mod assertions;
mod city;
mod clock_skew;
mod code_lifecycle;
mod concurrent_issuers;
mod deadlines;
mod declare_foreign;
mod disaster_recovery;
mod faults;
mod foreign_messages;
mod instance_churn;
mod master_key_rotation;
mod minimum_reader;
mod monitoring;
mod move_to_nats;
mod mutual_tls;
mod name_correction;
mod nats_permissions;
mod observations;
mod probe_flood;
mod prometheus;
#[path = "../identity/provider.rs"]
mod provider;
mod reply_subjects;
mod sample_configs;
mod scan_registration;
mod server_rollback;
mod shared_snapshots;
mod stolen_credentials;
mod tracing_spans;
mod vault_restore;
mod vault_rollback;
