//! Decide and append.
