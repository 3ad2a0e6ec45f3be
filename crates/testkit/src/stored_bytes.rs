//! The bytes in the files of a server, to prove that something is stored, or is not stored any more.

use std::path::Path;

/// The contents of every file below a folder.
pub struct StoredBytes(Vec<u8>);

impl StoredBytes {
    /// Reads all files. A file that disappears meanwhile is left out, because the server may be running.
    #[must_use]
    pub fn below(folder: &Path) -> Self {
        let mut bytes = Vec::new();
        read_below(folder, &mut bytes);
        Self(bytes)
    }

    /// Whether a file contains one of the runs of this many bytes of which `wanted` consists; at least two bytes. A
    /// shorter remainder is not compared.
    #[must_use]
    pub fn contain_run_of(&self, wanted: &[u8], run: usize) -> bool {
        let runs = wanted.chunks_exact(run);
        // Files have many bytes: only runs whose first two bytes occur at a place are compared with it.
        let begins = |run: &[u8]| usize::from(u16::from_be_bytes([run[0], run[1]]));
        let mut begun = vec![false; 1 << 16];
        for run in runs.clone() {
            begun[begins(run)] = true;
        }
        let mut windows = self.0.windows(run);
        windows.any(|window| begun[begins(window)] && runs.clone().any(|run| run == window))
    }
}

fn read_below(folder: &Path, into: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            read_below(&path, into);
        } else {
            into.extend(std::fs::read(&path).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_found_at_any_place_and_a_part_of_it_is_not_enough() {
        let folder = tempfile::tempdir().expect("a folder");
        let below = folder.path().join("below");
        std::fs::create_dir(&below).expect("a folder");
        std::fs::write(below.join("file"), b"..efgh..").expect("a file");
        let stored = StoredBytes::below(folder.path());
        assert!(stored.contain_run_of(b"abcdefgh", 4));
        assert!(!stored.contain_run_of(b"abcdefgX", 4));
        assert!(!stored.contain_run_of(b"efg", 4), "it is shorter than a run");
    }
}
