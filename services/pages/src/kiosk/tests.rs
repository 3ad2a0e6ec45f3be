//! Tests of the kiosk's pages.
