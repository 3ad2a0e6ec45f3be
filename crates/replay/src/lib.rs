//! The log at any position: the life of each code, the signing keys and the policies, and the recomputation of recorded
//! verdicts from them (R26).
//!
//! | module | content |
//! |---|---|
//! | [`Timeline`] | folds commits and keeps, for every code, the changes of its status with their positions |
//! | `recompute` | a scan record and a timeline → the verdict that follows from them |
//! | `steps` | the questions of R23 that led to a verdict |
//!
//! The status of a code follows from the same effects of events as in the projection of the verifiers
//! (`citycode_projection::status::effects_of`), and the verdict from the same function (`citycode_domain::admission`).
//! This crate reads no log and no files: callers pass commits and records.

mod keys;
mod life;
mod lives;
mod losses;
mod recompute;
mod steps;
mod timeline;

pub use keys::{KeyChange, KeyHistory};
pub use life::{CodeLife, LifeChange};
pub use losses::Losses;
pub use recompute::{AsOf, NotRecomputable, Recomputed, ShownCode, judge_at, judge_code, recompute};
pub use steps::{Outcome, Step, steps_of};
pub use timeline::{LogFault, PolicyInLog, SealedBatches, Timeline, TimelineError};
