//! The public status lists (IETF Token Status List): valid, invalid, suspended; nothing of health (R30).
//!
//! Lists are cut on fixed ticks, all at once, so that what changed together cannot be told apart from what changed
//! within the same tick. What is served between two ticks is the last cut, byte for byte.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use citycode_domain::ids::ListId;
use citycode_domain::time::Timestamp;
use citycode_projection::status::StatusReader;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::problem::{Code, Problem};
use citycode_token::SigningKey;
use citycode_token::status_list::{Bits, StatusList, StatusListClaims, sign_cwt, sign_jwt};
use citycode_wire::proto::revocation::v1::{
    GetStatusListRequest, GetStatusListResponse, ListStatusListsResponse, StatusListSummary,
};

/// Between two cuts. A stranger's verifier learns of a death within this and the list's time to live.
pub const TICK: Duration = Duration::from_secs(10);
const TTL_SECONDS: u32 = 10;
/// A list says nothing any more this long after it was cut: a stopped publisher is noticed.
const LIFETIME_SECONDS: i64 = 3_600;
/// `application/statuslist+cwt`, and the other form.
const MEDIA_CWT: &str = "application/statuslist+cwt";
const MEDIA_JWT: &str = "application/statuslist+jwt";

/// One list as it is served.
struct Cut {
    cwt: Vec<u8>,
    jwt: String,
    etag: String,
}

/// The publisher of one process.
pub struct StatusLists {
    status: StatusReader,
    key: SigningKey,
    base_uri: String,
    clock: Arc<dyn Clock>,
    cuts: ArcSwap<BTreeMap<ListId, Arc<Cut>>>,
}

impl StatusLists {
    /// Publishes what `status` knows, signed with `key`, under URIs that begin with `base_uri`.
    #[must_use]
    pub fn new(status: StatusReader, key: SigningKey, base_uri: String, clock: Arc<dyn Clock>) -> Self {
        Self {
            status,
            key,
            base_uri,
            clock,
            cuts: ArcSwap::from_pointee(BTreeMap::new()),
        }
    }

    /// The public half of the key, Ed25519, for whoever checks lists.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.key.public_key()
    }

    /// Cuts every list now. Costs a signature and a compression for each list: call it on a tick, off the hot path.
    pub fn cut(&self) {
        let now = Timestamp(self.clock.now().0);
        let lists = self.status.lists().into_iter().filter(|list| list.retires_at() > now);
        let cuts = lists
            .filter_map(|list| Some((list, Arc::new(self.cut_one(list, now)?))))
            .collect();
        self.cuts.store(Arc::new(cuts));
    }

    /// Cuts on every tick from the next one on, for ever. Drop the future to stop.
    pub async fn keep_cutting(self: Arc<Self>) {
        let mut tick = tokio::time::interval(TICK);
        // The first tick is at once; whoever starts this has made the first cut.
        tick.tick().await;
        loop {
            tick.tick().await;
            let lists = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || lists.cut()).await.is_err() {
                tracing::error!("cutting the status lists panicked; the last cut stands");
            }
        }
    }

    fn cut_one(&self, list: ListId, now: Timestamp) -> Option<Cut> {
        let packed = self.status.export_two_bit(list);
        let digest = blake3::hash(&packed).to_hex();
        let values = StatusList::from_packed(Bits::Two, packed).ok()?;
        let uri = format!("{}{list}", self.base_uri);
        let claims = StatusListClaims {
            uri: &uri,
            issued_at: now,
            expires_at: Some(now.plus_seconds(LIFETIME_SECONDS)),
            ttl_seconds: Some(TTL_SECONDS),
            aggregation_uri: None,
        };
        let etag = format!("\"{}-{}\"", &digest[..32], now.0);
        Some(Cut {
            cwt: sign_cwt(&values, &claims, &self.key),
            jwt: sign_jwt(&values, &claims, &self.key),
            etag,
        })
    }

    /// One list, as CWT unless JWT is asked for.
    ///
    /// # Errors
    /// `not_found` for a list that is not published.
    pub fn get(&self, request: &GetStatusListRequest) -> Result<GetStatusListResponse, Problem> {
        let unknown = || Problem::new(Code::NotFound, "there is no status list of this name");
        let well_formed = request.list.len() == 8 && request.list.bytes().all(|byte| byte.is_ascii_hexdigit());
        let list = well_formed
            .then(|| u32::from_str_radix(&request.list, 16).ok())
            .flatten()
            .ok_or_else(unknown)?;
        let cuts = self.cuts.load();
        let cut = cuts.get(&ListId(list)).ok_or_else(unknown)?;
        let as_jwt = request.media_type == MEDIA_JWT;
        let not_modified = request.if_none_match == cut.etag;
        let content = match (not_modified, as_jwt) {
            (true, _) => Vec::new(),
            (false, true) => cut.jwt.clone().into_bytes(),
            (false, false) => cut.cwt.clone(),
        };
        Ok(GetStatusListResponse {
            content,
            media_type: if as_jwt { MEDIA_JWT } else { MEDIA_CWT }.to_owned(),
            etag: cut.etag.clone(),
            not_modified,
            ttl_seconds: TTL_SECONDS,
        })
    }

    /// Every list that is published.
    #[must_use]
    pub fn list(&self) -> ListStatusListsResponse {
        let summary = |list: &ListId| StatusListSummary {
            list: list.to_string(),
            uri: format!("{}{list}", self.base_uri),
            retires_at: list.retires_at().0,
        };
        ListStatusListsResponse {
            lists: self.cuts.load().keys().map(summary).collect(),
            key_id: self.key.key_id().to_string(),
            public_key: self.key.public_key().to_vec(),
        }
    }
}
