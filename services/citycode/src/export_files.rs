//! Tables of an export as Parquet or CSV files in one folder.
//!
//! An export is complete if and only if its `manifest.json` exists; it has the digest and the number of rows of each file.
//! Files are written under names that end in `.partial`, and are renamed only after all of them are on disk; the manifest
//! of an earlier export is removed before, and the new one is written last. So a crash at any moment leaves either the
//! earlier export, or files without a manifest, which the next export into the folder replaces.
//!
//! | module | content |
//! |---|---|
//! | `schema` | the tables and their columns |
//! | `csv_table` | a table as CSV without formulas |
//! | `parquet_table` | a table as Parquet |
//! | `folder` | the files of an export, from their temporary names to the manifest |

mod csv_table;
mod folder;
mod parquet_table;
mod schema;

use std::path::PathBuf;

pub use folder::{Export, Format, Manifest, ManifestFile};
pub use schema::{Column, Kind, TABLES, Table};

/// Why an export cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file or folder cannot be written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// Another export is being written into the folder.
    #[error("another export is being written into {0}")]
    Busy(PathBuf),
    /// A row does not have the columns of its table.
    #[error("a row of `{table}` has no valid `{column}`")]
    Row {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
    /// There is no such table.
    #[error("there is no table `{0}`")]
    Table(String),
    /// Rows could not be encoded.
    #[error("the file cannot be encoded: {0}")]
    Encoding(String),
}

impl ExportError {
    fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        |source| Self::File {
            path: path.to_owned(),
            source,
        }
    }
}
