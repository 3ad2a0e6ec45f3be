//! The core NATS subjects of freshness probes, for the permissions of NATS users. See `probes`.

/// Readers publish version 1 nonces on this subject.
pub const PROBES_V1: &str = "cc.echo.v1";
/// Readers publish probes of version 2 under this prefix.
const PROBES_V2: &str = "cc.echo.v2";
/// Writers publish the lists of nonces whose digests their commits carry.
pub const NONCE_LISTS: &str = "cc.echoed.v2";

/// `cc.echo.v2.ROLE.INSTANCE`, the subject of the probes of one instance of a role. `*` matches any.
#[must_use]
pub fn probes(role: &str, instance: &str) -> String {
    format!("{PROBES_V2}.{role}.{instance}")
}
