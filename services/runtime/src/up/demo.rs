//! `citycode up --demo`: a folder of its own with eight sample residents, whom anybody on this machine may be.
//!
//! ```text
//! DIR/demo      "begun", then "filled" once every sample resident is registered
//! ```
//! The ID numbers have the area code 990100, which is assigned to no place, so they are nobody's.

use std::path::{Path, PathBuf};

use citycode_domain::policy::{ChannelAct, EligibilityRule, Policy};
use citycode_pages::DemoPerson;
use citycode_service_clients::Clients;
use citycode_service_kit::files;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::issuer::v1::{Attestation, IssueRequest, RegisterRequest, RelateRequest};
use citycode_wire::proto::model::v1::Standing;
use citycode_wire::proto::revocation::v1::{SetStandingRequest, SuspendRequest};
use tonic::metadata::{Ascii, MetadataValue};

use super::data_folder;
use super::settings::Settings;
use crate::wiring::StartError;

const MARKER: &str = "demo";
const BEGUN: &str = "begun\n";
const FILLED: &str = "filled\n";
const FOLDER: &str = "citycode-demo";

struct Sample {
    id_number: &'static str,
    name: &'static str,
    /// The id of the text of the pages that says what the person is a sample of.
    role: &'static str,
}

const ELDER: Sample = sample("990100194403080010", "王秀英", "demo-elder");
const ADULT: Sample = sample("990100199005120024", "张小三", "demo-adult");
const PARENT: Sample = sample("990100198809210039", "李敏", "demo-parent");
const CHILD: Sample = sample("990100201704160041", "李小明", "demo-child");
const DISABILITY: Sample = sample("990100197911020050", "陈建国", "demo-disability");
const GROUP: Sample = sample("990100198501300062", "周梅", "demo-group");
const HELD: Sample = sample("990100195007070077", "赵淑珍", "demo-held");
const RED: Sample = sample("990100199502140085", "吴强", "demo-red");
const SAMPLES: [Sample; 8] = [ADULT, ELDER, PARENT, CHILD, DISABILITY, GROUP, HELD, RED];

const fn sample(id_number: &'static str, name: &'static str, role: &'static str) -> Sample {
    Sample { id_number, name, role }
}

/// The sample residents, for the sign-in page.
pub(super) fn people() -> Vec<DemoPerson> {
    let people = SAMPLES.iter().map(|sample| DemoPerson {
        id_number: sample.id_number.to_owned(),
        name: sample.name.to_owned(),
        role: sample.role.to_owned(),
    });
    people.collect()
}

/// The folder of a demo that names none: next to the default folder.
pub(super) fn default_path() -> Option<PathBuf> {
    data_folder::default_path().map(|path| path.with_file_name(FOLDER))
}

/// Checks that a demo is only a demo: on this machine, without an identity provider, in a folder that a demo made; and
/// that a demo's folder is used for nothing else.
///
/// # Errors
/// [`StartError::Demo`]. Nothing was changed.
pub(super) fn check(settings: &Settings, folder: &Path) -> Result<(), StartError> {
    let made_by_demo = folder.join(MARKER).exists();
    let refused = |why: String| Err(StartError::Demo(why));
    if !settings.demo {
        if made_by_demo {
            return refused(format!(
                "{} is the folder of a demo, whose codes are valid nowhere: start it with --demo, or name another folder",
                folder.display()
            ));
        }
        return Ok(());
    }
    if !settings.listen.ip().to_canonical().is_loopback() {
        return refused(format!(
            "anybody may be anybody in a demo, so it listens on this machine only, not on {}: use 127.0.0.1",
            settings.listen
        ));
    }
    if settings.identity_provider.is_some() || settings.assertion_provider.is_some() || settings.sign_in.is_some() {
        return refused("an identity provider is configured: remove it for a demo, or start without --demo".to_owned());
    }
    let is_empty = std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    if !made_by_demo && !is_empty {
        return refused(format!(
            "{} was not made by a demo: name a new, empty folder with --data",
            folder.display()
        ));
    }
    Ok(())
}

/// Marks a new folder as a demo's, before anything else is created in it.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn mark(folder: &Path) -> Result<(), StartError> {
    files::create_private_dir(folder)?;
    let marker = folder.join(MARKER);
    if !marker.exists() {
        files::write_atomic(&marker, BEGUN.as_bytes(), files::PRIVATE_FILE_MODE)?;
    }
    Ok(())
}

/// Registers the sample residents, unless an earlier start did. A start that was interrupted repeats everything under
/// the same command ids, so that nothing is done twice.
///
/// # Errors
/// A service refuses.
pub(super) async fn fill(folder: &Path, clients: &Clients, policy: &Policy, token: &str) -> Result<(), StartError> {
    let marker = folder.join(MARKER);
    if std::fs::read_to_string(&marker).is_ok_and(|text| text == FILLED) {
        return Ok(());
    }
    let authorization = MetadataValue::try_from(format!("Bearer {token}"));
    let authorization = authorization.map_err(|_| StartError::Demo("the admin's token is malformed".to_owned()))?;
    let city = Filling {
        clients,
        policy,
        authorization,
    };
    city.fill().await.map_err(|problem| {
        StartError::Demo(format!(
            "a sample resident could not be registered: {}",
            problem.detail()
        ))
    })?;
    files::write_atomic(&marker, FILLED.as_bytes(), files::PRIVATE_FILE_MODE)?;
    Ok(())
}

