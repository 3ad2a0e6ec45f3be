//! The check of owner and mode that applies to every secret and every data folder.
//!
//! An owner may change mode and content at any time, so the owner must be the user of this process or root. No other
//! user may have rights on it, with one exception: Kubernetes mounts Secrets read-only, owned by root and readable by
//! the group of `fsGroup`. On a read-only mount the group may read, because no user can widen the mode there.

use std::fs::{File, Metadata};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::{FileError, io_error};

/// Rights of the group and of others.
const GROUP_AND_OTHERS: u32 = 0o077;
/// Rights that the group may have on a read-only mount.
const GROUP_READS: u32 = 0o050;
const ROOT: u32 = 0;

/// Opens a file that holds a secret. The check applies to the opened file, even if the path is replaced meanwhile.
///
/// # Errors
/// As [`require_private`].
pub(super) fn open_private(path: &Path) -> Result<File, FileError> {
    let file = File::open(path).map_err(io_error("open", path))?;
    require_private(path, &file)?;
    Ok(file)
}

/// Requires that a file or folder is owned by this user or root, and that no other user has rights on it.
///
/// # Errors
/// [`FileError::OtherOwner`], [`FileError::TooOpen`], [`FileError::Io`].
pub(super) fn require_private(path: &Path, opened: &File) -> Result<(), FileError> {
    let metadata = opened.metadata().map_err(io_error("look at", path))?;
    let mode = metadata.permissions().mode() & 0o777;
    refuse_other_owner(path, &metadata)?;
    let too_wide = match mode & GROUP_AND_OTHERS {
        0 => false,
        rights if rights & !GROUP_READS == 0 => !is_read_only(opened).map_err(io_error("look at", path))?,
        _ => true,
    };
    if too_wide {
        return Err(FileError::TooOpen {
            path: path.to_path_buf(),
            mode,
        });
    }
    Ok(())
}

fn refuse_other_owner(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != user && owner != ROOT {
        return Err(FileError::OtherOwner {
            path: path.to_path_buf(),
            owner,
            user,
        });
    }
    Ok(())
}

/// Whether it is on a read-only mount.
fn is_read_only(opened: impl AsFd) -> std::io::Result<bool> {
    let mount = rustix::fs::fstatvfs(opened)?;
    Ok(mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::chown;
    use std::process::Command;

    use super::super::{create_private, create_private_dir, read_private};
    use super::*;

    /// The user `nobody` on every Linux.
    const NOBODY: u32 = 65_534;

    fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    #[test]
    fn a_secret_or_folder_of_another_user_is_refused_with_a_remedy() {
        assert!(is_root(), "only root can change the owner; nothing was tested");
        let dir = tempfile::tempdir().unwrap();
        let (file, folder) = (dir.path().join("key"), dir.path().join("keys"));
        create_private(&file, b"secret").unwrap();
        create_private_dir(&folder).unwrap();
        for path in [&file, &folder] {
            chown(path, Some(NOBODY), None).unwrap();
        }
        let refused = [read_private(&file).map(drop), create_private_dir(&folder)];
        for refused in refused {
            let refused = refused.unwrap_err();
            assert!(matches!(
                refused,
                FileError::OtherOwner {
                    owner: NOBODY,
                    user: 0,
                    ..
                }
            ));
            assert!(refused.to_string().contains("run: chown 0 "), "{refused}");
        }
    }

    /// Reads a secret as another user, in another process, which runs this test by its name.
    #[test]
    fn a_secret_of_root_is_accepted_for_every_user_who_may_read_it() {
        const FILE: &str = "CITYCODE_TEST_SECRET";
        if let Some(path) = std::env::var_os(FILE) {
            assert_eq!(rustix::process::geteuid().as_raw(), NOBODY);
            assert_eq!(&*read_private(Path::new(&path)).unwrap(), b"secret");
            return;
        }
        assert!(is_root(), "only root can become another user; nothing was tested");
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let path = dir.path().join("key");
        create_private(&path, b"secret").unwrap();
        // As a Kubernetes Secret is mounted: owned by root, readable by the group, on a read-only mount of its own.
        std::fs::set_permissions(&path, Permissions::from_mode(0o440)).unwrap();
        chown(&path, None, Some(NOBODY)).unwrap();
        let test = std::env::current_exe().unwrap();
        // A copy that every user may run, because the folders above the build may be private.
        let program = dir.path().join("test");
        std::fs::copy(&test, &program).unwrap();
        let script = format!(
            "mount --bind '{0}' '{0}' && mount -o remount,bind,ro '{0}' && \
             exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups '{1}' --exact \
             files::access::tests::a_secret_of_root_is_accepted_for_every_user_who_may_read_it",
            dir.path().display(),
            program.display(),
        );
        let mut command = Command::new("unshare");
        let ran = command.args(["--mount", "sh", "-c", &script]).env(FILE, &path).output();
        let ran = ran.unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
        // The same file on a writable mount is refused, although its mode is the same.
        let refused = read_private(&path).unwrap_err();
        assert!(matches!(refused, FileError::TooOpen { mode: 0o440, .. }), "{refused}");
    }
}
