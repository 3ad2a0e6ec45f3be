//! Terminal output of the programs: data on standard output, one line about a failure on standard error, and an exit
//! code. This crate does not depend on any command or service.
//!
//! | module | does |
//! |---|---|
//! | [`failure`] | one line on standard error, a problem object (RFC 9457), an exit code |
//! | [`output`] | tables, JSON, lines of JSON on standard output; progress on standard error |

pub mod failure;
pub mod output;
