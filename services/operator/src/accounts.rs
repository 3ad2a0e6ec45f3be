//! Whether the accounts on the NATS servers were made for as many partitions as the log has.
//!
//! `citycode secrets --partitions N` names each partition's stream in the permissions. If the numbers differ, either no
//! service may use some partitions, or a seed that creates streams stays dangerous.

use citycode_event_store::Layout;
use citycode_event_store_jetstream::{self as jetstream, OpenError};
use citycode_terminal::failure::Failure;
use citycode_terminal::output;

/// What the servers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Partitions {
    /// Those of the existing log.
    pub(crate) of_log: Option<u16>,
    /// Those that the accounts name; none if the accounts name no streams.
    pub(crate) of_accounts: Option<u16>,
}

/// A difference between the log and the accounts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// It must not be ignored: why, and what to do.
    Refused(String, String),
    /// The log can be used, but is not as safe as it could be.
    Unsafe(String),
}

/// Asks the servers.
///
/// # Errors
/// [`OpenError`].
pub(crate) async fn inspect(config: &jetstream::Config) -> Result<Partitions, OpenError> {
    let of_accounts = jetstream::partitions_of_accounts(&config.connection).await?;
    // Without permission there is no answer.
    let of_log = match of_accounts {
        Some(0) => None,
        _ => jetstream::existing_layout(config).await?,
    };
    Ok(Partitions {
        of_log: of_log.as_ref().map(Layout::partitions),
        of_accounts,
    })
}

/// Compares them with the number of partitions that was asked for.
pub(crate) fn difference(found: Partitions, asked: u16) -> Option<Difference> {
    let Partitions { of_log, of_accounts } = found;
    if let Some(of_log) = of_log.filter(|of_log| *of_log != asked) {
        let why = format!("the event log has {of_log} partitions, which never change, and --partitions is {asked}");
        return Some(Difference::Refused(why, format!("run it with --partitions {of_log}")));
    }
    let of_accounts = of_accounts.filter(|of_accounts| *of_accounts != asked)?;
    if of_accounts == 0 {
        let why = "the accounts on the servers let this NATS user create no partition of a log".to_owned();
        return Some(Difference::Refused(
            why,
            "use the seed nats/provision.nk of `citycode secrets`, or nats/restore.nk for a copy".to_owned(),
        ));
    }
    let made = format!(
        "the accounts on the servers were made for {of_accounts} partitions (`citycode secrets --partitions \
         {of_accounts}`), and "
    );
    let again = format!(
        "run `citycode secrets --dir DIR --partitions {asked}`, install the new nats/accounts.conf on every server, \
         reload each (kill -s HUP), and run this again"
    );
    let whose = match of_log {
        Some(_) => format!("the log has {asked}"),
        None => format!("--partitions is {asked}"),
    };
    if of_accounts < asked {
        let why = format!("{made}{whose}: no user may create or read partitions from {of_accounts} on");
        let fix = match of_log {
            Some(_) => again,
            None => format!("run it with --partitions {of_accounts}; or, for {asked} partitions, {again}"),
        };
        return Some(Difference::Refused(why, fix));
    }
    let thief = "a thief of a seed that creates streams could create the others with settings of his own";
    Some(match of_log {
        Some(_) => Difference::Unsafe(format!("{made}{whose}: {thief}; {again}")),
        None => Difference::Refused(
            format!("{made}{whose}: {thief}"),
            format!("run it with --partitions {of_accounts}; or, for {asked} partitions, {again}"),
        ),
    })
}

/// Before a log with this layout is copied to servers.
///
/// # Errors
/// A [`Failure`] that says what to do.
pub(crate) async fn check_target(config: &jetstream::Config, layout: Layout, place: &str) -> Result<(), Failure> {
    let failed = |why: &dyn std::fmt::Display, fix: &str| {
        Failure::local(format_args!("the log at {place} cannot be used"), why, fix)
    };
    let found = inspect(config).await;
    let found = found.map_err(|error| failed(&error, "fix the cause and run it again"))?;
    let copied = Partitions {
        of_log: Some(layout.partitions()),
        ..found
    };
    match difference(copied, layout.partitions()) {
        None => Ok(()),
        Some(Difference::Refused(why, fix)) => Err(failed(&why, &fix)),
        Some(Difference::Unsafe(why)) => {
            output::note(why);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(of_log: Option<u16>, of_accounts: Option<u16>) -> Partitions {
        Partitions { of_log, of_accounts }
    }

    #[test]
    fn equal_numbers_and_servers_without_accounts_are_no_difference() {
        for (of_log, of_accounts) in [(None, None), (Some(4), None), (None, Some(4)), (Some(4), Some(4))] {
            assert_eq!(difference(found(of_log, of_accounts), 4), None);
        }
    }

    #[test]
    fn each_difference_names_the_numbers_and_the_next_step() {
        for (of_log, of_accounts, asked, words) in [
            (
                Some(16),
                None,
                4,
                ["has 16 partitions", "--partitions is 4", "run it with --partitions 16"],
            ),
            (
                None,
                Some(16),
                4,
                ["made for 16", "a thief", "secrets --dir DIR --partitions 4"],
            ),
            (
                None,
                Some(4),
                16,
                ["made for 4", "partitions from 4 on", "run it with --partitions 4;"],
            ),
            (
                Some(16),
                Some(4),
                16,
                ["made for 4", "the log has 16", "secrets --dir DIR --partitions 16"],
            ),
            (
                None,
                Some(0),
                16,
                ["no partition", "nats/provision.nk", "citycode secrets"],
            ),
        ] {
            let Some(Difference::Refused(why, fix)) = difference(found(of_log, of_accounts), asked) else {
                panic!("{of_log:?} {of_accounts:?} {asked}");
            };
            let said = format!("{why}; {fix}");
            for word in words {
                assert!(said.contains(word), "{said}");
            }
        }
    }

    #[test]
    fn accounts_for_more_partitions_than_an_existing_log_has_are_reported() {
        let Some(Difference::Unsafe(why)) = difference(found(Some(4), Some(16)), 4) else {
            panic!("it is reported");
        };
        assert!(why.contains("a thief") && why.contains("--partitions 4"), "{why}");
    }
}
