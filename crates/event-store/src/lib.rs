//! The event store's contract.
