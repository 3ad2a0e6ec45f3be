//! Runs the services of citycode: all of them in one process on an embedded store, or each in a process of its own on
//! NATS servers.
//!
//! | module | does |
//! |---|---|
//! | [`up`] | one process on a data folder: its parts, its age, its start and its end |
//! | [`distributed`] | one service in a process on NATS servers |
//! | [`wiring`] | what both are built from: folds that follow the log, their snapshots, services behind authentication |
//! | [`local_token`] | how a client on the machine of `up` finds the local admin's token |

pub mod distributed;
pub mod local_token;
pub mod up;
pub mod wiring;
