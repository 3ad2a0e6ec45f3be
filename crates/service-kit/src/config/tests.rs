use std::path::Path;

use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    listen: String,
    #[serde(default)]
    workers: u16,
    #[serde(default)]
    places: Vec<String>,
    #[serde(default)]
    vault: Vault,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Vault {
    folder: String,
    durable: bool,
    master_key: Option<Secret>,
}

impl Validate for Sample {
    fn validate(&self) -> Vec<String> {
        let crowded = self.workers > 100;
        crowded.then(|| "workers is above 100".to_owned()).into_iter().collect()
    }
}

fn with_file(dir: &Path, text: &str) -> Sources {
    let path = dir.join("service.toml");
    std::fs::write(&path, text).unwrap();
    Sources {
        file: Some(path),
        ..Sources::default()
    }
    .with_secrets(&["vault.master_key"])
}

fn env(mut sources: Sources, pairs: &[(&str, &str)]) -> Sources {
    sources
        .env
        .extend(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    sources
}

#[test]
fn flags_override_the_environment_and_the_environment_overrides_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = "listen = \"file\"\nworkers = 1\n[vault]\nfolder = \"f\"\ndurable = true\n";
    let sources = env(
        with_file(dir.path(), file),
        &[
            ("CITYCODE__LISTEN", "env"),
            ("CITYCODE__WORKERS", "2"),
            ("CITYCODE__VAULT__FOLDER", "123"),
            ("CITYCODE__PLACES", "[\"a\", \"b\"]"),
            ("CITYCODE_TOKEN", "not ours"),
        ],
    )
    .with_flag("workers", Some(3))
    .with_flag("vault.durable", None::<bool>);
    let loaded: Sample = load(&sources).unwrap();
    assert_eq!((loaded.listen.as_str(), loaded.workers), ("env", 3));
    assert_eq!((loaded.vault.folder.as_str(), loaded.vault.durable), ("123", true));
    assert_eq!(loaded.places, ["a", "b"]);
}

#[test]
fn a_missing_key_may_come_from_the_environment_and_is_named_if_it_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let sources = with_file(dir.path(), "workers = 1\n");
    let error = load::<Sample>(&sources).unwrap_err();
    assert!(error.to_string().contains("listen"), "{error}");
    load::<Sample>(&env(sources, &[("CITYCODE__LISTEN", "x")])).unwrap();
}

#[test]
fn an_unknown_key_in_the_file_is_refused_with_line_and_nearest_key() {
    let dir = tempfile::tempdir().unwrap();
    let sources = with_file(
        dir.path(),
        "listen = \"x\"\n\n[vault]\nmaster_key_file = \"k\"\nfoldr = \"f\"\n",
    );
    let error = load::<Sample>(&sources).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("line 5: unknown key \"foldr\"; did you mean \"folder\"?"),
        "{text}"
    );
    let sources = with_file(dir.path(), "listen = \"x\"\nzzz = 1\n");
    let text = load::<Sample>(&sources).unwrap_err().to_string();
    assert!(text.ends_with("line 2: unknown key \"zzz\""), "{text}");
}

#[test]
fn an_unknown_key_in_environment_or_flags_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let good = with_file(dir.path(), "listen = \"x\"\n");
    let text = load::<Sample>(&env(good.clone(), &[("CITYCODE__LISTENS", "x")]))
        .unwrap_err()
        .to_string();
    assert!(text.contains("\"listens\"; did you mean \"listen\"?"), "{text}");
    let text = load::<Sample>(&good.with_flag("vault.durabel", Some(true)))
        .unwrap_err()
        .to_string();
    assert!(text.contains("\"durabel\"; did you mean \"durable\"?"), "{text}");
}

#[test]
fn errors_of_syntax_types_and_missing_files_name_their_location() {
    let dir = tempfile::tempdir().unwrap();
    let text = load::<Sample>(&with_file(dir.path(), "listen = \"x\"\nworkers = \n"))
        .unwrap_err()
        .to_string();
    assert!(text.contains("service.toml: line 2"), "{text}");
    let text = load::<Sample>(&with_file(dir.path(), "listen = \"x\"\nworkers = \"many\"\n"))
        .unwrap_err()
        .to_string();
    assert!(text.contains("workers"), "{text}");
    let absent = Sources {
        file: Some(dir.path().join("absent.toml")),
        ..Sources::default()
    };
    assert!(matches!(load::<Sample>(&absent), Err(ConfigError::Read { .. })));
}

#[test]
fn a_secret_is_read_from_its_file_without_the_line_end_and_is_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    crate::files::create_private(&key, b"hunter2\n").unwrap();
    let in_file = format!(
        "listen = \"x\"\n[vault]\nmaster_key_file = {:?}\n",
        key.display().to_string()
    );
    let sources = with_file(dir.path(), &in_file);
    let loaded: Sample = load(&sources).unwrap();
    assert_eq!(loaded.vault.master_key.as_ref().unwrap().expose(), "hunter2");
    assert!(!format!("{loaded:?}").contains("hunter2"));

    let twice = env(sources, &[("CITYCODE__VAULT__MASTER_KEY", "other")]);
    assert!(matches!(load::<Sample>(&twice), Err(ConfigError::SecretTwice(_))));

    let path = key.display().to_string();
    let from_env = env(
        with_file(dir.path(), "listen = \"x\"\n"),
        &[("CITYCODE__VAULT__MASTER_KEY_FILE", &path)],
    );
    let loaded: Sample = load(&from_env).unwrap();
    assert_eq!(loaded.vault.master_key.unwrap().expose(), "hunter2");
}

#[test]
fn check_config_also_validates_values() {
    let dir = tempfile::tempdir().unwrap();
    let good = with_file(dir.path(), "listen = \"x\"\n");
    assert!(check::<Sample>(&good).unwrap().ends_with("the configuration is good"));
    let error = check::<Sample>(&good.with_flag("workers", Some(101))).unwrap_err();
    assert_eq!(error.to_string(), "configuration: workers is above 100");
}
