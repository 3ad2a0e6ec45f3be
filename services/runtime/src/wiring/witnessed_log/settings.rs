//! The section `[witnessed_log]` of the configuration.

use std::path::{Path, PathBuf};

use citycode_log_tree::WitnessedLog;
use citycode_transparency::{TrustPolicy, VerifierKey};
use serde::Deserialize;

/// The demand for witnesses: `[witnessed_log]`. Verifiers use all of it; revocation services that share snapshots only
/// need the section, so that their snapshots contain the trees with which verifiers start.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessedLogSettings {
    /// The age in seconds from which a code is checked only if a witnessed checkpoint covers its birth; 0 is every code.
    pub codes_older_than_seconds: u64,
    /// The keys of the witnesses, e.g. `witness.example+0a1b2c3d+BA…`.
    pub witnesses: Vec<String>,
    /// How many of them must have cosigned; default: all.
    pub quorum: Option<usize>,
    /// The published log, e.g. `http://portal-1:8080/log`. Nothing that it sends is trusted. Default in `citycode up`: the
    /// trees of this process.
    pub log: Option<String>,
    /// A file with the log's public keys, as `/log/keys` answers. Default in `citycode up`: those of this process.
    pub log_keys: Option<PathBuf>,
}

impl WitnessedLogSettings {
    fn witness_keys(&self) -> Result<Vec<VerifierKey>, String> {
        let key = |text: &String| {
            let key = text.trim().parse::<VerifierKey>();
            key.map_err(|error| format!("witnessed_log.witnesses: `{text}`: {error}"))
        };
        self.witnesses.iter().map(key).collect()
    }

    fn quorum(&self) -> usize {
        self.quorum.unwrap_or(self.witnesses.len())
    }

    /// Everything that is wrong with the section, as far as it can be said without files.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.witness_keys().err().into_iter().collect();
        if !(1..=self.witnesses.len()).contains(&self.quorum()) {
            problems.push("witnessed_log.quorum must be at least 1 and at most the number of witnesses".to_owned());
        }
        if self.log.as_ref().is_some_and(|log| !log.starts_with("http://")) {
            problems.push("witnessed_log.log must be an http:// address".to_owned());
        }
        problems
    }

    /// Checks the file that the section names.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn named_files(&self) -> Result<(), String> {
        self.log_keys
            .as_deref()
            .map_or(Ok(()), |path| read_keys(path).map(drop))
    }

    /// The log that the witnesses must vouch for. `own` are the keys of this process's trees, if it has them.
    ///
    /// # Errors
    /// A sentence, if the keys cannot be read or used.
    pub(crate) fn witnessed_log(&self, host: &str, own: &[VerifierKey]) -> Result<WitnessedLog, String> {
        let logs = match &self.log_keys {
            Some(path) => read_keys(path)?,
            None => own.to_vec(),
        };
        let policy = TrustPolicy::new(logs, self.witness_keys()?, self.quorum());
        let policy = policy.map_err(|error| format!("witnessed_log: {error}"))?;
        Ok(WitnessedLog::new(host, policy))
    }
}

fn read_keys(path: &Path) -> Result<Vec<VerifierKey>, String> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| format!("witnessed_log.log_keys: cannot read {}: {error}", path.display()))?;
    let keys: Result<Vec<VerifierKey>, _> = text.lines().map(str::parse).collect();
    keys.map_err(|error| format!("witnessed_log.log_keys: {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use citycode_transparency::{KeyKind, NoteSigner};

    use super::*;

    fn vkey(name: &str, kind: KeyKind, seed: u8) -> String {
        let signer = NoteSigner::from_seed(name, kind, &[seed; 32]).expect("a name");
        signer.verifier().to_string()
    }

    fn settings(section: &str) -> WitnessedLogSettings {
        let witness = vkey("witness.example", KeyKind::Witness, 1);
        toml::from_str(&format!(
            "codes_older_than_seconds = 60\nwitnesses = [{witness:?}]\n{section}"
        ))
        .expect("a section")
    }

    #[test]
    fn a_section_is_refused_without_enough_witnesses_or_with_another_address_than_http() {
        assert_eq!(settings("").problems(), Vec::<String>::new());
        let problems = |section: &str| settings(section).problems().join("; ");
        assert!(problems("quorum = 2").contains("quorum"));
        assert!(problems("quorum = 0").contains("quorum"));
        assert!(problems("log = \"https://city.example/log\"").contains("http://"));
        let mut nobody = settings("");
        nobody.witnesses.clear();
        assert!(nobody.problems().join("; ").contains("quorum"));
        nobody.witnesses.push("witness.example".to_owned());
        assert!(nobody.problems().join("; ").contains("witness.example"));
        assert!(toml::from_str::<WitnessedLogSettings>("witnesses = []").is_err());
    }

    #[test]
    fn the_logs_keys_come_from_the_file_or_this_process_and_are_not_those_of_witnesses() {
        let own: VerifierKey = vkey("city.example/log/00", KeyKind::Log, 2).parse().expect("a key");
        assert!(settings("").witnessed_log("city.example", &[own]).is_ok());
        assert!(settings("").witnessed_log("city.example", &[]).is_err());
        let file = tempfile::NamedTempFile::new().expect("a file");
        let named = settings(&format!("log_keys = {:?}", file.path()));
        let keys = format!("{}\n", vkey("city.example/log/00", KeyKind::Log, 2));
        std::fs::write(file.path(), keys).expect("written");
        assert_eq!(named.named_files(), Ok(()));
        assert!(named.witnessed_log("city.example", &[]).is_ok());
        std::fs::write(file.path(), vkey("witness.example", KeyKind::Witness, 1)).expect("written");
        assert!(named.witnessed_log("city.example", &[]).is_err());
        std::fs::write(file.path(), "no key").expect("written");
        assert!(named.named_files().is_err());
    }
}
