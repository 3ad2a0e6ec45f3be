//! The public status lists (IETF Token Status List): valid, invalid, suspended; nothing of health (R30).
//!
//! Lists are cut on fixed ticks, all at once, so that what changed together cannot be told apart from what changed
//! within the same tick. What is served between two ticks is the last cut, byte for byte.
//!
//! A cut carries its instant, and whoever reads it believes that everything before that instant is in it. So every
//! cut proves it first: it reads the clock, asks the log for its heads and waits until the fold has reached them.
//! Where that cannot be had, or the clock has stepped back, nothing is cut; the last cut stands and grows old. A list's
//! codes are all of one partition of the log, so a partition that cannot be proved holds up its own lists alone.

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

/// Between two cuts. A stranger's verifier learns of a death within this and the list's time to live.
pub const TICK: Duration = Duration::from_secs(10);
const TTL_SECONDS: u32 = 10;
/// How long partitions are waited for that are not proved yet, once others are: a proof of an idle log takes up to 4 s.
/// Where none is, the whole tick is waited for.
const STRAGGLERS: Duration = Duration::from_secs(5);
/// A list says nothing any more this long after it was cut: a stopped publisher is noticed.
const LIFETIME_SECONDS: i64 = 3_600;

/// Why nothing was cut. The last cut stands.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    /// The clock stepped back: an instant from it would be wrong.
    #[error("the wall clock stepped back by {by_seconds} s")]
    Clock {
        /// How far, in whole seconds.
        by_seconds: u64,
    },
    /// The log does not answer, or nobody folds it any more.
    #[error("what the log holds cannot be known: {0}")]
    Log(#[from] CatchUpError),
    /// The cutting itself ended badly.
    #[error("the cutting panicked")]
    Panicked,
    /// The fold did not reach the log's heads before the next cut was due.
    #[error("the fold is more than {} s behind the log", TICK.as_secs())]
    Behind,
    /// The same of some partitions; the lists of all others were cut.
    #[error("the fold is more than {} s behind the log in partition {}", STRAGGLERS.as_secs(), names(.0))]
    PartlyBehind(Vec<Partition>),
}

/// What is published, and how far it has come.
#[derive(Clone)]
pub struct Followed {
    /// The status of every code, folded from the log.
    pub status: StatusReader,
    /// How far that fold has come.
    pub progress: Progress,
    /// The log.
    pub store: Arc<dyn EventStore>,
}

/// All lists, each of the last tick at which its partition was proved.
struct Cuts {
    at: Timestamp,
    lists: BTreeMap<ListId, Arc<Cut>>,
}

/// One list as it is served.
struct Cut {
    at: Timestamp,
    /// Of the packed statuses: equal where nothing changed.
    digest: blake3::Hash,
    compressed: Arc<CompressedStatusList>,
    /// From then on every code of the list has expired.
    retires_at: Timestamp,
    cwt: Vec<u8>,
    jwt: String,
}

/// The publisher of one process.
pub struct StatusLists {
    followed: Followed,
    key: SigningKey,
    base_uri: String,
    clock: Arc<dyn Clock>,
    cuts: ArcSwapOption<Cuts>,
}

impl StatusLists {
    /// Publishes what was `followed`, signed with `key`, under URIs that begin with `base_uri`. Nothing is served
    /// before the first [`StatusLists::cut`].
    #[must_use]
    pub fn new(followed: Followed, key: SigningKey, base_uri: String, clock: Arc<dyn Clock>) -> Self {
        Self {
            followed,
            key,
            base_uri,
            clock,
            cuts: ArcSwapOption::empty(),
        }
    }

