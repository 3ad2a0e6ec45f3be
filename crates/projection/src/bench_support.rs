//! Generators of a city at scale, for measuring.
