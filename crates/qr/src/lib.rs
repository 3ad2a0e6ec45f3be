//! QR symbols, print sheets, and reading them.
