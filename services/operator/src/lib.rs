//! Commands of operators. They open event logs, vaults and NATS accounts directly, with their own credentials, and need
//! no running service.
//!
//! | module | does |
//! |---|---|
//! | [`secrets`] | creates every key, credential and certificate of a city |
//! | [`provision`] | creates the streams of a city on NATS servers, and checks those that exist |
//! | [`migrate`] | copies a log to another engine, or restores it from an archive |
//! | [`archive`] | follows a log and keeps a verified copy of it |
//! | [`vault`] | backs up, restores, imports and re-keys a vault; suspends the codes of holders who are not in it |
//! | [`log`] | shows the message at a position of the log; declares it foreign |
//! | [`witness`] | cosigns checkpoints of a log that only grew |

mod accounts;
pub mod archive;
pub mod log;
pub mod migrate;
pub mod provision;
pub mod secrets;
pub mod vault;
pub mod witness;
