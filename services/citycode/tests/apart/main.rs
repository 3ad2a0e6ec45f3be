//! A city whose services run apart: real processes of every service on real NATS servers, used through the portals.

mod city;
mod comings;
mod kept;
mod life;
mod mutual;
mod observed;
mod prometheus;
mod recorded;
mod samples;
mod secured;
mod shared_snapshots;
mod traced;
