//! Runs the services of citycode: all of them in one process on an embedded store, or each in a separate process on
//! NATS servers.
//!
//! | module | does |
//! |---|---|
//! | [`up`] | one process on a data folder: checks and opens its parts, starts and stops the system |
//! | [`distributed`] | one service in a process on NATS servers |
//! | [`wiring`] | common parts of both: projections that follow the log, their snapshots, services with authentication |
//! | [`local_token`] | lets a client on the machine of `up` find the local admin's token |

pub mod distributed;
pub mod local_token;
pub mod up;
pub mod wiring;
