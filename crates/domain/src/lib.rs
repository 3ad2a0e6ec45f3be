//! The business rules of citycode: what a code is, how it lives and dies, and what a place answers to it.
//!
//! Pure and `no_std`: nothing here reads a clock, draws randomness, logs, blocks or knows a byte format.
//! `now` and every random draw come in as arguments; what comes out are values. That is why the same code
//! serves the issuer, the verifier, an offline gate and a replay years later, and gives the same answer.
//!
//! - [`lifecycle`]: (state, command, policy, now) → events, and events → state.
//! - [`admission`]: (claims, status, place, proof, now) → verdict.
//! - [`policy`]: what a city may choose; a policy file is read by another crate.
//!
//! Rule numbers (R1…) refer to the product's rules; tests name the rule that they prove.
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
