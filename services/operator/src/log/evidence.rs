//! Evidence that the position of a foreign message once had a commit.

use std::fs::File;
use std::path::Path;

use citycode_event_store::{EventStore, RecordedCommit};
use citycode_projection::foreign::{Witness, witness};

use super::{Place, message_at, unreadable};
use citycode_log_folds::identity_of;
use citycode_terminal::failure::Failure;

fn proved(witness: impl std::fmt::Display) -> Failure {
    Failure::usage(
        format_args!("{witness} has a valid commit at this position: the log's message is that commit, damaged"),
        "restore the log from its archive (docs/operations.md); a declaration would lose the change",
    )
}

/// Compares with the archive, if one is named.
///
/// An archive that ends before the position proves nothing, so it is refused unless `may_be_behind`.
pub(super) async fn check_archive(
    place: &Place,
    may_be_behind: bool,
    log: &dyn EventStore,
    message: &RecordedCommit,
) -> Result<(), Failure> {
    let Some(archive) = place.open_archive(log).await? else {
        return Ok(());
    };
    match message_at(&*archive, message.position).await? {
        None if may_be_behind => Ok(()),
        None => {
            let partition = message.position.partition;
            let heads = archive.heads().await.map_err(|error| unreadable(&error))?;
            Err(Failure::usage(
                format_args!(
                    "the archive ends at {partition}/{}, before this position: it proves nothing",
                    heads.sequence(partition)
                ),
                "name an archive that extends further, or accept that this one is behind (--archive-is-behind)",
            ))
        }
        Some(archived) if archived.foreign.is_some() && archived.hash == message.hash => Ok(()),
        Some(archived) if archived.foreign.is_some() => Err(proved("the archive, which has another message there,")),
        Some(_) => Err(proved("the archive")),
    }
}

fn proves_nothing(path: &Path, why: &str) -> Failure {
    Failure::usage(
        format_args!("the snapshot {} {why}: it proves nothing", path.display()),
        "name the snapshot of another follower, or omit this one",
    )
}

/// Compares with a follower's snapshot.
pub(super) fn check_snapshot(path: &Path, log: &dyn EventStore, message: &RecordedCommit) -> Result<(), Failure> {
    let file = File::open(path).map_err(|error| Failure::file("read", path, error))?;
    let position = message.position;
    let witness = witness(&identity_of(log), file, position.partition.0, position.sequence.0);
    match witness.map_err(|error| Failure::file("use", path, error))? {
        Witness::NotReached => Err(proves_nothing(path, "ends before this position")),
        Witness::Unknown => Err(proves_nothing(
            path,
            "was folded by an older release, which treated copies of commits as commits",
        )),
        Witness::Foreign(known) if known.digest == message.hash.0 => Ok(()),
        Witness::Foreign(_) | Witness::Commit => Err(proved(format_args!("the snapshot {}", path.display()))),
    }
}
