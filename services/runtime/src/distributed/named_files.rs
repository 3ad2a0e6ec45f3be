//! Checks the files that a configuration names (`--check-config`).

use std::fs::File;
use std::path::Path;

use super::settings::{Servers, ServiceSettings};
use super::{Role, dependencies, policy};
use crate::wiring::StartError;

/// Opens the files that this service opens at its start: policy, keys of the identity provider, seeds, certificates.
/// Files in `keys` are not checked.
///
/// # Errors
/// [`StartError::NamedFiles`] with all problems.
pub(super) fn check(role: Role, settings: &ServiceSettings) -> Result<(), StartError> {
    let mut problems = Vec::new();
    if let Err(error) = policy::read(settings) {
        problems.push(format!("policy: {error}"));
    }
    if let Err(error) = dependencies::access(role, settings) {
        problems.push(error.to_string());
    }
    let connections = [
        ("log", role != Role::Portal, settings.log.clone()),
        ("vault", !matches!(role, Role::Portal | Role::Audit), settings.vault()),
        (
            "scans",
            matches!(role, Role::Verifier | Role::Audit | Role::Revocation),
            settings.scans(),
        ),
        (
            "queries",
            matches!(role, Role::Issuer | Role::Audit) && settings.queries().is_some(),
            settings.queries().unwrap_or_default(),
        ),
        (
            "page_records",
            role == Role::Portal && settings.serves_pages(),
            settings.page_records().unwrap_or_default(),
        ),
    ];
    for (name, _, servers) in connections.iter().filter(|(_, used, _)| *used) {
        problems.extend(of_servers(servers).into_iter().map(|error| format!("{name}: {error}")));
    }
    let demand = settings.witnessed_log.as_ref().filter(|_| role == Role::Verifier);
    problems.extend(demand.and_then(|demand| demand.named_files().err()));
    let kiosks = settings.pages.as_ref().filter(|_| role == Role::Portal);
    problems.extend(kiosks.and_then(|pages| pages.kiosk.open().err()).into_iter().flatten());
    if let Some(tls) = &settings.tls
        && let Err(error) = tls.client_of(role.program())
    {
        problems.push(format!("tls: {error}"));
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(StartError::NamedFiles(problems))
    }
}

fn of_servers(servers: &Servers) -> Vec<String> {
    let seed = servers.connection("check").err().map(|error| error.to_string());
    let files = [
        &servers.ca_file,
        &servers.certificate_file,
        &servers.certificate_key_file,
    ];
    let unopened = files.into_iter().flatten().filter_map(|path| opened(path).err());
    seed.into_iter().chain(unopened).collect()
}

fn opened(path: &Path) -> Result<(), String> {
    let opened = File::open(path).map(drop);
    opened.map_err(|error| format!("cannot open {}: {error}", path.display()))
}
