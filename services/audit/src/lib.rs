//! The audit service: the history of a code, and the recomputation of recorded verdicts. It reads the whole log and the
//! scan records, appends nothing, and has no signing keys.
//!
//! [`AuditIndex`] follows the log and stores on disk which commits belong to the holder of a code, so that a history is
//! found without scanning the log; it can be deleted and is then rebuilt by replay. [`Audit`] answers from the log
//! itself.
//!
//! | module | content |
//! |---|---|
//! | `history` | the events of a code and of the other codes of its slot |
//! | `as_of` | a holder's codes, and what the log can answer for, at a moment of the past |
//! | `past_list` | a status list as it was at an instant |
//! | `state` | the whole city's counts at an instant |
//! | `verify_at` | a code judged for a time in the past |
//! | `replayed` | the timeline of the whole log, or of one code |
//! | `explain` | one verdict, recomputed and explained |
//! | `run` | every recorded verdict of a period, recomputed |
//! | `queries` | the record of every question, before it is answered |
//! | `what_if` | the scans of a period under another policy |
//! | `export` | the events, verdicts and daily counts of a period as rows |
//! | `suppression` | which counts of a table are not shown |
//! | `log_trees` | public files of the log's trees, and proofs |
//! | `log_check` | the check of the log, and of the index and the stream of queries against it |
//! | [`grpc`] | the gRPC API |

mod as_of;
mod explain;
mod export;
pub mod grpc;
mod history;
mod index;
mod log_check;
mod log_trees;
mod past_list;
mod queries;
mod replayed;
mod run;
mod state;
mod suppression;
mod verify_at;
mod what_if;

pub use export::RowSink;
pub use history::Audit;
pub use index::{AuditIndex, IndexError, IndexReader};
pub use run::Observer;