    /// The public half of the key, Ed25519, for whoever checks lists.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.key.public_key()
    }

    /// Cuts every list as it is now, once that is known. Costs two signatures for each list, and a compression for
    /// each that has changed.
    ///
    /// # Errors
    /// [`CutError`]; what was cut before stands.
    pub async fn cut(self: &Arc<Self>) -> Result<(), CutError> {
        if let ClockTrust::SteppedBack { by_seconds } = self.clock.trust() {
            return Err(CutError::Clock { by_seconds });
        }
        let now = Timestamp(self.clock.now().0);
        let Followed { store, progress, .. } = &self.followed;
        let behind = self.unproved(store, progress).await?;
        let (lists, kept) = (Arc::clone(self), behind.clone());
        let cut = tokio::task::spawn_blocking(move || lists.cut_all(now, &kept)).await;
        cut.map_err(|_| CutError::Panicked)?;
        if behind.is_empty() {
            Ok(())
        } else {
            Err(CutError::PartlyBehind(behind))
        }
    }

    /// The partitions of which it is not known in time that everything is folded.
    async fn unproved(&self, store: &Arc<dyn EventStore>, progress: &Progress) -> Result<Vec<Partition>, CutError> {
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
            Err(_) => Err(CutError::Behind),
        }
    }

    /// Cuts on every tick from the next one on, for ever. Drop the future to stop.
    pub async fn keep_cutting(self: Arc<Self>) {
        let mut tick = tokio::time::interval(TICK);
        // The first tick is at once; whoever starts this has made the first cut.
        tick.tick().await;
        let repeated = Repeated::default();
        loop {
            tick.tick().await;
            match self.cut().await {
                Ok(()) => repeated.over(),
                Err(error) => {
                    metrics::counter!("citycode_revocation_missed_cuts_total").increment(1);
                    if let Some(unreported) = repeated.trouble(&error.to_string(), self.clock.monotonic()) {
                        tracing::error!(%error, unreported, "status lists were not cut; those of their last cut stand until they expire");
                    }
                }
            }
        }
    }

    fn cut_all(&self, now: Timestamp, behind: &[Partition]) {
        let before = self.cuts.load();
        let lists = self.followed.status.lists().into_iter();
        let lists = lists
            .filter_map(|list| {
                let ListFacts {
                    partition, retires_at, ..
                } = self.followed.status.facts(list)?;
                let last = before.as_ref().and_then(|cuts| cuts.lists.get(&list));
                if retires_at <= now {
                    return None;
                }
                if behind.contains(&Partition(partition)) {
                    return Some((list, Arc::clone(last?)));
                }
                let cut = self.cut_one(list, retires_at, now, last.map(|last| &**last))?;
                Some((list, Arc::new(cut)))
            })
            .collect();
        self.cuts.store(Some(Arc::new(Cuts { at: now, lists })));
    }

    fn cut_one(&self, list: ListId, retires_at: Timestamp, now: Timestamp, last: Option<&Cut>) -> Option<Cut> {
        let packed = self.followed.status.export_two_bit(list);
        let digest = blake3::hash(&packed);
        let compressed = match last.filter(|last| last.digest == digest) {
            Some(unchanged) => Arc::clone(&unchanged.compressed),
            None => Arc::new(StatusList::from_packed(Bits::Two, packed).ok()?.compress()),
        };
        let uri = format!("{}{list}", self.base_uri);
        let claims = StatusListClaims {
            uri: &uri,
            issued_at: now,
            expires_at: Some(now.plus_seconds(LIFETIME_SECONDS)),
            ttl_seconds: Some(TTL_SECONDS),
            aggregation_uri: None,
        };
        Some(Cut {
            at: now,
            cwt: sign_cwt(&compressed, &claims, &self.key),
            jwt: sign_jwt(&compressed, &claims, &self.key),
            digest,
            compressed,
            retires_at,
        })
    }

    /// One list, as CWT unless JWT is asked for.
    ///
    /// # Errors
    /// `not_found` for a list that is not published, `invalid_request` for another media type, `unavailable` before
    /// the first cut and once the last has expired.
    pub fn get(&self, request: &GetStatusListRequest) -> Result<GetStatusListResponse, Problem> {
        let form = Form::parse(&request.media_type)?;
        let unknown = || Problem::new(Code::NotFound, "there is no status list of this name");
        let well_formed = request.list.len() == 8 && request.list.bytes().all(|byte| byte.is_ascii_hexdigit());
        let list = well_formed
            .then(|| u32::from_str_radix(&request.list, 16).ok())
            .flatten()
            .ok_or_else(unknown)?;
        let cuts = self.last_cut()?;
        let cut = cuts.lists.get(&ListId(list)).ok_or_else(unknown)?;
        self.not_expired(cut.at)?;
        let etag = form.entity_tag(cut);
        let not_modified = matches_tag(&request.if_none_match, &etag);
        let content = match (not_modified, form) {
            (true, _) => Vec::new(),
            (false, Form::Cwt) => cut.cwt.clone(),
            (false, Form::Jwt) => cut.jwt.clone().into_bytes(),
        };
        Ok(GetStatusListResponse {
            content,
            media_type: form.media_type().to_owned(),
            etag,
            not_modified,
            ttl_seconds: TTL_SECONDS,
        })
    }

    /// Every list that is published.
    ///
    /// # Errors
    /// `unavailable` before the first cut and once the last has expired.
    pub fn list(&self) -> Result<ListStatusListsResponse, Problem> {
        let summary = |(list, cut): (&ListId, &Arc<Cut>)| StatusListSummary {
            list: list.to_string(),
            uri: format!("{}{list}", self.base_uri),
            retires_at: cut.retires_at.0,
        };
        Ok(ListStatusListsResponse {
            lists: self.last_cut()?.lists.iter().map(summary).collect(),
            key_id: self.key.key_id().to_string(),
            public_key: self.key.public_key().to_vec(),
        })
    }

    /// The public key that signs the lists, for everyone; known before the first cut.
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

    fn last_cut(&self) -> Result<Arc<Cuts>, Problem> {
        let none_yet =
            || Problem::new(Code::Unavailable, "no status list has been cut yet").with_retry_after(TICK.as_secs());
        let cuts = self.cuts.load_full().ok_or_else(none_yet)?;
        self.not_expired(cuts.at)?;
        Ok(cuts)
    }

    fn not_expired(&self, cut_at: Timestamp) -> Result<(), Problem> {
        if self.clock.now().0 < cut_at.plus_seconds(LIFETIME_SECONDS).0 {
            return Ok(());
        }
        let detail = "the last status lists have expired, and no newer could be cut";
        Err(Problem::new(Code::Unavailable, detail).with_retry_after(TICK.as_secs()))
    }
}

