//! Core subjects by which readers prove that they are fresh: what permissions of NATS users name. See `echo`.

/// Readers of version 1 publish their numbers here.
pub const ECHO_V1: &str = "cc.echo.v1";
/// Readers of version 2 publish their nonces under this.
const ECHO_V2: &str = "cc.echo.v2";
/// Writers publish the lists here whose digests their commits carry.
pub const LISTS: &str = "cc.echoed.v2";

/// `cc.echo.v2.ROLE.INSTANCE`: where one instance of a role publishes its nonces. `*` stands for any.
#[must_use]
pub fn echo(role: &str, instance: &str) -> String {
    format!("{ECHO_V2}.{role}.{instance}")
}
