//! The standing that the health authority assigns to a holder (R21).

/// A holder's standing. It does not change validity: once it is green again, the same code admits again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Standing {
    /// Admits. Every holder is green until the authority changes it.
    #[default]
    Green = 0,
    /// Refused at places that check standing.
    Yellow = 1,
    /// Refused at places that check standing.
    Red = 2,
}

impl Standing {
    /// Every standing, in the order of their [numbers](Self::number).
    pub const ALL: [Self; 3] = [Self::Green, Self::Yellow, Self::Red];

    /// The number in stored forms (snapshots, records, indexes), which never changes.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The name in requests and responses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Yellow => "yellow",
            Self::Red => "red",
        }
    }

    /// The standing with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|standing| standing.name() == name)
    }
}
