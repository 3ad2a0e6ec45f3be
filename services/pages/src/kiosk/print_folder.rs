//! Print jobs as files in a configured folder, for a kiosk whose browser does not print itself.
//!
//! ```text
//! FOLDER/citycode-KIOSK-VISIT-JOB.pdf      mode 0600; KIOSK, VISIT and JOB are hex and name nobody
//! ```
//! A file appears whole. The files of a kiosk are deleted when the visit ends, and when the next one begins.

use std::path::{Path, PathBuf};

use citycode_service_kit::files;
use citycode_service_kit::problem::Problem;
use data_encoding::HEXLOWER;

use crate::site::Site;

/// Writes a job.
///
/// # Errors
/// The folder cannot be written.
pub(super) async fn write(
    site: &Site,
    folder: &Path,
    (device, visit): (&str, &str),
    pdf: Vec<u8>,
) -> Result<(), Problem> {
    let job = HEXLOWER.encode(&site.draw());
    let path = folder.join(format!("{}{visit}-{job}.pdf", prefix(site, device)));
    blocking(move || files::write_atomic(&path, &pdf, files::PRIVATE_FILE_MODE).map_err(|error| error.to_string()))
        .await
}

/// Deletes all jobs of a kiosk.
///
/// # Errors
/// A file cannot be deleted.
pub(super) async fn clear(site: &Site, device: &str) -> Result<(), Problem> {
    let Some(folder) = site.kiosk.print_folder.clone() else {
        return Ok(());
    };
    let prefix = prefix(site, device);
    blocking(move || delete(&folder, &prefix).map_err(|error| error.to_string())).await
}

fn delete(folder: &PathBuf, prefix: &str) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        match std::fs::remove_file(entry.path()) {
            // The printer's program may have taken it.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn prefix(site: &Site, device: &str) -> String {
    let kiosk = site.seal.name("kiosk-printer", device.as_bytes());
    format!("citycode-{}-", HEXLOWER.encode(&kiosk[..8]))
}

async fn blocking(work: impl FnOnce() -> Result<(), String> + Send + 'static) -> Result<(), Problem> {
    let done = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| error.to_string());
    done.and_then(|done| done).map_err(|error| {
        tracing::error!(%error, "the folder of a kiosk's print jobs cannot be used");
        Problem::internal()
    })
}
