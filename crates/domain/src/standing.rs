//! What the health authority says of a holder (R21).

/// A holder's standing. It changes no validity: back to green, the same code admits again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Standing {
    /// Admits. What everybody has until the authority says otherwise.
    #[default]
    Green,
    /// Refuses where standing counts.
    Yellow,
    /// Refuses where standing counts.
    Red,
}

impl Standing {
    /// The word that stands in requests and answers.
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
        [Self::Green, Self::Yellow, Self::Red]
            .into_iter()
            .find(|standing| standing.name() == name)
    }
}
