//! QR symbols as PNG and SVG, print sheets as PDF, and reading symbols from images.
//!
//! This crate contains neither tokens nor rules: a token is a text of QR's alphanumeric set, and labels are
//! data of the caller. Of the machine it reads only font files.
//!
//! | module | purpose |
//! |---|---|
//! | [`symbol`] | text → modules (ISO/IEC 18004), with version and level |
//! | `raster`, `vector` | modules → PNG, SVG, with a caption inside the picture |
//! | [`fonts`], `typeset` | finds a Chinese font, measures text, breaks lines, reports missing characters |
//! | [`sheet`] | the paper that a resident carries |
//! | [`read`] | PNG or JPEG → text, within limits of size and time |

pub mod fonts;
mod raster;
pub mod read;
pub mod sheet;
pub mod symbol;
mod typeset;
mod vector;

pub use fonts::{FontChoice, FontError, FontNotice, Fonts};
pub use raster::RasterError;
pub use read::{ReadImageError, read_image, read_image_within};
pub use sheet::{
    Label, LabelledValue, PrintError, PrintNotice, PrintedSheet, Section, SheetContent, SheetDate, group_serial,
    print_sheet,
};
pub use symbol::{DrawError, Level, Symbol, SymbolOptions, draw};
pub use typeset::Caption;