/// In which form a list is asked for.
#[derive(Clone, Copy)]
enum Form {
    Cwt,
    Jwt,
}

impl Form {
    fn parse(media_type: &str) -> Result<Self, Problem> {
        match media_type {
            "" | MEDIA_TYPE_CWT => Ok(Self::Cwt),
            MEDIA_TYPE_JWT => Ok(Self::Jwt),
            _ => Err(Problem::new(
                Code::InvalidRequest,
                format!("a status list comes as {MEDIA_TYPE_CWT} or {MEDIA_TYPE_JWT}"),
            )),
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Cwt => MEDIA_TYPE_CWT,
            Self::Jwt => MEDIA_TYPE_JWT,
        }
    }

    /// A strong tag (RFC 9110 §8.8.3): another form, another cut, another tag.
    fn entity_tag(self, cut: &Cut) -> String {
        let form = match self {
            Self::Cwt => "cwt",
            Self::Jwt => "jwt",
        };
        format!("\"{}-{}-{form}\"", &cut.digest.to_hex()[..32], cut.at.0)
    }
}

fn names(partitions: &[Partition]) -> String {
    let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// Whether an `If-None-Match` (RFC 9110 §13.1.2) names this tag: compared weakly, any of a list, or `*`.
fn matches_tag(if_none_match: &str, etag: &str) -> bool {
    let named = |tag: &str| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag;
    if_none_match.split(',').map(str::trim).any(named)
}
