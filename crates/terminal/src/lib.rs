//! What the programs of citycode print: data on standard output, one line about a failure on standard error, and an exit
//! code. It knows no command and no service.
//!
//! | module | does |
//! |---|---|
//! | [`failure`] | one line on standard error, a problem object (RFC 9457), an exit code |
//! | [`output`] | tables, JSON, lines of JSON on standard output; progress on standard error |

pub mod failure;
pub mod output;
