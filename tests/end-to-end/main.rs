//! End-to-end tests: the real binary, its HTTP API, its files, and `kill -9`.

mod assertions;
mod attack;
mod commands;
mod crash;
mod crowd;
mod doctor;
mod folders;
mod hostile;
mod id_numbers;
mod imports;
mod local_admin;
mod lost_changes;
mod lost_keys;
mod lost_parts;
mod model;
mod moved;
mod pictures;
mod privacy;
mod proxies;
mod queries;
mod renames;
mod restarts;
mod scan_lines;
mod server;
mod tokens;
mod tour;
