//! The path of one scan: text → token → status → verdict.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use citycode_auth::CallerId;
use citycode_domain::admission::{
    Evidence, IdCardEvidence, IdCheck, Knowledge, ProofState, Reason, Verdict, judge, judge_id_card,
};
use citycode_domain::claims::CodeClaims;
use citycode_domain::ids::{CodeKind, CommitPosition, HolderId};
use citycode_domain::policy::{KindPolicy, PlacePolicy, Policy};
use citycode_domain::standing::Standing;
use citycode_domain::status::Status;
use citycode_domain::time::Timestamp;
use citycode_event_store::{BucketId, EventStore, Layout, LogPosition, Partition, Revision};
use citycode_log_folds::{FoldedStatus, holder_stream, keys_stream};
use citycode_projection::LogIdentity;
use citycode_projection::status::{FingerprintKey, StatusReader};
use citycode_scan_records::ScanRecords;
use citycode_service_kit::clock::{Clock, ClockReading, ClockTrust};
use citycode_service_kit::deadline;
use citycode_token::{
    IdCheckKey, PRESENTATION_PREFIX, TokenError, VerifiedClaims, canonical_scan, check_proof, id_commitment_matches,
    stand_in_holder,
};
use citycode_vault::Vault;

use crate::fold::{Folded, VerifierFold};
use crate::freshness::{Freshness, Known, millis};
use crate::measures::Measures;
use crate::undelivered::Undelivered;
use crate::wrong_cards::WrongCards;

/// Room for every code without a proof, and for most with one.
const SHORT_SCAN_BYTES: usize = 384;

/// How long a scan waits until a code that the log does not know is proved to be none. In one process a proof comes every
/// half second, over a network within four seconds at most; a person stands at the gate meanwhile.
const HEARS_WITHIN: Duration = Duration::from_secs(1);

/// What a verifier is made of.
pub struct VerifierParts {
    /// The policy.
    pub policy: Arc<Policy>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Who is who, for ID cards only.
    pub vault: Arc<dyn Vault>,
    /// Under which commitments to ID numbers were made.
    pub id_check_key: IdCheckKey,
    /// Where scan records go.
    pub records: Arc<dyn ScanRecords>,
    /// A random key for fingerprints, of this verifier's own.
    pub fingerprint_key: [u8; 16],
    /// Which log is followed.
    pub identity: LogIdentity,
}

/// A verifier. Share it in an [`Arc`]; scans take no lock.
pub struct Verifier {
    pub(crate) policy: Arc<Policy>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) vault: Arc<dyn Vault>,
    pub(crate) records: Arc<dyn ScanRecords>,
    pub(crate) limits: crate::request::CardLimits,
    pub(crate) wrong_cards: WrongCards,
    pub(crate) measures: Measures,
    id_check_key: IdCheckKey,
    layout: Layout,
    undelivered: Undelivered,
    folded: Arc<Folded>,
    freshness: Arc<Freshness>,
    /// By number, so that no scan searches.
    kinds: [Option<Box<KindPolicy>>; CodeKind::MAX as usize + 1],
}

/// One scan of a code.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a> {
    /// Where.
    pub place: &'a PlacePolicy,
    /// What the scanner read.
    pub text: &'a str,
    /// The number on the ID card that was shown with it, 18 characters in their one spelling.
    pub id_number: Option<&'a [u8; 18]>,
    /// The instant to judge at.
    pub when: When,
}

/// The instant of a verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// A passage, now: knowledge counts by its age on this clock.
    Now(ClockReading),
    /// A question about a later time, on what is known now: knowledge counts by its age when it was asked, too.
    At {
        /// The time that is asked about.
        instant: Timestamp,
        /// When it was asked.
        asked: ClockReading,
    },
}

impl When {
    /// The instant itself.
    #[must_use]
    pub fn instant(self) -> Timestamp {
        match self {
            Self::Now(reading) => Timestamp(reading.now.0),
            Self::At { instant, .. } => instant,
        }
    }

    /// When it was asked.
    fn asked(self) -> ClockReading {
        match self {
            Self::Now(asked) | Self::At { asked, .. } => asked,
        }
    }
}

