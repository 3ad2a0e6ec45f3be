//! The minimum reader version of new logs, and how that of an older log is raised.

use super::{EngineFactory, append, append_any, commit, small_layout, stream};
use crate::{BucketTail, RaiseError, ReaderVersion};

/// The minimum of a new log is this program's version. The minimum of an earlier release's log can be raised but not
/// lowered, and the log stays usable. A restart preserves the raised version.
pub async fn the_minimum_reader_version_is_raised_and_never_lowered(factory: &dyn EngineFactory) {
    let new = factory.create(small_layout()).await;
    assert_eq!(new.minimum_reader(), ReaderVersion::CURRENT);
    drop(new);

    let old = factory.create_at(small_layout(), ReaderVersion::FIRST).await;
    assert_eq!(old.minimum_reader(), ReaderVersion::FIRST);
    let (_, tail) = append(&*old, commit(stream(1), 1), BucketTail::EMPTY).await;
    let beyond = ReaderVersion(ReaderVersion::CURRENT.0 + 1);
    assert_eq!(
        old.raise_minimum_reader(beyond).await,
        Err(RaiseError::NotRead { to: beyond }),
        "this program does not support the version"
    );
    assert_eq!(old.minimum_reader(), ReaderVersion::FIRST);
    for to in [
        ReaderVersion::FIRST,
        ReaderVersion::CURRENT,
        ReaderVersion::CURRENT,
        ReaderVersion::FIRST,
    ] {
        let expected = old.minimum_reader().max(to);
        assert_eq!(old.raise_minimum_reader(to).await, Ok(expected));
        assert_eq!(old.minimum_reader(), expected);
    }
    append(&*old, commit(stream(1), 2), tail).await;

    let heads = old.heads().await.expect("readable");
    let Some(again) = factory.restart(old).await else {
        return;
    };
    assert_eq!(again.minimum_reader(), ReaderVersion::CURRENT);
    assert_eq!(again.heads().await, Ok(heads));
    append_any(&*again, commit(stream(2), 3)).await;
}
