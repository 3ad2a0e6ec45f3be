//! The public status lists (IETF Token Status List): valid, invalid or suspended, and no health data (R30).
//!
//! All lists are built and signed together on fixed ticks, so that an observer cannot tell which changes within a tick
//! belong together. Between two ticks exactly the same bytes are served.
//!
//! A list contains its time, and its readers assume that it includes everything before that time. So every update first
//! proves this: it reads the clock, gets the proved heads of the log, and waits until the projection has reached them.
//! If that fails, or if the clock stepped back, the lists are not updated, and the last ones are served until they
//! expire. All codes of a list are in one partition of the log, so a partition that cannot be proved delays only its
//! own lists.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use citycode_domain::ids::{ListFacts, ListId};
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::{CatchUpError, Progress};
use citycode_event_store::{EventStore, Partition};
use citycode_projection::status::StatusReader;
use citycode_service_kit::clock::{Clock, ClockTrust};
use citycode_service_kit::problem::{Code, Problem};
use citycode_service_kit::repeated::Repeated;
use citycode_token::status_list::{
    Bits, CompressedStatusList, MEDIA_TYPE_CWT, MEDIA_TYPE_JWT, StatusList, StatusListClaims, sign_cwt, sign_jwt,
};
use citycode_token::{SigningKey, status_keys_cose_set};
use citycode_wire::proto::revocation::v1::{
    GetStatusListRequest, GetStatusListResponse, ListStatusKeysResponse, ListStatusListsResponse, StatusKey,
    StatusListSummary,
};
use citycode_wire::request;

use crate::past_lists::PastLists;

/// The time between two updates. An external verifier sees a revocation within this time and the list's time to live.
pub const TICK: Duration = Duration::from_secs(10);
pub(crate) const TTL_SECONDS: u32 = 10;
/// How long an update waits for unproved partitions if others are proved: a proof of an idle log takes up to 4 s. If no
/// partition is proved, it waits for a whole tick.
const STRAGGLERS: Duration = Duration::from_secs(5);
/// A list expires after this time, so that a stopped publisher is detected.
const LIFETIME_SECONDS: i64 = 3_600;

/// Why the lists were not updated. The last ones are still served.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// The clock stepped back, so its time would be wrong.
    #[error("the wall clock stepped back by {by_seconds} s")]
    Clock {
        /// The size of the step in whole seconds.
        by_seconds: u64,
    },
    /// The log cannot be read, or its follower stopped.
    #[error("the heads of the log cannot be proved: {0}")]
    Log(#[from] CatchUpError),
    /// Building the lists panicked.
    #[error("building the status lists panicked")]
    Panicked,
    /// The projection did not reach the log's heads before the next update was due.
    #[error("the status projection is more than {} s behind the log", TICK.as_secs())]
    Behind,
    /// The projection did not reach the heads of these partitions; the lists of all others were updated.
    #[error(
        "the status projection is more than {} s behind the log in partition {}",
        STRAGGLERS.as_secs(),
        names(.0)
    )]
    PartlyBehind(Vec<Partition>),
}

/// The projection that is published.
#[derive(Clone)]
pub struct Followed {
    /// The status of every code.
    pub status: StatusReader,
    /// The progress of the projection.
    pub progress: Progress,
    /// The log.
    pub store: Arc<dyn EventStore>,
}

/// All current lists, each of the last tick at which its partition was proved.
struct SignedLists {
    at: Timestamp,
    lists: BTreeMap<ListId, Arc<SignedList>>,
}

/// One list as it is served.
struct SignedList {
    at: Timestamp,
    /// The digest of the packed statuses, by which unchanged lists are detected.
    digest: blake3::Hash,
    compressed: Arc<CompressedStatusList>,
    /// The time at which every code of the list has expired.
    retires_at: Timestamp,
    cwt: Vec<u8>,
    jwt: String,
}

/// The publisher of one process.
pub struct StatusLists {
    pub(crate) followed: Followed,
    pub(crate) key: SigningKey,
    pub(crate) base_uri: String,
    pub(crate) clock: Arc<dyn Clock>,
    /// What the lists were; `None` where that is not known.
    pub(crate) past: Option<Arc<dyn PastLists>>,
    current: ArcSwapOption<SignedLists>,
}

impl StatusLists {
    /// Publishes the statuses of `followed`, signed with `key`, under URIs that begin with `base_uri`. Nothing is
    /// served before the first [`StatusLists::update`].
    #[must_use]
    pub fn new(followed: Followed, key: SigningKey, base_uri: String, clock: Arc<dyn Clock>) -> Self {
        Self {
            followed,
            key,
            base_uri,
            clock,
            past: None,
            current: ArcSwapOption::empty(),
        }
    }

    /// Also answers for the past.
    #[must_use]
    pub fn with_past(self, past: Option<Arc<dyn PastLists>>) -> Self {
        Self { past, ..self }
    }

