//! Two certification authorities for one city: one for its NATS servers and one for its services, so that a NATS
//! server's certificate is not accepted by a service. Keys are ECDSA on P-256, the library's default.
//!
//! A service's certificate has only server authentication and a client's only client authentication as extended key
//! usage, so neither can be used as the other.

use std::path::Path;

use citycode_service_kit::clock::Clock;
use citycode_service_kit::files;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

use super::{Files, folder};
use citycode_terminal::failure::Failure;

/// Validity of an authority's certificate, in years.
const CA_YEARS: i16 = 10;
/// Validity of other certificates, in years.
const SERVER_YEARS: i16 = 2;

/// The called services, by the host name in their certificate.
const SERVICES: [&str; 4] = ["issuer", "revocation", "verifier", "audit"];

/// Creates missing keys and certificates in the folder. `clients` are the names of the services' clients.
pub(super) fn make(
    made: &mut Files,
    path: &Path,
    hosts: &[String],
    clients: &[String],
    clock: &dyn Clock,
) -> Result<(), Failure> {
    folder(path)?;
    let servers = Authority::open(made, path, "ca", "citycode", clock)?;
    // NATS servers are clients of each other on their cluster routes.
    let both = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    servers.certify(made, "nats", "citycode NATS", hosts, &both)?;
    let services = Authority::open(made, path, "services-ca", "citycode services", clock)?;
    for name in SERVICES {
        let names = [name.to_owned()];
        services.certify(made, name, name, &names, &[ExtendedKeyUsagePurpose::ServerAuth])?;
    }
    for name in clients {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            let why = format!("{name:?} contains characters other than letters, digits and hyphens");
            return Err(Failure::local(
                "no certificate was created",
                why,
                "choose another name for --client",
            ));
        }
        let names = [name.clone()];
        services.certify(made, name, name, &names, &[ExtendedKeyUsagePurpose::ClientAuth])?;
    }
    Ok(())
}

/// An authority and the folder of its certificates.
struct Authority<'a> {
    folder: &'a Path,
    params: CertificateParams,
    pair: KeyPair,
    clock: &'a dyn Clock,
}

impl<'a> Authority<'a> {
    /// Opens the authority with this file name, or creates it.
    fn open(
        made: &mut Files,
        folder: &'a Path,
        file: &str,
        common_name: &str,
        clock: &'a dyn Clock,
    ) -> Result<Self, Failure> {
        let key = folder.join(format!("{file}.key"));
        made.file(&key, new_key)?;
        let pair = read(&key)?;
        let params = authority(common_name, clock).map_err(failed)?;
        made.file(&folder.join(format!("{file}.pem")), || {
            let signed = params.self_signed(&pair).map_err(failed)?;
            Ok(signed.pem().into_bytes())
        })?;
        Ok(Self {
            folder,
            params,
            pair,
            clock,
        })
    }

    /// Creates a key and its certificate for these names and purposes, if they do not exist.
    fn certify(
        &self,
        made: &mut Files,
        file: &str,
        common_name: &str,
        names: &[String],
        purposes: &[ExtendedKeyUsagePurpose],
    ) -> Result<(), Failure> {
        let key = self.folder.join(format!("{file}.key"));
        made.file(&key, new_key)?;
        let pair = read(&key)?;
        made.file(&self.folder.join(format!("{file}.pem")), || {
            let mut params = CertificateParams::new(names).map_err(failed)?;
            params.distinguished_name.push(DnType::CommonName, common_name);
            params.extended_key_usages = purposes.to_vec();
            set_validity(&mut params, self.clock, SERVER_YEARS);
            let issuer = Issuer::from_params(&self.params, &self.pair);
            let signed = params.signed_by(&pair, &issuer).map_err(failed)?;
            Ok(signed.pem().into_bytes())
        })
    }
}

fn failed(error: rcgen::Error) -> Failure {
    Failure::local(
        "no certificate was created",
        error,
        "check the names of --host and --client",
    )
}

fn authority(common_name: &str, clock: &dyn Clock) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, clock, CA_YEARS);
    Ok(params)
}

/// Validity starts on the first day of this year, so that a server whose clock is slightly behind accepts it.
fn set_validity(params: &mut CertificateParams, clock: &dyn Clock, years: i16) {
    let now = jiff::Timestamp::from_second(clock.now().0).unwrap_or_default();
    let year = jiff::tz::Offset::UTC.to_datetime(now).year();
    params.not_before = date_time_ymd(i32::from(year), 1, 1);
    params.not_after = date_time_ymd(i32::from(year + years), 12, 31);
}

fn new_key() -> Result<Vec<u8>, Failure> {
    let pair = KeyPair::generate();
    let pair = pair.map_err(|error| Failure::local("no key was created", error, "report this"))?;
    Ok(pair.serialize_pem().into_bytes())
}

fn read(path: &Path) -> Result<KeyPair, Failure> {
    let pem = files::read_private(path).map_err(|error| Failure::file("read", path, error))?;
    KeyPair::from_pem(&String::from_utf8_lossy(&pem)).map_err(|error| Failure::file("use", path, error))
}
