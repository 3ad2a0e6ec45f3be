//! Tiles as files of a folder, which a static web server can publish as it is.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::{BundleId, Put, TileId, TileSource, TileStore};

/// Tiles that were put and not flushed; a folder beside the tiles, so that files can be renamed out of it.
const STAGED: &str = "staged";
const STATE: &str = "state";
const STATE_DRAFT: &str = "state.draft";
/// From this number of files on, one flush of the whole file system costs less than a flush of each file.
const FLUSH_FILE_SYSTEM_FROM: usize = 16;

/// A store in a folder.
///
/// A tile is written under a temporary name and renamed at the next flush, after its content is durable: so no crash
/// leaves part of a tile under its name.
#[derive(Debug)]
pub struct DirectoryTiles {
    root: PathBuf,
    /// The tiles to rename at the next flush. The file of the n-th has the number n.
    staged: Vec<String>,
}

impl DirectoryTiles {
    /// Opens a folder, creates it if necessary, and removes what a crash left unflushed.
    ///
    /// # Errors
    /// If the folder cannot be used.
    pub fn open(root: &Path) -> io::Result<Self> {
        let staging = root.join(STAGED);
        match fs::remove_dir_all(&staging) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(&staging)?,
        }
        Ok(Self {
            root: root.to_owned(),
            staged: Vec::new(),
        })
    }

    fn staged_file(&self, number: usize) -> PathBuf {
        self.root.join(STAGED).join(number.to_string())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(self.root.join(folder))?.sync_all()
    }

    fn sync_staged(&self) -> io::Result<()> {
        if self.staged.len() >= FLUSH_FILE_SYSTEM_FROM {
            return Ok(rustix::fs::syncfs(File::open(&self.root)?)?);
        }
        (0..self.staged.len()).try_for_each(|number| File::open(self.staged_file(number))?.sync_all())
    }
}

/// The content of a file; `None` if there is no such file.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

impl TileSource for DirectoryTiles {
    type Error = io::Error;

    /// Names that are no path of a tile or bundle have no bytes: none leads out of the folder.
    fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        if name.parse::<TileId>().is_err() && name.parse::<BundleId>().is_err() {
            return Ok(None);
        }
        read(&self.root.join(name))
    }
}

impl TileStore for DirectoryTiles {
    fn put(&mut self, name: &str, bytes: &[u8]) -> io::Result<Put> {
        if let Some(existing) = self.get(name)? {
            return Ok(if existing == bytes { Put::Stored } else { Put::Conflict });
        }
        fs::write(self.staged_file(self.staged.len()), bytes)?;
        self.staged.push(name.to_owned());
        Ok(Put::Stored)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sync_staged()?;
        let mut folders = BTreeSet::new();
        for (number, name) in self.staged.iter().enumerate() {
            let folder = Path::new(name).parent().unwrap_or(Path::new(""));
            if folders.insert(folder) {
                fs::create_dir_all(self.root.join(folder))?;
            }
            fs::rename(self.staged_file(number), self.root.join(name))?;
        }
        // A folder is durable once the folders above it are.
        let above: BTreeSet<&Path> = folders.iter().flat_map(|folder| folder.ancestors()).collect();
        above.into_iter().try_for_each(|folder| self.sync_folder(folder))?;
        self.staged.clear();
        Ok(())
    }

    fn state(&self) -> io::Result<Option<Vec<u8>>> {
        read(&self.root.join(STATE))
    }

    fn replace_state(&mut self, state: &[u8]) -> io::Result<()> {
        let draft = self.root.join(STATE_DRAFT);
        let mut file = File::create(&draft)?;
        file.write_all(state)?;
        file.sync_all()?;
        fs::rename(draft, self.root.join(STATE))?;
        self.sync_folder(Path::new(""))
    }

    fn remove_partials(&mut self, tile: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.root.join(format!("{tile}.p"))) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
