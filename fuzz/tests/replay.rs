//! Replays the committed seeds and every input that once failed, and compares the lists of targets with each other.

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
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter(|path| path.is_file())
        .collect()
}

#[test]
fn every_seed_and_every_input_that_once_failed_has_the_properties_of_its_target() {
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

/// A target whose seeds are all refused at once would never reach the code that it tests, and would still pass.
#[test]
fn seeds_of_valid_texts_are_read() {
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

/// The same for the targets whose input is bytes; seeds of invalid input are refused.
#[test]
fn seeds_of_bytes_are_read_or_refused_as_expected() {
    use citycode_domain::admission::ProofState::{BadSignature, Fresh, Stale};
    use citycode_fuzz::city::{BASE_URI, CITY_SEED, KEYRING, LIVE_CLAIMS, NOW};
    use citycode_token::status_list::{Bits, StatusList, StatusListError, read_cwt};
    let seed = |target: &str, name: &str| std::fs::read(folder("seeds", target).join(name)).unwrap();
    for (name, good) in [("live", true), ("paper", true), ("bad_signature", false)] {
        let verified = citycode_token::verify_cwt(&seed("cose", name), &KEYRING, BASE_URI, NOW);
        assert_eq!(verified.is_ok(), good, "{name}");
    }
    let policy = citycode_domain::policy::ProofPolicy {
        max_age_seconds: 60,
        max_ahead_seconds: 5,
    };
    for (name, state) in [
        ("fresh", Fresh),
        ("for_the_gate", Fresh),
        ("stale", Stale),
        ("for_another_gate", BadSignature),
        ("by_a_stranger", BadSignature),
    ] {
        let proof = seed("proof", name);
        let said = citycode_token::check_proof(&LIVE_CLAIMS, Some(&proof), NOW, &policy, Some("gate-1"));
        assert_eq!(said, state, "{name}");
    }
    let key = citycode_token::SigningKey::from_seed(CITY_SEED).public_key();
    read_cwt(
        &seed("status_list", "signed"),
        &key,
        citycode_fuzz::status_list::URI,
        NOW,
    )
    .expect("signed");
    let list = |name| StatusList::from_compressed(Bits::Two, &seed("status_list", name));
    assert!(list("zlib").is_ok() && list("draft_1_bit").is_ok());
    assert_eq!(list("bomb"), Err(StatusListError::TooLong));
    for name in [
        "unix.csv",
        "windows_mark.csv",
        "macintosh.csv",
        "gbk.csv",
        "formulas.csv",
    ] {
        assert!(
            citycode_residents_file::parse(&seed("residents_csv", name), None).is_ok(),
            "{name}"
        );
    }
    for name in ["grey.png", "alpha.png", "palette.png", "grey.jpg", "colour.jpg"] {
        let text = citycode_qr::read_image_within(&seed("image", name), &|| false);
        assert_eq!(text.as_deref(), Ok("CC1:6BF+70R"), "{name}");
    }
    assert_eq!(
        citycode_qr::read_image_within(&seed("image", "too_large.png"), &|| false),
        Err(citycode_qr::ReadImageError::TooLarge)
    );
}

/// The same for the transparency formats.
#[test]
fn seeds_of_the_transparency_formats_are_read_or_refused_as_expected() {
    use citycode_fuzz::tlog::{OPENING, POLICY};
    use citycode_transparency::leaf::Opening;
    use citycode_transparency::statement::CodeStatement;
    use citycode_transparency::tile::{BundleId, TileId};
    use citycode_transparency::witness::AddCheckpointRequest;
    use citycode_transparency::{Checkpoint, CompactRange, LogProof, SignedCheckpoint, VerifierKey};
    let seed = |target: &str, name: &str| std::fs::read(folder("seeds", target).join(name)).unwrap();
    let text = |target: &str, name: &str| String::from_utf8(seed(target, name)).unwrap();
    for (name, trusted) in [("checkpoint", true), ("another_size", false)] {
        let signed = SignedCheckpoint::parse(&seed("tlog_note", name)).expect(name);
        assert_eq!(POLICY.verify(&signed).is_ok(), trusted, "{name}");
    }
    Checkpoint::parse(&text("tlog_note", "text")).expect("text");
    for name in ["log.vkey", "witness.vkey"] {
        text("tlog_note", name).parse::<VerifierKey>().expect(name);
    }
    let proof = LogProof::parse(&seed("tlog_proof", "proof")).expect("proof");
    proof.verify(&OPENING.leaf_hash(), &POLICY).expect("it holds");
    assert_eq!(Opening::parse(&seed("tlog_proof", "opening")).as_ref(), Ok(&*OPENING));
    CodeStatement::parse(&seed("tlog_proof", "statement")).expect("statement");
    text("tlog_tile", "path").parse::<TileId>().expect("path");
    text("tlog_tile", "bundle_path")
        .parse::<BundleId>()
        .expect("bundle path");
    CompactRange::parse(&seed("tlog_tile", "range")).expect("range");
    for name in ["grown_from_0", "grown_from_5", "grown_from_8", "conflict"] {
        AddCheckpointRequest::parse(&seed("tlog_witness", name)[1..]).expect(name);
    }
}
