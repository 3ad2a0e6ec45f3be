//! The system from outside: the real binary, its HTTP API, its files, and `kill -9`.

mod commands;
mod crash;
mod crowd;
mod doctor;
mod hostile;
mod lost_keys;
mod model;
mod moved;
mod privacy;
mod server;
mod tour;
