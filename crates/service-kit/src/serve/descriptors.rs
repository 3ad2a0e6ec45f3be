//! The limit on open files and sockets of this process.

/// Raises the soft limit on open descriptors to the hard one. Shells and service managers set a soft limit of 1,024 for
/// programs that use select(2), which this program does not; a thousand idle clients would exhaust it.
///
/// Returns the limit that is now in effect.
pub fn raise_limit() -> u64 {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let is_lower = match (current, maximum) {
            (Some(current), Some(maximum)) => current < maximum,
            (current, None) => current.is_some(),
            (None, Some(_)) => false,
        };
        if is_lower {
            let raised = Rlimit {
                current: maximum,
                maximum,
            };
            match setrlimit(Resource::Nofile, raised) {
                Ok(()) => tracing::info!(from = ?current, to = ?maximum, "the limit on open files was raised"),
                Err(error) => tracing::warn!(%error, "the limit on open files could not be raised"),
            }
        }
    }
    limit()
}

/// The limit in effect.
#[cfg(target_os = "linux")]
pub(super) fn limit() -> u64 {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The limit in effect, which is not known on this system.
#[cfg(not(target_os = "linux"))]
pub(super) fn limit() -> u64 {
    u64::MAX
}
