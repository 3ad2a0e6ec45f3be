//! A city whose services run apart: real processes of every service on real NATS servers, used through the portals.

mod aimed;
mod brought_back;
mod chronicle;
mod city;
mod clocks;
mod comings;
mod faults;
mod flooded;
mod foreign;
mod grown;
mod issuers;
mod kept;
mod life;
mod mutual;
mod observed;
mod prometheus;
mod raised;
mod rebuilt;
mod recorded;
mod restored;
mod rotated;
mod samples;
mod secured;
mod shared_snapshots;
mod thieves;
mod traced;
