//! Tests of the revocation service with the in-memory log and a real vault: authorisation, idempotent repeats, sealed
//! reasons, and the content and freshness of the public status lists.

mod city;
mod lists;
mod loss;
mod officer;
mod standing;