struct Filling<'a> {
    clients: &'a Clients,
    policy: &'a Policy,
    authorization: MetadataValue<Ascii>,
}

impl Filling<'_> {
    async fn fill(&self) -> Result<(), Problem> {
        let attests = self.policy.channels.iter().find(|channel| channel.attests);
        let channel = attests.or(self.policy.channels.first());
        let channel = channel.map(|channel| channel.name.clone()).unwrap_or_default();
        for (number, sample) in SAMPLES.iter().enumerate() {
            let attestation = Attestation {
                disability: sample.id_number == DISABILITY.id_number && attests.is_some(),
                group: match self.policy.groups.first() {
                    Some(group) if sample.id_number == GROUP.id_number && attests.is_some() => group.clone(),
                    _ => String::new(),
                },
            };
            let request = RegisterRequest {
                command_id: command_id(b'r', number),
                channel: channel.clone(),
                authentication: None,
                id_number: sample.id_number.to_owned(),
                name: sample.name.to_owned(),
                attestation: Some(attestation),
            };
            self.clients.issuer.clone().register(self.request(request)).await?;
        }
        let request = RelateRequest {
            command_id: command_id(b'f', 0),
            guardian_id_number: PARENT.id_number.to_owned(),
            dependent_id_number: CHILD.id_number.to_owned(),
            ..RelateRequest::default()
        };
        self.clients.issuer.clone().relate(self.request(request)).await?;
        let request = SetStandingRequest {
            command_id: command_id(b's', 0),
            id_number: RED.id_number.to_owned(),
            standing: Standing::Red.into(),
            reason: "sample of a demo".to_owned(),
        };
        self.clients
            .revocation
            .clone()
            .set_standing(self.request(request))
            .await?;
        self.hold().await
    }

    /// Issues a code to one resident and suspends it, if the policy has a kind for it.
    async fn hold(&self) -> Result<(), Problem> {
        let found = self.policy.kinds.iter().find_map(|kind| {
            let for_elders = kind.eligibility.is_empty()
                || kind
                    .eligibility
                    .iter()
                    .any(|rule| matches!(rule, EligibilityRule::From(..=60)));
            let channel = self
                .policy
                .channels
                .iter()
                .find(|channel| channel.may(ChannelAct::Issue, kind.kind));
            // The last such kind: in Shanghai the one on paper.
            (!kind.device_bound && for_elders && kind.on_paper).then_some((kind, channel?))
        });
        let Some((kind, channel)) = found else {
            return Ok(());
        };
        let request = IssueRequest {
            command_id: command_id(b'i', 0),
            channel: channel.name.clone(),
            kind: kind.name.clone(),
            id_number: HELD.id_number.to_owned(),
            ..IssueRequest::default()
        };
        match self.clients.issuer.clone().issue(self.request(request)).await {
            Ok(_) => {}
            Err(status) => {
                let problem = Problem::from(status);
                // The start was interrupted after the suspension.
                if problem.code() != Code::OnHold {
                    return Err(problem);
                }
            }
        }
        let request = SuspendRequest {
            command_id: command_id(b'h', 0),
            kind: kind.name.clone(),
            id_number: HELD.id_number.to_owned(),
            guardian_id_number: String::new(),
            reason: "sample of a demo".to_owned(),
        };
        self.clients.revocation.clone().suspend(self.request(request)).await?;
        Ok(())
    }

    fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request
            .metadata_mut()
            .insert("authorization", self.authorization.clone());
        request
    }
}

/// A command id that is the same at every start.
fn command_id(act: u8, number: usize) -> Vec<u8> {
    let mut id = *b"citycode-demo-00";
    id[14] = act;
    id[15] = u8::try_from(number).unwrap_or(u8::MAX);
    id.to_vec()
}

#[cfg(test)]
mod tests {
    use citycode_domain::id_number::IdNumber;

    use super::*;

    #[test]
    fn every_sample_has_a_valid_id_number_of_no_place() {
        let today = jiff::civil::date(2026, 11, 29);
        for sample in &SAMPLES {
            assert!(sample.id_number.starts_with("990100"), "{}", sample.name);
            IdNumber::parse(sample.id_number, today).unwrap_or_else(|why| panic!("{}: {why}", sample.name));
        }
    }

    #[test]
    fn a_demo_is_refused_where_it_could_be_taken_for_the_real_thing() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folder = dir.path().join("data");
        let demo = Settings {
            demo: true,
            ..Settings::default()
        };
        check(&demo, &folder).expect("a new folder on loopback");
        let remote = Settings {
            listen: "0.0.0.0:8080".parse().expect("an address"),
            ..demo.clone()
        };
        check(&remote, &folder).expect_err("not on loopback");

        mark(&folder).expect("the folder is writable");
        check(&demo, &folder).expect("its own folder");
        check(&Settings::default(), &folder).expect_err("the folder of a demo without --demo");

        std::fs::remove_file(folder.join(MARKER)).expect("the marker exists");
        std::fs::write(folder.join("policy"), "shanghai").expect("the folder is writable");
        check(&demo, &folder).expect_err("a folder that a demo did not make");
    }
}
