//! Audits against a generated month of a small city: verifiers with two policies, rotations of keys, losses, holds,
//! erasures, crashes, forged and unreadable codes. Every recorded verdict is recomputed and agrees; every manipulation of
//! the records is found.

mod agreement;
mod city;
mod export;
mod manipulations;
