//! The decision on a scan: one pure function that the verifier, offline gates and replay share.

mod explanation;
mod judge;
mod verdict;

pub use explanation::{Explanation, explain};
pub use judge::{Evidence, IdCardEvidence, IdCheck, Knowledge, ProofState, judge, judge_id_card};
pub use verdict::{Decision, Reason, Verdict};
