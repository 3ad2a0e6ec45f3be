//! Replays the committed seeds and every input that once failed, and keeps the lists of targets together.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use citycode_fuzz::TARGETS;

fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(target)
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
        for path in seeds.into_iter().chain(inputs(&folder("regressions", name))) {
            println!("{}", path.display());
            run(&std::fs::read(&path).unwrap());
        }
    }
}

#[test]
fn the_manifest_and_the_table_name_the_same_targets() {
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
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

/// A target whose seeds are all refused at the door would find nothing, and say that all is well.
#[test]
fn the_seeds_meant_to_be_read_are_read() {
    let seed = |target: &str, name: &str| std::fs::read_to_string(folder("seeds", target).join(name)).unwrap();
    for name in ["token", "presentation", "spaces_and_small_letters"] {
        let scan = citycode_token::Scan::read(&seed("token_text", name)).expect(name);
        assert_eq!(scan.proof().is_some(), name == "presentation", "{name}");
    }
    for name in ["pair_over_a_byte", "cwt_tag_refused"] {
        assert!(citycode_token::Scan::read(&seed("token_text", name)).is_err(), "{name}");
    }
    for name in ["shanghai.toml", "campus.toml"] {
        citycode_policy_file::parse(&seed("policy_file", name)).expect(name);
    }
    let today = jiff::civil::date(2026, 12, 1);
    for name in ["valid1", "valid2", "valid3", "valid4", "valid5"] {
        citycode_domain::id_number::IdNumber::parse(&seed("id_number", name), today).expect(name);
    }
}
