//! Who can prove that a commit stood where a foreign message stands now.

use std::fs::File;
use std::path::Path;

use citycode_event_store::{EventStore, RecordedCommit};
use citycode_projection::foreign::{Witness, witness};

use super::{Place, stands};
use crate::compose::snapshots::identity_of;
use crate::failure::Failure;

fn proved(who: impl std::fmt::Display) -> Failure {
    Failure::usage(
        format_args!("{who} has a valid commit at this position: the message there is that commit, damaged"),
        "bring the log back from its archive (docs/operations.md); a declaration would lose the change",
    )
}

/// Asks the archive, if one is named.
pub(super) async fn ask_archive(place: &Place, log: &dyn EventStore, message: &RecordedCommit) -> Result<(), Failure> {
    let Some(archive) = place.open_archive(log).await? else {
        return Ok(());
    };
    match stands(&*archive, message.position).await? {
        None => Ok(()),
        Some(kept) if kept.foreign.is_some() && kept.hash == message.hash => Ok(()),
        Some(kept) if kept.foreign.is_some() => Err(proved("the archive, which keeps another message there,")),
        Some(_) => Err(proved("the archive")),
    }
}

/// Asks one snapshot of a follower.
pub(super) fn ask_snapshot(path: &Path, log: &dyn EventStore, message: &RecordedCommit) -> Result<(), Failure> {
    let file = File::open(path).map_err(|error| Failure::file("read", path, error))?;
    let position = message.position;
    let said = witness(&identity_of(log), file, position.partition.0, position.sequence.0);
    match said.map_err(|error| Failure::file("use", path, error))? {
        Witness::NotReached => Ok(()),
        Witness::Foreign(known) if known.digest == message.hash.0 => Ok(()),
        Witness::Foreign(_) | Witness::Commit => Err(proved(format_args!("the snapshot {}", path.display()))),
    }
}
