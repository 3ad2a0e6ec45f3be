//! Every program accepts the sample configurations in `deploy`.

use std::path::Path;

use citycode_testkit::Process;

use crate::city::{City, audit, issuer, portal, revocation, verifier};

#[tokio::test]
async fn every_program_accepts_the_sample_configurations() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    for file in ["compose/city.toml", "kubernetes/base/city.toml"] {
        for program in [issuer(), revocation(), verifier(), audit(), portal()] {
            let mut command = tokio::process::Command::new(&program);
            command.arg("--check-config").arg("--config").arg(deploy.join(file));
            let checked = Process::output(&mut command).await.expect("it runs");
            let said = String::from_utf8_lossy(&checked.stderr);
            // The named files exist only in a container, so exactly these are reported.
            let what = format!("{} with {file}: {said}", program.display());
            assert!(!checked.status.success(), "{what}");
            assert!(
                said.contains("the configuration is valid, but files that it names are not"),
                "{what}"
            );
            assert!(said.contains("/run/secrets/jwks.json"), "{what}");
        }
    }
}

#[tokio::test]
async fn the_check_of_a_configuration_names_missing_files() {
    let city = City::secured().await;
    let check = async |policy: &str| {
        let program = verifier();
        let config = city.write_config(&program, "checked", city.urls(), policy);
        let mut command = tokio::process::Command::new(&program);
        command.args(["--check-config", "--config"]).arg(config);
        let checked = Process::output(&mut command).await.expect("it runs");
        (
            checked.status.success(),
            String::from_utf8_lossy(&checked.stderr).into_owned(),
        )
    };
    let (passes, said) = check("").await;
    assert!(passes, "{said}");
    std::fs::remove_file(city.secret("nats/verifier.nk")).expect("it is there");
    let (passes, said) = check("policy = \"/no/policy.toml\"\n").await;
    assert!(
        !passes && said.contains("verifier.nk") && said.contains("/no/policy.toml"),
        "{said}"
    );
}
