//! `Register`: registers a resident (R3, R8). The answer is the same for new and registered persons (R31).

use citycode_auth::Caller;
use citycode_command_auth::{Actor, Received, RequestDigest, problem_of_execute, problem_of_vault};
use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::HolderId;
use citycode_domain::lifecycle::{HolderState, register_holder};
use citycode_domain::name::PersonName;
use citycode_service_kit::deadline;
use citycode_service_kit::entropy::Draw;
use citycode_service_kit::problem::{Code, Problem};
use citycode_vault::{Found, Person};
use citycode_wire::proto::issuer::v1::RegisterResponse;
use citycode_wire::request::RegisterCommand;

use crate::{Attested, Issuer};

/// How often a registration retries while the person is being erased.
const MAX_ATTEMPTS: usize = 4;

impl Issuer {
    /// Registers a resident. Repeating it changes nothing.
    ///
    /// # Errors
    /// `not_allowed`, `channel_not_allowed`, `invalid_request`, `invalid_id_number`, `rate_limited`, `unavailable`.
    pub async fn register(
        &self,
        caller: &Caller,
        request: Received<RegisterCommand>,
    ) -> Result<RegisterResponse, Problem> {
        let Received { command, identity } = request;
        let now = self.authorizer.now()?;
        // Only an admin may omit the channel.
        let channel = if command.channel.is_none() && caller.is_admin() {
            None
        } else {
            Some(self.authorizer.channel(caller, command.channel.as_deref())?)
        };
        let attested = self.attested(Actor { channel }, command.attestation)?;
        let id_number = self.authorizer.id_number(caller, &command.id_number, now)?;
        let actor = match channel {
            Some(channel) => {
                let authenticated = self
                    .authorizer
                    .authenticate(channel, &command.authentication, &id_number)?;
                let method = self.authorizer.consume_assertion(authenticated, &identity).await?;
                format!("channel:{};{method}", channel.name)
            }
            None => "admin;unspecified".to_owned(),
        };
        for _ in 0..MAX_ATTEMPTS {
            let found = self.find_or_create(&id_number, &command.name, &attested).await?;
            let request_digest = RequestDigest::of("register").holder(Some(found.holder));
            let context = self
                .authorizer
                .context(caller, command.command_id, request_digest, &actor, now);
            let decide = |state: &HolderState, _now| Ok::<_, Problem>(register_holder::decide(state, found.holder));
            self.authorizer
                .log
                .execute(found.holder, &context, &decide)
                .await
                .map_err(problem_of_execute)?;
            if !self.authorizer.log.state(found.holder).erased {
                return Ok(RegisterResponse {});
            }
            // The holder is erased in the log but not in the vault: complete the erasure, then register again.
            self.authorizer
                .vault
                .erase(found.holder)
                .await
                .map_err(|error| problem_of_vault(&error))?;
        }
        Err(Problem::new(
            Code::Unavailable,
            "the person is being erased at this moment; try again",
        ))
    }

    pub(crate) async fn find_or_create(
        &self,
        id_number: &IdNumber,
        name: &PersonName,
        attested: &Attested,
    ) -> Result<Found, Problem> {
        let candidate = HolderId(self.authorizer.entropy.array());
        let person = Person {
            name: name.clone(),
            disability: attested.disability,
            group: attested.group.clone(),
        };
        deadline::mark_begun();
        let found = self.authorizer.vault.find_or_create(id_number, candidate, person).await;
        found.map_err(|error| problem_of_vault(&error))
    }
}
