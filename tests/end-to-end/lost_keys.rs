//! A lost secret of the data folder is not silently recreated.

use std::time::Duration;

use citycode_testkit::{Running, StartError};

use crate::server::{Server, binary};

/// Time limit for a start on a loaded machine with two cores.
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_secret_of_an_existing_log_is_reported_and_not_recreated() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    Server::start(&data).await.stop().await;
    for name in ["vault-master.key", "id-check.key", "status-signing.key"] {
        let (key, aside) = (data.join("keys").join(name), folder.path().join(name));
        std::fs::rename(&key, &aside).expect("it is lost");
        let words = ["up", "--listen", "127.0.0.1:0", "--data", &data.display().to_string()];
        let started = Running::start(&binary(), &words, DEADLINE).await;
        let Err(StartError::Ended { status, said }) = started else {
            panic!("it starts without {name}");
        };
        let asks = said.contains(&key.display().to_string()) && said.contains("put it back from the backup");
        assert!(!status.success() && asks, "{said}");
        assert!(!key.exists(), "{name} was made anew");
        std::fs::rename(&aside, &key).expect("it is found");
    }
    // With the secrets restored it starts; a missing signing key is created.
    for entry in std::fs::read_dir(data.join("keys")).expect("a folder").flatten() {
        let name = entry.file_name().display().to_string();
        if name.starts_with("signing-") {
            std::fs::remove_file(entry.path()).expect("it goes");
        }
    }
    Server::start(&data).await.stop().await;
}
