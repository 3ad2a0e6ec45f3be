//! Commands of operators. They open event logs, vaults and NATS accounts themselves, with credentials of their own, and
//! need no running service.
//!
//! | module | does |
//! |---|---|
//! | [`secrets`] | makes every key, credential and certificate of a city |
//! | [`provision`] | creates the streams of a city on NATS servers, and checks those that exist |
//! | [`migrate`] | copies a log to another engine, or restores it from an archive |
//! | [`archive`] | follows a log and keeps a verified copy of it |
//! | [`vault`] | backs up, imports and checks a vault; suspends codes of people whom it does not know |
//! | [`log`] | shows a position of the log; declares a message there foreign |

pub mod archive;
pub mod log;
pub mod migrate;
pub mod provision;
pub mod secrets;
pub mod vault;