/// What a scan is answered, and what that rests on.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The verdict.
    pub verdict: Verdict,
    /// The code, where the token is one of ours.
    pub claims: Option<CodeClaims>,
    /// The holder's standing, where the place rests on it.
    pub standing: Option<Standing>,
    /// The commit up to which the code's partition is known.
    pub position: CommitPosition,
    /// Age of the knowledge in milliseconds.
    pub age_ms: u64,
    /// Whether the next proof tells whether this is a code that was not heard of yet, or none.
    pub undelivered: bool,
}

impl Verifier {
    /// A verifier that starts from a snapshot file, if there is one that can be used; its fold; and where to follow
    /// on. Keys before that point are read from their stream.
    ///
    /// # Errors
    /// The log cannot be read, or its keys cannot be folded.
    pub async fn open(
        parts: VerifierParts,
        store: &dyn EventStore,
        snapshot: Option<&Path>,
    ) -> Result<(Arc<Self>, VerifierFold, LogPosition), String> {
        let key = FingerprintKey(parts.fingerprint_key);
        let now = Timestamp(parts.clock.now().0);
        let status = FoldedStatus::open(snapshot, parts.identity, key, now, store.layout());
        let from = status.reaches();
        let folded = Folded::new(status);
        let keys = store
            .read_stream(&keys_stream(), Revision::EMPTY)
            .await
            .map_err(|error| error.to_string())?;
        for commit in keys.iter().filter(|commit| from.includes(commit.position)) {
            for data in &commit.commit.events {
                let event = citycode_wire::event::decode(&data.event_type, data.version, &data.payload);
                folded.fold_key_event(&event.map_err(|error| error.to_string())?)?;
            }
        }
        let folded = Arc::new(folded);
        let mut kinds = [const { None }; CodeKind::MAX as usize + 1];
        for kind in &parts.policy.kinds {
            kinds[usize::from(kind.kind.number())] = Some(Box::new(kind.clone()));
        }
        let verifier = Self {
            policy: parts.policy,
            limits: crate::request::CardLimits::new(&parts.fingerprint_key),
            wrong_cards: WrongCards::new(Arc::clone(&parts.records)),
            measures: Measures::default(),
            clock: parts.clock,
            vault: parts.vault,
            records: parts.records,
            id_check_key: parts.id_check_key,
            layout: store.layout(),
            undelivered: Undelivered::default(),
            folded: Arc::clone(&folded),
            freshness: Arc::new(Freshness::new(store.layout())),
            kinds,
        };
        Ok((Arc::new(verifier), VerifierFold::new(folded), from))
    }

    /// What the last probe of the log proved; keep it probing.
    #[must_use]
    pub fn freshness(&self) -> &Arc<Freshness> {
        &self.freshness
    }

    /// The projection, for publishing status lists.
    #[must_use]
    pub fn status(&self) -> &StatusReader {
        self.folded.status.reader()
    }

    /// Writes a snapshot of the projection, without what expired long ago. Blocks its thread.
    ///
    /// # Errors
    /// What the file system says; the old snapshot stands then.
    pub fn save_snapshot(&self, path: &Path) -> std::io::Result<()> {
        self.folded.status.save(path, self.clock.reading())
    }

