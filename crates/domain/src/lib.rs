//! The business rules of citycode: the lifecycle of codes, and the verdict of a place on a scan.
//!
//! The crate is pure and `no_std`: nothing here reads a clock, draws randomness, logs, blocks or depends on a
//! byte format. `now` and every random draw are arguments, and results are values. So the same code serves the
//! issuer, the verifier, an offline gate and a replay years later, and gives the same answer.
//!
//! - [`lifecycle`]: (state, command, policy, now) → events, and events → state.
//! - [`admission`]: (claims, status, place, proof, now) → verdict.
//! - [`policy`]: what a city may configure; the crate `policy-file` reads a policy file.
//!
//! Rule numbers (R1…) refer to `docs/rules.md`; each test names the rule that it verifies.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod admission;
pub mod claims;
pub mod event;
pub mod id_number;
pub mod ids;
pub mod lifecycle;
pub mod name;
pub mod policy;
pub mod reason;
pub mod standing;
pub mod status;
pub mod time;
