//! A city whose services run apart: real processes of every service on real NATS servers, used through the portals.

mod aimed;
mod assertions;
mod brought_back;
mod chronicle;
mod city;
mod clocks;
mod comings;
mod deadlines;
mod declared;
mod faults;
mod flooded;
mod foreign;
mod grown;
mod issuers;
mod kept;
mod life;
mod mutual;
mod observed;
mod older_vault;
mod prometheus;
#[path = "../identity/provider.rs"]
mod provider;
mod raised;
mod rebuilt;
mod recorded;
mod renamed;
mod restored;
mod rotated;
mod samples;
mod secured;
mod shared_snapshots;
mod thieves;
mod traced;