    /// Judges one scan of a code. No lock, and for a token seen before no allocation, unless the log does not know it.
    #[must_use]
    pub fn scan(&self, scan: &Scan<'_>) -> Answer {
        // Each age is taken before what it is the age of is read: what is then found is at least as new.
        let of_keys = self.freshness.of_keys(&scan.when.asked());
        let without_code = |reason: Reason| self.without_code(reason, scan.when);
        let (claims, proof, compromised) = match self.read(scan) {
            Ok(read) => read,
            Err(TokenError::Unreadable) => return without_code(Reason::Unreadable),
            Err(TokenError::BadSignature) => return without_code(Reason::BadSignature),
        };
        let Some(kind) = &self.kinds[usize::from(claims.kind.number())] else {
            return without_code(Reason::Unreadable);
        };
        // A list that is not known yet may be of any partition.
        let facts = self.folded.status.reader().facts(claims.status.list);
        let of_code = match facts {
            Some(facts) => self.freshness.of(Partition(facts.partition), &scan.when.asked()),
            None => self.freshness.oldest(&scan.when.asked()),
        };
        let known = self.folded.status.reader().lookup(claims.status, &claims.digest);
        let id_check = match (scan.id_number, claims.id_commitment) {
            (Some(number), Some(commitment)) => {
                if id_commitment_matches(commitment, &self.id_check_key, claims.code_id, number) {
                    IdCheck::Match
                } else {
                    IdCheck::Mismatch
                }
            }
            _ => IdCheck::None,
        };
        let surely = of_keys.and(of_code);
        let mut knowledge = knowledge(surely, scan.when);
        let age_ms = knowledge.age_ms;
        knowledge.key_compromised = compromised;
        // After the status: who reads one from before the foreign message finds it valid as of then.
        let confined = self.folded.status.uncertain();
        if confined.has_code(claims.status) {
            knowledge.age_ms = u64::MAX;
        }
        let mut undelivered = false;
        if known.status == Status::NeverIssued {
            let may_be_hidden = confined.may_hide_birth(facts.map(|facts| Partition(facts.partition)));
            knowledge.reaches = if may_be_hidden || self.is_forgotten(&claims) {
                Timestamp(i64::MIN)
            } else {
                let (shown_ms, issued_at) = (millis(scan.when.asked().monotonic), claims.issued_at);
                let reaches = self.undelivered.reaches(&claims.digest, issued_at, surely, shown_ms);
                undelivered = knowledge.age_ms <= scan.place.max_knowledge_age_ms && issued_at >= reaches;
                reaches
            };
        }
        let evidence = Evidence {
            claims: &claims,
            kind,
            status: known.status,
            proof,
            id_check,
        };
        let verdict = judge(&evidence, scan.place, &knowledge, scan.when.instant());
        let standing = match known.status {
            Status::Issued { standing, .. } if scan.place.standing_counts => Some(standing),
            _ => None,
        };
        let position = CommitPosition {
            partition: known.partition.unwrap_or(0),
            sequence: known.sequence,
        };
        Answer {
            verdict,
            claims: Some(*claims),
            standing,
            position,
            age_ms,
            undelivered: undelivered && verdict.reason == Reason::TooStale,
        }
    }

    /// Waits for a proof that began after a code was shown, by which the code is known or forged; or does not wait longer
    /// than [`HEARS_WITHIN`], nor than half of what is left to the caller. Whether there is one. While a scan of a caller
    /// waits, no other one of that caller does: those behind it in a stream are answered after it.
    pub(crate) async fn heard_of(&self, caller: &CallerId, claims: &CodeClaims, shown: ClockReading) -> bool {
        let Some(_waits) = self.undelivered.wait(caller) else {
            return false;
        };
        let left = deadline::current().map_or(HEARS_WITHIN, |deadline| deadline.remaining() / 2);
        let facts = self.folded.status.reader().facts(claims.status.list);
        let partition = facts.map(|facts| Partition(facts.partition));
        let proved = self
            .freshness
            .proved_after(partition, millis(shown.monotonic), &*self.clock);
        tokio::time::timeout(left.min(HEARS_WITHIN), proved).await.is_ok()
    }

    /// What is said where no code of ours was read. It rests on no partition in particular.
    fn without_code(&self, reason: Reason, when: When) -> Answer {
        Answer {
            verdict: reason.verdict(),
            claims: None,
            standing: None,
            position: CommitPosition {
                partition: 0,
                sequence: 0,
            },
            age_ms: self.freshness.oldest(&when.asked()).age_ms,
            undelivered: false,
        }
    }

