//! Tests of the verifier's rules, through the method that both APIs call and through the scan function.

mod answers;
mod cards;
mod city;
mod confined;
mod freshness;
mod keys;
mod knowledge;
mod other_times;
mod places;
mod registrations;
mod reissue_race;
mod requests;
mod slow_vault;
mod snapshots;
mod streams;
mod witnesses;
