//! What a place answers to a scan: one pure function, run by the verifier, by the gate and by replay.

mod explanation;
mod judge;
mod verdict;

pub use explanation::{Explanation, explain};
pub use judge::{Evidence, IdCardEvidence, IdCheck, Knowledge, ProofState, judge, judge_id_card};
pub use verdict::{Decision, Reason, Verdict};