    /// Judges an ID card shown instead of a code.
    ///
    /// The person may be known or not (R31): `found` is none for a person unknown to the city, who counts as green
    /// (R21). Then another holder, whom nobody is, stands in for the person, and everything is done and answered as for
    /// a person who is known. The age is that of the oldest partition, since which one a person is in would show in it.
    #[must_use]
    pub fn scan_id_card(
        &self,
        place: &PlacePolicy,
        id_number: &[u8; 18],
        found: Option<HolderId>,
        when: When,
    ) -> Answer {
        let stand_in = stand_in_holder(&self.id_check_key, id_number);
        let holder = found.unwrap_or(stand_in);
        let mut knowledge = knowledge(self.freshness.oldest(&when.asked()), when);
        let age_ms = knowledge.age_ms;
        let bucket = self.bucket_of(holder);
        if self.folded.status.uncertain().has(bucket) {
            knowledge.age_ms = u64::MAX;
        }
        let standing = self.folded.status.reader().standing_of(holder);
        let verdict = judge_id_card(IdCardEvidence { standing }, place, &knowledge);
        let standing = place.standing_counts.then_some(standing);
        // Of the partition in which the holder's standing is set.
        let partition = bucket.partition.0;
        let position = CommitPosition {
            partition,
            sequence: self
                .folded
                .status
                .reader()
                .point(partition)
                .map_or(0, |point| point.sequence),
        };
        Answer {
            verdict,
            claims: None,
            standing,
            position,
            age_ms,
            undelivered: false,
        }
    }

    /// Whether nothing is known any more of the time in which a code of these claims lived: its list retired, and an
    /// issuer puts no code into a list that retires before the code expires.
    fn is_forgotten(&self, claims: &CodeClaims) -> bool {
        let list = claims.status.list;
        let facts = self.folded.status.reader().facts(list);
        facts.is_some_and(|facts| claims.expires_at <= facts.retires_at) && self.folded.status.reader().is_retired(list)
    }

    fn bucket_of(&self, holder: HolderId) -> BucketId {
        self.layout.bucket_of(&holder_stream(holder))
    }

    /// The policy of a kind.
    pub(crate) fn kind(&self, kind: CodeKind) -> Option<&KindPolicy> {
        self.kinds[usize::from(kind.number())].as_deref()
    }

    /// The claims of a scan, from memory where its token was seen before, and what its proof is worth.
    fn read(&self, scan: &Scan<'_>) -> Result<(VerifiedClaims, ProofState, bool), TokenError> {
        let now = scan.when.instant();
        // Clearing the longest buffer for a code of paper would take a tenth of the scan.
        let (mut short, mut long) = ([0u8; SHORT_SCAN_BYTES], None);
        let buffer = if scan.text.len() <= SHORT_SCAN_BYTES {
            &mut short[..]
        } else {
            &mut long.insert([0u8; citycode_token::MAX_SCAN_LEN])[..]
        };
        let canonical = canonical_scan(scan.text, buffer).ok_or(TokenError::Unreadable)?;
        let seen = self.folded.memory.load();
        if canonical.starts_with(PRESENTATION_PREFIX.as_bytes()) {
            let read = citycode_token::Scan::read_canonical(canonical)?;
            let key = *blake3::hash(read.cwt()).as_bytes();
            let claims = match seen.get(&key).filter(|claims| covered(&seen.keyring, claims, now)) {
                Some(claims) => claims,
                None => {
                    let claims = read.verify(&seen.keyring, &self.policy.status_base_uri, now)?;
                    self.folded.memory.remember(&seen, key, claims);
                    claims
                }
            };
            let proof = check_proof(&claims, read.proof(), now, &self.policy.proof, None);
            return Ok((claims, proof, seen.keyring.is_compromised(claims.key_id)));
        }
        let key = *blake3::hash(canonical).as_bytes();
        let claims = match seen.get(&key).filter(|claims| covered(&seen.keyring, claims, now)) {
            Some(claims) => claims,
            None => {
                let read = citycode_token::Scan::read_canonical(canonical)?;
                let claims = read.verify(&seen.keyring, &self.policy.status_base_uri, now)?;
                self.folded.memory.remember(&seen, key, claims);
                claims
            }
        };
        Ok((claims, ProofState::Absent, seen.keyring.is_compromised(claims.key_id)))
    }
}

fn covered(keyring: &citycode_token::Keyring, claims: &VerifiedClaims, now: Timestamp) -> bool {
    keyring.covers(claims.key_id, claims.issued_at, now)
}

/// What a verdict rests on where this much is known.
fn knowledge(known: Known, when: When) -> Knowledge {
    Knowledge {
        age_ms: known.age_ms,
        reaches: known.reaches,
        clock_trusted: match when {
            When::Now(reading) => reading.trust == ClockTrust::Trusted,
            // Whoever asks about a time names it; this clock does not tell it.
            When::At { .. } => true,
        },
        whole_log: true,
        key_compromised: false,
    }
}
