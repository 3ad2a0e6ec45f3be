//! What is configured for the kiosks of a city or a machine.

use std::collections::BTreeMap;
use std::path::PathBuf;

use citycode_domain::policy::Label;
use zeroize::Zeroizing;

/// How a kiosk identifies people and prints. The default authenticates nobody: then a kiosk is out of order, except in
/// a demo.
#[derive(Clone, Default)]
pub struct KioskSettings {
    /// How people are authenticated, by the name of the channel.
    pub identification: BTreeMap<String, Identification>,
    /// The paper.
    pub print_format: PrintFormat,
    /// The folder for print jobs as PDF files (A4, mode 0600); without one the kiosk's browser prints.
    pub print_folder: Option<PathBuf>,
    /// Why kiosks are out of order, and where the nearest one is; `None` while they work.
    pub out_of_order: Option<Label>,
}

/// How the kiosks of one channel authenticate a person. A typed ID number alone authenticates nobody.
#[derive(Clone, Default)]
pub struct Identification {
    /// The key under which the channel's card readers attest what they read; `None` if there are no such readers.
    pub reader_key: Option<Zeroizing<Vec<u8>>>,
    /// The PIN by which an attendant confirms that a person is whom the ID number names; `None` if there are none.
    pub attendant_pin: Option<Zeroizing<String>>,
}

impl Identification {
    /// Whether it can authenticate anybody.
    pub(super) fn is_possible(&self) -> bool {
        self.reader_key.is_some() || self.attendant_pin.is_some()
    }
}

/// The paper of a kiosk's printer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PrintFormat {
    /// A4.
    #[default]
    A4,
    /// A wallet card, 85.6 × 54 mm.
    Card,
    /// A roll, 80 mm wide.
    Roll,
}

impl PrintFormat {
    /// The value of `data-format`, and of the setting.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::A4 => "a4",
            Self::Card => "card",
            Self::Roll => "roll",
        }
    }

    /// The format with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::A4, Self::Card, Self::Roll]
            .into_iter()
            .find(|format| format.word() == word)
    }
}
