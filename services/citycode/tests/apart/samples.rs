//! The configuration that is given to operators is one that every program takes.

use std::path::Path;

use crate::city::{audit, issuer, portal, revocation, verifier};

#[tokio::test]
async fn every_program_takes_the_configuration_of_the_containers_and_of_kubernetes() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    for file in ["compose/city.toml", "kubernetes/base/city.toml"] {
        for program in [issuer(), revocation(), verifier(), audit(), portal()] {
            let checked = tokio::process::Command::new(&program)
                .arg("--check-config")
                .arg("--config")
                .arg(deploy.join(file))
                .output()
                .await
                .expect("it runs");
            let said = String::from_utf8_lossy(&checked.stderr);
            assert!(checked.status.success(), "{} with {file}: {said}", program.display());
        }
    }
}