    /// Whether the present list was published at an instant already.
    pub(crate) fn is_current(&self, list: ListId, at: Timestamp) -> bool {
        let current = self.current.load();
        let signed = current.as_ref().and_then(|current| current.lists.get(&list));
        signed.is_some_and(|signed| signed.at <= at)
    }

    /// The Ed25519 public key that verifies the lists.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.key.public_key()
    }

    /// Updates every list to the present, once the projection is proved to be current. Costs two signatures for each
    /// list, and a compression for each list that changed.
    ///
    /// # Errors
    /// [`UpdateError`]; the last lists are still served.
    pub async fn update(self: &Arc<Self>) -> Result<(), UpdateError> {
        if let ClockTrust::SteppedBack { by_seconds } = self.clock.trust() {
            return Err(UpdateError::Clock { by_seconds });
        }
        let now = Timestamp(self.clock.now().0);
        let Followed { store, progress, .. } = &self.followed;
        let behind = self.unproved(store, progress).await?;
        let (lists, unchanged) = (Arc::clone(self), behind.clone());
        let built = tokio::task::spawn_blocking(move || lists.build_all(now, &unchanged)).await;
        built.map_err(|_| UpdateError::Panicked)?;
        if behind.is_empty() {
            Ok(())
        } else {
            Err(UpdateError::PartlyBehind(behind))
        }
    }

    /// The partitions that are not proved to be completely folded in time.
    async fn unproved(&self, store: &Arc<dyn EventStore>, progress: &Progress) -> Result<Vec<Partition>, UpdateError> {
        let mut behind: Vec<Partition> = (0..store.layout().partitions()).map(Partition).collect();
        let all = behind.len();
        let mut catching_up = Box::pin(progress.catch_up_each(&**store, |reached| {
            behind.retain(|partition| *partition != reached);
        }));
        let mut ended = tokio::time::timeout(STRAGGLERS, &mut catching_up).await;
        if ended.is_err() {
            ended = tokio::time::timeout(TICK - STRAGGLERS, &mut catching_up).await;
        }
        drop(catching_up);
        match ended {
            Ok(Ok(())) => Ok(behind),
            Ok(Err(error)) => Err(error.into()),
            Err(_) if behind.len() < all => Ok(behind),
            Err(_) => Err(UpdateError::Behind),
        }
    }

    /// Updates the lists on every tick from the next one on. Drop the future to stop.
    pub async fn keep_updating(self: Arc<Self>) {
        let mut tick = tokio::time::interval(TICK);
        // The first tick is immediate, and the caller has already made the first update.
        tick.tick().await;
        let repeated = Repeated::default();
        loop {
            tick.tick().await;
            match self.update().await {
                Ok(()) => repeated.over(),
                Err(error) => {
                    metrics::counter!("citycode_revocation_missed_cuts_total").increment(1);
                    if let Some(unreported) = repeated.failed(&error.to_string(), self.clock.monotonic()) {
                        tracing::error!(%error, unreported, "status lists were not updated; the last ones are served until they expire");
                    }
                }
            }
        }
    }

    fn build_all(&self, now: Timestamp, behind: &[Partition]) {
        let before = self.current.load();
        let lists = self.followed.status.lists().into_iter();
        let lists = lists
            .filter_map(|list| {
                let ListFacts {
                    partition, retires_at, ..
                } = self.followed.status.facts(list)?;
                let last = before.as_ref().and_then(|before| before.lists.get(&list));
                if retires_at <= now {
                    return None;
                }
                if behind.contains(&Partition(partition)) {
                    return Some((list, Arc::clone(last?)));
                }
                let signed = self.build(list, retires_at, now, last.map(|last| &**last))?;
                Some((list, Arc::new(signed)))
            })
            .collect();
        self.current.store(Some(Arc::new(SignedLists { at: now, lists })));
    }

    fn build(
        &self,
        list: ListId,
        retires_at: Timestamp,
        now: Timestamp,
        last: Option<&SignedList>,
    ) -> Option<SignedList> {
        let packed = self.followed.status.export_two_bit(list);
        let digest = blake3::hash(&packed);
        let compressed = match last.filter(|last| last.digest == digest) {
            Some(unchanged) => Arc::clone(&unchanged.compressed),
            None => Arc::new(StatusList::from_packed(Bits::Two, packed).ok()?.compress()),
        };
        let uri = format!("{}{list}", self.base_uri);
        let claims = claims(&uri, now);
        Some(SignedList {
            at: now,
            cwt: sign_cwt(&compressed, &claims, &self.key),
            jwt: sign_jwt(&compressed, &claims, &self.key),
            digest,
            compressed,
            retires_at,
        })
    }

    /// One list, as CWT unless the request is for JWT.
    ///
    /// # Errors
    /// `not_found` for a list that is not published, `invalid_request` for another media type, `unavailable` before the
    /// first update and once the last has expired.
    pub fn get(&self, request: &GetStatusListRequest) -> Result<GetStatusListResponse, Problem> {
        let format = Format::parse(&request.media_type)?;
        let unknown = || Problem::new(Code::NotFound, "there is no status list of this name");
        let list = request::list_id("list", &request.list).map_err(|_| unknown())?;
        let current = self.current()?;
        let signed = current.lists.get(&list).ok_or_else(unknown)?;
        self.check_expiry(signed.at)?;
        let etag = format.entity_tag(&signed.digest, signed.at);
        let not_modified = matches_tag(&request.if_none_match, &etag);
        let content = match (not_modified, format) {
            (true, _) => Vec::new(),
            (false, Format::Cwt) => signed.cwt.clone(),
            (false, Format::Jwt) => signed.jwt.clone().into_bytes(),
        };
        Ok(GetStatusListResponse {
            content,
            media_type: format.media_type().to_owned(),
            etag,
            not_modified,
            ttl_seconds: TTL_SECONDS,
        })
    }

    /// All published lists.
    ///
    /// # Errors
    /// `unavailable` before the first update and once the last has expired.
    pub fn list(&self) -> Result<ListStatusListsResponse, Problem> {
        let summary = |(list, signed): (&ListId, &Arc<SignedList>)| StatusListSummary {
            list: list.to_string(),
            uri: format!("{}{list}", self.base_uri),
            retires_at: signed.retires_at.0,
        };
        Ok(ListStatusListsResponse {
            lists: self.current()?.lists.iter().map(summary).collect(),
            key_id: self.key.key_id().to_string(),
            public_key: self.key.public_key().to_vec(),
        })
    }

    /// The public key that verifies the lists; available before the first update.
    #[must_use]
    pub fn list_keys(&self) -> ListStatusKeysResponse {
        let public_key = self.key.public_key();
        ListStatusKeysResponse {
            keys: vec![StatusKey {
                key_id: self.key.key_id().to_string(),
                public_key: public_key.to_vec(),
            }],
            cose_key_set: status_keys_cose_set(&[public_key]),
        }
    }

    fn current(&self) -> Result<Arc<SignedLists>, Problem> {
        let none_yet = || {
            Problem::new(Code::Unavailable, "no status list has been published yet").with_retry_after(TICK.as_secs())
        };
        let current = self.current.load_full().ok_or_else(none_yet)?;
        self.check_expiry(current.at)?;
        Ok(current)
    }

    fn check_expiry(&self, updated_at: Timestamp) -> Result<(), Problem> {
        if self.clock.now().0 < updated_at.plus_seconds(LIFETIME_SECONDS).0 {
            return Ok(());
        }
        let detail = "the last status lists have expired and could not be updated";
        Err(Problem::new(Code::Unavailable, detail).with_retry_after(TICK.as_secs()))
    }
}

