//! The section `[pages]` of the settings of `citycode up` and of portals.

use std::collections::BTreeMap;
use std::path::PathBuf;

use citycode_domain::policy::Label;
use citycode_pages::{Identification, KioskSettings, PrintFormat, SignInSettings};
use citycode_service_kit::files;
use serde::Deserialize;
use zeroize::Zeroizing;

/// Shortest accepted key of card readers in bytes: as long as the HMAC (RFC 2104, section 3).
const MIN_KEY_BYTES: usize = 32;
/// Fewest digits of an attendant's PIN: three guesses a minute then take more than half a year for all of them.
const MIN_PIN_DIGITS: usize = 6;

/// `[pages]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PageSettings {
    /// Host names under which browsers reach the pages, beside addresses, `localhost` and the name in
    /// `sign_in.public_url`. Pages asked for under another name are refused.
    pub host_names: Vec<String>,
    /// The kiosks.
    pub kiosk: KioskSection,
}

impl PageSettings {
    /// Every configured host name.
    pub(crate) fn names(&self, sign_in: Option<&SignInSettings>) -> Vec<String> {
        let public = sign_in.and_then(|sign_in| sign_in.public_url.parse::<http::Uri>().ok());
        let public = public.and_then(|url| url.host().map(str::to_owned));
        self.host_names.iter().cloned().chain(public).collect()
    }
}

/// Whether browsers reach the pages over TLS, as their public address says.
pub(crate) fn is_secure(sign_in: Option<&SignInSettings>) -> bool {
    sign_in.is_some_and(|sign_in| sign_in.public_url.starts_with("https://"))
}

/// `[pages.kiosk]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KioskSection {
    /// How people are authenticated, by channel.
    pub identification: BTreeMap<String, IdentificationSection>,
    /// The paper: `a4`, `card` or `roll`.
    pub print_format: Option<String>,
    /// The folder for print jobs as PDF files; without one the kiosk's browser prints.
    pub print_folder: Option<PathBuf>,
    /// Why kiosks are out of order, and where the nearest one is.
    pub out_of_order: Option<LabelSection>,
}

/// `[pages.kiosk.identification.CHANNEL]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentificationSection {
    /// The file of the key under which the channel's card readers attest their readings, mode 0600.
    pub card_reader_key_file: Option<PathBuf>,
    /// The file of the attendants' PIN, mode 0600.
    pub attendant_pin_file: Option<PathBuf>,
}

/// A text for people, as in a policy.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelSection {
    /// 中文.
    pub zh: String,
    /// English.
    pub en: String,
}

impl KioskSection {
    /// What is wrong without looking at files.
    pub(crate) fn validate(&self) -> Vec<String> {
        let mut errors = Vec::new();
        let format = self.print_format.as_deref().unwrap_or(PrintFormat::A4.word());
        match PrintFormat::parse(format) {
            None => errors.push("pages.kiosk.print_format must be a4, card or roll".to_owned()),
            Some(format) if self.print_folder.is_some() && format != PrintFormat::A4 => {
                errors.push(
                    "pages.kiosk.print_folder gets A4 sheets; print_format is for the kiosk's browser".to_owned(),
                );
            }
            Some(_) => {}
        }
        errors
    }

