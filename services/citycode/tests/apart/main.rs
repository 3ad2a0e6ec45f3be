//! A city whose services run apart: real processes of every service on real NATS servers, used through the portals.

mod aimed;
mod brought_back;
mod city;
mod comings;
mod kept;
mod life;
mod rotated;
mod secured;
mod traced;
