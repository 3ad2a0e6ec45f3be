//! Encodes a token's text as the modules of a QR symbol (ISO/IEC 18004).
//!
//! Only the alphanumeric mode is used: a token is `CC1:` + Base45, whose characters take 5.5 bits in that mode
//! instead of 8. A text outside that set is a programming error of the caller and is refused with the position,
//! never silently drawn as a larger symbol.

use std::fmt;

use fast_qr::qr::{QRBuilder, QRCodeError};
use fast_qr::{ECL, Mode};

/// QR's alphanumeric set (ISO/IEC 18004, 7.3.4), which is also the alphabet of Base45 (RFC 9285).
const ALPHANUMERIC: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";

/// The quiet zone in modules that the standard requires (ISO/IEC 18004, 5.3.8).
pub const QUIET_ZONE: u32 = 4;
/// Limit of the quiet zone: a larger one has no benefit.
const MAX_QUIET_ZONE: u32 = 16;
/// Limit of pixels per module: the largest symbol is then 11,800 px wide, more than any screen or printer.
const MAX_MODULE_PX: u32 = 64;
/// Minimum width of a picture in pixels: smaller ones cannot be read from a phone at arm's length.
pub const MIN_WIDTH_PX: u32 = 240;

/// Error correction level: the share of a symbol that may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// 15 %: for screens.
    M,
    /// 25 %: for paper, which is folded and stained.
    Q,
}

/// Options for drawing a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SymbolOptions {
    /// Error correction level.
    pub level: Level,
    /// Pixels of one module's side, 1 to 64; increased if the picture would be narrower than [`MIN_WIDTH_PX`].
    pub module_px: u32,
    /// Quiet zone in modules, 4 to 16.
    pub quiet_zone: u32,
}

impl SymbolOptions {
    /// For a screen: level M.
    pub const SCREEN: Self = Self {
        level: Level::M,
        module_px: 6,
        quiet_zone: QUIET_ZONE,
    };
    /// For an image that will be printed: level Q, larger modules.
    pub const PAPER: Self = Self {
        level: Level::Q,
        module_px: 10,
        quiet_zone: QUIET_ZONE,
    };
}

/// Why a symbol could not be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DrawError {
    /// The text is empty.
    #[error("the text is empty")]
    Empty,
    /// The character at this position (counted in characters from 0) is outside QR's alphanumeric set.
    #[error("character {position} of the text is outside QR's alphanumeric set (0-9 A-Z space $%*+-./:)")]
    NotAlphanumeric {
        /// Place of the first such character.
        position: usize,
    },
    /// No QR version contains this many characters at this level.
    #[error("the text of {length} characters is too long for a QR symbol of this level")]
    TooLong {
        /// Characters given.
        length: usize,
    },
    /// An option is outside its range.
    #[error("{option} is {value}; it must be from {min} to {max}")]
    OptionOutOfRange {
        /// The option.
        option: &'static str,
        /// The given value.
        value: u32,
        /// The minimum.
        min: u32,
        /// The maximum.
        max: u32,
    },
}

/// A drawn symbol: its modules, and the size at which they are shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Symbol {
    modules: Vec<bool>,
    size: u32,
    version: u8,
    options: SymbolOptions,
}

/// `Debug` shows no modules, because they encode the token.
impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Symbol")
            .field("version", &self.version)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Symbol {
    /// The version, 1 to 40; a symbol has `17 + 4 × version` modules per side.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// The error correction level drawn.
    pub fn level(&self) -> Level {
        self.options.level
    }

    /// Modules of one side, without the quiet zone.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Modules of the quiet zone on each side.
    pub fn quiet_zone(&self) -> u32 {
        self.options.quiet_zone
    }

    /// Pixels of a module's side, after increasing it to reach [`MIN_WIDTH_PX`].
    pub fn module_px(&self) -> u32 {
        self.options.module_px
    }

    /// Modules of one side including the quiet zone.
    pub fn size_with_margin(&self) -> u32 {
        self.size + 2 * self.options.quiet_zone
    }

    /// Width and, without a caption, height of the picture in pixels.
    pub fn width_px(&self) -> u32 {
        self.size_with_margin() * self.options.module_px
    }

    /// Whether the module of this column and row is dark; outside the symbol it is light.
    pub fn is_dark(&self, column: u32, row: u32) -> bool {
        column < self.size && row < self.size && self.modules[(row * self.size + column) as usize]
    }

    /// The runs of dark modules, row by row from the top, as (column, row, length).
    pub(crate) fn dark_runs(&self) -> Vec<(u32, u32, u32)> {
        let mut runs = Vec::new();
        for row in 0..self.size {
            let mut column = 0;
            while column < self.size {
                let start = column;
                while self.is_dark(column, row) {
                    column += 1;
                }
                if column > start {
                    runs.push((start, row, column - start));
                }
                column += 1;
            }
        }
        runs
    }
}

/// Draws `text` as the smallest symbol of the requested level.
///
/// # Errors
/// [`DrawError`]: the text is empty, outside the alphanumeric set or too long, or an option out of range.
pub fn draw(text: &str, options: &SymbolOptions) -> Result<Symbol, DrawError> {
    check("module_px", options.module_px, 1, MAX_MODULE_PX)?;
    check("quiet_zone", options.quiet_zone, QUIET_ZONE, MAX_QUIET_ZONE)?;
    if text.is_empty() {
        return Err(DrawError::Empty);
    }
    let stranger = text
        .chars()
        .position(|c| !u8::try_from(c).is_ok_and(|c| ALPHANUMERIC.contains(&c)));
    if let Some(position) = stranger {
        return Err(DrawError::NotAlphanumeric { position });
    }
    let level = match options.level {
        Level::M => ECL::M,
        Level::Q => ECL::Q,
    };
    let drawn = QRBuilder::new(text)
        .mode(Mode::Alphanumeric)
        .ecl(level)
        .build()
        .map_err(|error| match error {
            QRCodeError::EncodedData | QRCodeError::SpecifiedVersion => DrawError::TooLong { length: text.len() },
        })?;
    let size = u32::try_from(drawn.size).expect("a QR symbol has at most 177 modules per side");
    let modules = (0..drawn.size)
        .flat_map(|row| drawn[row].iter().map(|module| module.value()))
        .collect();
    let version = u8::try_from((size - 17) / 4).expect("versions end at 40");
    let needed_px = MIN_WIDTH_PX.div_ceil(size + 2 * options.quiet_zone);
    let options = SymbolOptions {
        module_px: options.module_px.max(needed_px),
        ..*options
    };
    Ok(Symbol {
        modules,
        size,
        version,
        options,
    })
}

fn check(option: &'static str, value: u32, min: u32, max: u32) -> Result<(), DrawError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(DrawError::OptionOutOfRange {
        option,
        value,
        min,
        max,
    })
}
