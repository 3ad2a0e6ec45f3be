//! Revocation from outside, over the in-memory log and a real vault: who may end or hold what, that a repeat has no
//! second effect, that no reason stands in the log in the clear, and what the public lists say and when they may not.

mod city;
mod lists;
mod loss;
mod officer;
mod standing;
