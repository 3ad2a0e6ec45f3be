//! The rules that a verifier keeps, through the function that both APIs call and through the scan below it.

mod answers;
mod cards;
mod city;
mod confined;
mod keys;
mod knowledge;
mod order;
mod places;
mod questions;
mod registrations;
mod slow_vault;
mod snapshots;
mod streams;
