//! Audits against a generated month of a small city: verifiers with two policies, rotations of keys, losses, holds,
//! erasures, crashes, forged and unreadable codes. Every recorded verdict is recomputed and agrees; every manipulation of
//! the records, the log, its trees and its checkpoints is found.

mod agreement;
mod city;
mod damaged_log;
mod export;
mod faults;
mod index_manipulations;
mod log_manipulations;
mod manipulations;
mod past;
mod query_manipulations;
