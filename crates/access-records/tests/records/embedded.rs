//! The engine of one process.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use citycode_access_records::AccessRecords;
use citycode_access_records::embedded::EmbeddedRecords;
use parking_lot::Mutex;

use crate::conformance::{self, Engine};

/// A file that one process has open at a time.
#[derive(Default)]
struct Folder {
    files: Mutex<Vec<(PathBuf, EmbeddedRecords)>>,
    dir: Option<tempfile::TempDir>,
}

impl Folder {
    fn new() -> Self {
        Self {
            dir: Some(tempfile::tempdir().unwrap()),
            ..Self::default()
        }
    }

    fn at(&self, name: &str, open: impl FnOnce(&std::path::Path) -> EmbeddedRecords) -> Arc<dyn AccessRecords> {
        let path = self.dir.as_ref().unwrap().path().join(name);
        let mut files = self.files.lock();
        let known = files
            .iter()
            .find(|(known, _)| *known == path)
            .map(|(_, file)| file.clone());
        let file = known.unwrap_or_else(|| {
            let file = open(&path);
            files.push((path, file.clone()));
            file
        });
        Arc::new(file)
    }
}

#[async_trait]
impl Engine for Folder {
    async fn open(&self) -> Arc<dyn AccessRecords> {
        self.at("access.redb", |path| EmbeddedRecords::open(path).unwrap())
    }

    async fn limited(&self, most: u64) -> Arc<dyn AccessRecords> {
        // Each time the file is opened anew, so that the count of the earlier time is read.
        self.files.lock().retain(|(path, _)| !path.ends_with("limited.redb"));
        self.at("limited.redb", |path| {
            EmbeddedRecords::with_capacity(path, most).unwrap()
        })
    }

    async fn restart(&mut self) {
        self.files.lock().clear();
    }

    fn now(&self) -> i64 {
        0
    }
}

#[tokio::test]
async fn the_embedded_engine_conforms() {
    conformance::run(Folder::new()).await;
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.redb");
    let _records = EmbeddedRecords::open(&path).unwrap();
    let mode = std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