    /// The settings, with the content of the named files.
    ///
    /// # Errors
    /// What is wrong with the files, a sentence for each.
    pub(crate) fn open(&self) -> Result<KioskSettings, Vec<String>> {
        let mut problems = Vec::new();
        let mut identification = BTreeMap::new();
        for (channel, section) in &self.identification {
            match section.open() {
                Ok(how) => drop(identification.insert(channel.clone(), how)),
                Err(problem) => problems.push(format!("pages.kiosk.identification.{channel}: {problem}")),
            }
        }
        if let Some(folder) = self.print_folder.as_ref().filter(|folder| !folder.is_dir()) {
            problems.push(format!(
                "pages.kiosk.print_folder: {} is not a folder",
                folder.display()
            ));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(KioskSettings {
            identification,
            print_format: self
                .print_format
                .as_deref()
                .and_then(PrintFormat::parse)
                .unwrap_or_default(),
            print_folder: self.print_folder.clone(),
            out_of_order: self.out_of_order.as_ref().map(|label| Label {
                zh: label.zh.clone(),
                en: label.en.clone(),
            }),
        })
    }
}

impl IdentificationSection {
    fn open(&self) -> Result<Identification, String> {
        let read = |path: &PathBuf| files::read_private(path).map_err(|error| error.to_string());
        let reader_key = self.card_reader_key_file.as_ref().map(read).transpose()?;
        if reader_key.as_ref().is_some_and(|key| key.len() < MIN_KEY_BYTES) {
            return Err(format!(
                "the key of card readers must have at least {MIN_KEY_BYTES} bytes"
            ));
        }
        let pin = self.attendant_pin_file.as_ref().map(read).transpose()?;
        let pin = pin.map(|bytes| Zeroizing::new(String::from_utf8_lossy(&bytes).trim().to_owned()));
        let is_pin = |pin: &str| pin.len() >= MIN_PIN_DIGITS && pin.bytes().all(|byte| byte.is_ascii_digit());
        if pin.as_ref().is_some_and(|pin| !is_pin(pin)) {
            return Err(format!(
                "an attendant's PIN has at least {MIN_PIN_DIGITS} digits and nothing else"
            ));
        }
        Ok(Identification {
            reader_key,
            attendant_pin: pin,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;

    fn private(folder: &Path, name: &str, content: &[u8]) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, content).expect("a writable folder");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("its own file");
        path
    }

    fn kiosk(text: &str) -> KioskSection {
        let settings: PageSettings = toml::from_str(text).expect("the section is valid TOML");
        settings.kiosk
    }

    #[test]
    fn keys_and_pins_are_read_from_private_files() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let key = private(dir.path(), "reader.key", &[7; 32]);
        let pin = private(dir.path(), "pin", b"246810\n");
        let section = kiosk(&format!(
            "[kiosk]\nprint_format = \"roll\"\nout_of_order = {{ zh = \"缺纸\", en = \"no paper\" }}\n\
             [kiosk.identification.kiosk]\ncard_reader_key_file = {key:?}\nattendant_pin_file = {pin:?}\n"
        ));
        assert_eq!(section.validate(), [""; 0]);
        let opened = section.open().expect("valid files");
        let how = &opened.identification["kiosk"];
        assert_eq!(how.reader_key.as_deref().map(Vec::as_slice), Some(&[7; 32][..]));
        assert_eq!(how.attendant_pin.as_deref().map(String::as_str), Some("246810"));
        assert_eq!(opened.print_format, PrintFormat::Roll);
        assert_eq!(opened.out_of_order.expect("a text").en, "no paper");
    }

    #[test]
    fn weak_or_missing_secrets_and_unknown_formats_are_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let short_key = private(dir.path(), "reader.key", &[7; 31]);
        let short_pin = private(dir.path(), "pin", b"12345");
        let missing = dir.path().join("missing");
        for (key, path) in [
            ("card_reader_key_file", &short_key),
            ("attendant_pin_file", &short_pin),
            ("attendant_pin_file", &missing),
        ] {
            let section = kiosk(&format!("[kiosk.identification.kiosk]\n{key} = {path:?}\n"));
            let problems = section.open().err().expect("refused");
            assert_eq!(problems.len(), 1, "{problems:?}");
        }
        assert_eq!(kiosk("[kiosk]\nprint_format = \"a5\"\n").validate().len(), 1);
        assert_eq!(
            kiosk("[kiosk]\nprint_format = \"card\"\nprint_folder = \"/x\"\n")
                .validate()
                .len(),
            1
        );
        toml::from_str::<PageSettings>("[kiosk]\npaper = \"a4\"\n").expect_err("an unknown key");
    }
}
