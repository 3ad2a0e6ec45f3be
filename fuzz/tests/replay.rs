//! Replays the committed seeds and every input that once failed, and keeps the lists of targets together.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use citycode_fuzz::TARGETS;

fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(kind)
        .join(target)
}

fn inputs(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.expect("a folder that can be listed").path())
        .filter(|path| path.is_file())
        .collect()
}

#[test]
fn every_seed_and_every_input_that_once_failed_keeps_the_promise() {
    for (name, run) in TARGETS {
        let seeds = inputs(&folder("seeds", name));
        assert!(!seeds.is_empty(), "{name} has no seed");
        for path in seeds
            .into_iter()
            .chain(inputs(&folder("regressions", name)))
        {
            println!("{}", path.display());
            run(&std::fs::read(&path).unwrap());
        }
    }
}

#[test]
fn the_manifest_and_the_table_name_the_same_targets() {
    let manifest =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let binaries: BTreeSet<&str> = manifest
        .split("[[bin]]")
        .skip(1)
        .filter_map(|section| section.split("name = \"").nth(1)?.split('"').next())
        .collect();
    assert_eq!(binaries, TARGETS.iter().map(|(name, _)| *name).collect());
}

#[test]
fn every_folder_of_inputs_belongs_to_a_target() {
    for kind in ["seeds", "regressions"] {
        let Ok(entries) = std::fs::read_dir(folder(kind, "")) else {
            continue;
        };
        for entry in entries {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let target = name.trim_end_matches(".dict");
            assert!(
                name == ".gitkeep" || TARGETS.iter().any(|(known, _)| *known == target),
                "{kind}/{name}"
            );
        }
    }
}
