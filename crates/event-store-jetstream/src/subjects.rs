//! Core subjects by which readers prove that they are fresh: what permissions of NATS users name. See `echo`.

/// Readers of version 1 publish their numbers here.
pub const PROBES_V1: &str = "cc.echo.v1";
/// Readers of version 2 publish their nonces under this.
const PROBES_V2: &str = "cc.echo.v2";
/// Writers publish the lists here whose digests their commits carry.
pub const NONCE_LISTS: &str = "cc.echoed.v2";

/// `cc.echo.v2.ROLE.INSTANCE`: where one instance of a role publishes its nonces. `*` stands for any.
#[must_use]
pub fn probes(role: &str, instance: &str) -> String {
    format!("{PROBES_V2}.{role}.{instance}")
}