/// The requested format of a list.
#[derive(Clone, Copy)]
pub(crate) enum Format {
    Cwt,
    Jwt,
}

impl Format {
    pub(crate) fn parse(media_type: &str) -> Result<Self, Problem> {
        match media_type {
            "" | MEDIA_TYPE_CWT => Ok(Self::Cwt),
            MEDIA_TYPE_JWT => Ok(Self::Jwt),
            _ => Err(Problem::new(
                Code::InvalidRequest,
                format!("a status list is available as {MEDIA_TYPE_CWT} or {MEDIA_TYPE_JWT}"),
            )),
        }
    }

    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Cwt => MEDIA_TYPE_CWT,
            Self::Jwt => MEDIA_TYPE_JWT,
        }
    }

    /// A strong tag (RFC 9110 §8.8.3), different for each format and each update.
    pub(crate) fn entity_tag(self, digest: &blake3::Hash, at: Timestamp) -> String {
        let format = match self {
            Self::Cwt => "cwt",
            Self::Jwt => "jwt",
        };
        format!("\"{}-{}-{format}\"", &digest.to_hex()[..32], at.0)
    }
}

fn names(partitions: &[Partition]) -> String {
    let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// The claims of a list as of an instant.
pub(crate) fn claims(uri: &str, at: Timestamp) -> StatusListClaims<'_> {
    StatusListClaims {
        uri,
        issued_at: at,
        expires_at: Some(at.plus_seconds(LIFETIME_SECONDS)),
        ttl_seconds: Some(TTL_SECONDS),
        aggregation_uri: None,
    }
}

/// Whether an `If-None-Match` (RFC 9110 §13.1.2) matches this tag: weak comparison with any tag of a list, or `*`.
pub(crate) fn matches_tag(if_none_match: &str, etag: &str) -> bool {
    let matches = |tag: &str| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag;
    if_none_match.split(',').map(str::trim).any(matches)
}
