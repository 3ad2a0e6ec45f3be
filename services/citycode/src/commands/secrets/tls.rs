//! A certification authority for one city and the NATS servers' certificate. ECDSA on P-256, by the library's words.

use std::path::Path;

use citycode_service_kit::clock::Clock;
use citycode_service_kit::files;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

use super::{Made, folder};
use crate::failure::Failure;

/// Years that a certificate lives: the authority's, and a server's.
const CA_YEARS: i16 = 10;
const SERVER_YEARS: i16 = 2;

/// Makes what is missing in the folder.
pub(super) fn make(made: &mut Made, path: &Path, hosts: &[String], clock: &dyn Clock) -> Result<(), Failure> {
    folder(path)?;
    let failed = |error: rcgen::Error| Failure::local("no certificate was made", error, "check the names of --host");
    let [ca_key, ca, key, certificate] = ["ca.key", "ca.pem", "nats.key", "nats.pem"].map(|name| path.join(name));
    made.file(&ca_key, new_key)?;
    made.file(&key, new_key)?;
    let (ca_pair, pair) = (read(&ca_key)?, read(&key)?);
    let authority = authority(clock).map_err(failed)?;
    made.file(&ca, || {
        let signed = authority.self_signed(&ca_pair).map_err(failed)?;
        Ok(signed.pem().into_bytes())
    })?;
    made.file(&certificate, || {
        let mut params = CertificateParams::new(hosts).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, "citycode NATS");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            // Servers are each other's clients on their routes.
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        lives(&mut params, clock, SERVER_YEARS);
        let issuer = Issuer::from_params(&authority, &ca_pair);
        let signed = params.signed_by(&pair, &issuer).map_err(failed)?;
        Ok(signed.pem().into_bytes())
    })
}

fn authority(clock: &dyn Clock) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "citycode");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    lives(&mut params, clock, CA_YEARS);
    Ok(params)
}

/// From the first day of this year on, so that a server whose clock is a little behind takes it.
fn lives(params: &mut CertificateParams, clock: &dyn Clock, years: i16) {
    let now = jiff::Timestamp::from_second(clock.now().0).unwrap_or_default();
    let year = jiff::tz::Offset::UTC.to_datetime(now).year();
    params.not_before = date_time_ymd(i32::from(year), 1, 1);
    params.not_after = date_time_ymd(i32::from(year + years), 12, 31);
}

fn new_key() -> Result<Vec<u8>, Failure> {
    let pair = KeyPair::generate();
    let pair = pair.map_err(|error| Failure::local("no key was made", error, "report this"))?;
    Ok(pair.serialize_pem().into_bytes())
}

fn read(path: &Path) -> Result<KeyPair, Failure> {
    let pem = files::read_private(path).map_err(|error| Failure::file("read", path, error))?;
    KeyPair::from_pem(&String::from_utf8_lossy(&pem)).map_err(|error| Failure::file("use", path, error))
}
