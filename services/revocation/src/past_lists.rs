//! Status lists of earlier instants ("historical resolution", draft-ietf-oauth-status-list §8.4).
//!
//! The present lists are updated on ticks, so that an observer cannot tell which changes within a tick belong together.
//! The same holds for the past: an instant is rounded down to a tick.

use async_trait::async_trait;
use citycode_domain::ids::{ListFacts, ListId};
use citycode_domain::time::Timestamp;
use citycode_event_store::Partition;
use citycode_service_kit::problem::{Code, Problem};
use citycode_token::status_list::{Bits, StatusList, sign_cwt, sign_jwt};
use citycode_wire::proto::revocation::v1::{GetStatusListRequest, GetStatusListResponse};
use citycode_wire::request;

use crate::status_lists::{Format, StatusLists, TICK, TTL_SECONDS, claims, matches_tag};

/// Knows what status lists were.
#[async_trait]
pub trait PastLists: Send + Sync + 'static {
    /// The packed statuses of a list of a partition at an instant, two bits each; `None` if it had no code then.
    ///
    /// # Errors
    /// `unavailable`.
    async fn packed(&self, list: ListId, partition: Partition, at: Timestamp) -> Result<Option<Vec<u8>>, Problem>;
}

impl StatusLists {
    /// One list as of an instant: the present one if it includes the instant, else one that is signed with the time of the
    /// tick before the instant.
    ///
    /// # Errors
    /// `time_not_available` for an instant of the future, `not_implemented` without a source of past lists, `not_found`
    /// for a list that had no code then or was retired; as [`StatusLists::get`].
    pub async fn get_at(&self, request: &GetStatusListRequest, instant: i64) -> Result<GetStatusListResponse, Problem> {
        if instant > self.clock.now().0 {
            return Err(Problem::new(Code::TimeNotAvailable, "this time is in the future"));
        }
        let format = Format::parse(&request.media_type)?;
        let unknown = || Problem::new(Code::NotFound, "there was no status list of this name then");
        let list = request::list_id("list", &request.list).map_err(|_| unknown())?;
        if self.is_current(list, Timestamp(instant)) {
            return self.get(request);
        }
        let past = self.past.as_ref().ok_or_else(|| {
            let detail = "this service keeps no index for status lists of earlier times";
            Problem::new(Code::NotImplemented, detail)
        })?;
        let tick = i64::try_from(TICK.as_secs()).expect("a short time");
        let at = Timestamp(instant.div_euclid(tick).saturating_mul(tick));
        let ListFacts {
            partition, retires_at, ..
        } = self.followed.status.facts(list).ok_or_else(unknown)?;
        if retires_at <= at {
            return Err(unknown());
        }
        let packed = past.packed(list, Partition(partition), at).await?.ok_or_else(unknown)?;
        let etag = format.entity_tag(&blake3::hash(&packed), at);
        let not_modified = matches_tag(&request.if_none_match, &etag);
        let content = if not_modified {
            Vec::new()
        } else {
            self.signed(list, packed, at, format)?
        };
        Ok(GetStatusListResponse {
            content,
            media_type: format.media_type().to_owned(),
            etag,
            not_modified,
            ttl_seconds: TTL_SECONDS,
        })
    }

    fn signed(&self, list: ListId, packed: Vec<u8>, at: Timestamp, format: Format) -> Result<Vec<u8>, Problem> {
        let list_of_then = StatusList::from_packed(Bits::Two, packed).map_err(|_| Problem::internal())?;
        let compressed = list_of_then.compress();
        let uri = format!("{}{list}", self.base_uri);
        let claims = claims(&uri, at);
        Ok(match format {
            Format::Cwt => sign_cwt(&compressed, &claims, &self.key),
            Format::Jwt => sign_jwt(&compressed, &claims, &self.key).into_bytes(),
        })
    }
}
