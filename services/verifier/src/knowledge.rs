//! The age of the verifier's state, for the display of a place: no scan, and no record.

use citycode_auth::Caller;
use citycode_service_kit::clock::ClockTrust;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::verifier::v1::{GetKnowledgeRequest, GetKnowledgeResponse};

use crate::request::rounded_up;
use crate::scan::Verifier;

impl Verifier {
    /// Returns the age of the oldest partition: it depends on no code, so it reveals nothing about one.
    ///
    /// # Errors
    /// `unknown_place`; `not_allowed` for a caller that does not verify at the place.
    pub fn knowledge(&self, caller: &Caller, request: &GetKnowledgeRequest) -> Result<GetKnowledgeResponse, Problem> {
        let place = self.known_place(&request.place)?;
        let exactly = caller.is_auditor() || caller.is_admin();
        if !exactly && caller.device_at(&place.name).is_none() {
            return Err(Problem::new(
                Code::NotAllowed,
                "the caller does not verify at this place",
            ));
        }
        let reading = self.clock.reading();
        let age_ms = self.freshness().oldest(&reading).age_ms;
        let shown = if exactly { age_ms } else { rounded_up(age_ms) };
        Ok(GetKnowledgeResponse {
            age_ms: (age_ms != u64::MAX).then_some(shown),
            fresh: age_ms <= place.max_knowledge_age_ms && reading.trust == ClockTrust::Trusted,
        })
    }
}
