//! The path of one scan: text → token → status → verdict.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use citycode_auth::CallerId;
use citycode_domain::admission::{
    Evidence, IdCardEvidence, IdCheck, Knowledge, ProofState, Reason, Verdict, judge, judge_id_card,
};
use citycode_domain::claims::CodeClaims;
use citycode_domain::ids::{CodeKind, HolderId, PolicyDigest, Position};
use citycode_domain::policy::{KindPolicy, PlacePolicy, Policy};
use citycode_domain::standing::Standing;
use citycode_domain::status::Status;
use citycode_domain::time::Timestamp;
use citycode_event_store::{BucketId, EventStore, Layout, LogPosition, Partition};
use citycode_log_folds::{FoldedStatus, holder_stream};
use citycode_log_tree::FoldedTrees;
use citycode_policy_file::PolicyFile;
use citycode_projection::LogIdentity;
use citycode_projection::status::{FingerprintKey, StatusAnswer, StatusReader};
use citycode_scan_records::{Basis, NotInLog, ScanRecords, ShownEvidence};
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
use crate::memory::Seen;
use crate::undelivered::Undelivered;
use crate::witnesses::{WitnessLimit, keys_are_those_of};
use crate::wrong_cards::WrongCards;

/// Stack buffer for the text of a scan: large enough for every code without a proof, and for most with one.
const SHORT_SCAN_BYTES: usize = 384;

/// How long a scan of a code that is not in the log waits for the proof that it is forged. In one process a proof completes
/// every half second, over a network within four seconds; a person is waiting at the gate.
const PROOF_WAIT: Duration = Duration::from_secs(1);

/// The dependencies of a verifier.
pub struct VerifierParts {
    /// The policy.
    pub policy: PolicyFile,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Maps ID numbers to holders; used for ID cards only.
    pub vault: Arc<dyn Vault>,
    /// The key of the commitments to ID numbers in codes.
    pub id_check_key: IdCheckKey,
    /// The store of scan records.
    pub records: Arc<dyn ScanRecords>,
    /// A random key for fingerprints; every verifier has its own.
    pub fingerprint_key: [u8; 16],
    /// The age in seconds from which a code is checked only if a witnessed checkpoint covers its birth; `None` asks for
    /// no witness.
    pub witnessed_after_seconds: Option<u64>,
    /// The identity of the log.
    pub identity: LogIdentity,
}

/// A verifier. Share it in an [`Arc`]; scans take no lock.
pub struct Verifier {
    pub(crate) policy: Arc<Policy>,
    policy_digest: PolicyDigest,
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
    witnesses: Option<WitnessLimit>,
    /// Indexed by the number of the kind, so that a scan need not search.
    kinds: [Option<Box<KindPolicy>>; CodeKind::MAX as usize + 1],
}

/// One scan of a code.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a> {
    /// The place of the scan.
    pub place: &'a PlacePolicy,
    /// The text that the scanner read.
    pub text: &'a str,
    /// The ID card that was presented with it.
    pub card: PresentedCard<'a>,
    /// The instant to judge at.
    pub when: When,
}

/// The ID card that was presented with a code.
#[derive(Clone, Copy)]
pub enum PresentedCard<'a> {
    /// None.
    Absent,
    /// Its number was read: 18 characters, normalised. Personal.
    Number(&'a [u8; 18]),
    /// Staff found that the person does not match the card, whatever its number is.
    PersonDiffers,
}

/// It does not show the number.
impl std::fmt::Debug for PresentedCard<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Absent => "Absent",
            Self::Number(_) => "Number(…)",
            Self::PersonDiffers => "PersonDiffers",
        })
    }
}

/// The instant of a verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// A passage now: the age of the state is measured on this clock.
    Now(ClockReading),
    /// A query about another time, answered from the current state: the age of the state is that at the time of the query.
    At {
        /// The time in question.
        instant: Timestamp,
        /// The time of the query.
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

    /// When the scan or query arrived.
    fn asked(self) -> ClockReading {
        match self {
            Self::Now(asked) | Self::At { asked, .. } => asked,
        }
    }
}

/// The answer to a scan, and the state on which it is based.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The verdict.
    pub verdict: Verdict,
    /// The claims of the code, if the token was issued by this city.
    pub claims: Option<CodeClaims>,
    /// The holder's standing, if it counts at the place.
    pub standing: Option<Standing>,
    /// The last folded commit of the code's partition.
    pub position: Position,
    /// The age of the state in milliseconds.
    pub age_ms: u64,
    /// Whether the next proof decides between a code that is not folded yet and a forged one.
    pub undelivered: bool,
    /// The instant that was judged.
    pub at: Timestamp,
    /// What the verdict is based on beside the log.
    pub basis: Basis,
}

impl Verifier {
    /// A verifier that starts from a snapshot file if a usable one exists; its fold; and the position from which to
    /// follow the log. Signing keys before that position are read from their stream.
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
        let (identity, layout) = (parts.identity, store.layout());
        let status = match parts.witnessed_after_seconds {
            None => FoldedStatus::open(snapshot, identity, key, now, layout),
            Some(_) => {
                let status = FoldedStatus::open_with_trees(snapshot, identity, key, now, layout);
                if keys_are_those_of(&status, store).await? {
                    status
                } else {
                    tracing::error!("SNAPSHOT NOT USED: the log shows other signing keys than it; the log is replayed");
                    FoldedStatus::open_with_trees(None, identity, key, now, layout)
                }
            }
        };
        let from = status.reaches();
        let witnesses = WitnessLimit::of(parts.witnessed_after_seconds, status.trees(), &layout);
        let folded = Folded::new(status, parts.policy.digest, &parts.fingerprint_key);
        folded.fold_system_streams(store, &from).await?;
        let folded = Arc::new(folded);
        let mut kinds = [const { None }; CodeKind::MAX as usize + 1];
        for kind in &parts.policy.policy.kinds {
            kinds[usize::from(kind.kind.number())] = Some(Box::new(kind.clone()));
        }
        let verifier = Self {
            policy: parts.policy.policy,
            policy_digest: parts.policy.digest,
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
            witnesses,
            kinds,
        };
        Ok((Arc::new(verifier), VerifierFold::new(folded), from))
    }

    /// The freshness of the state; the caller must keep it probing.
    #[must_use]
    pub fn freshness(&self) -> &Arc<Freshness> {
        &self.freshness
    }

    /// The trees of what was folded, if codes need witnesses; the caller must keep comparing them with the published log.
    #[must_use]
    pub fn trees(&self) -> Option<&Arc<FoldedTrees>> {
        self.folded.status.trees()
    }

    /// The projection, from which status lists are published.
    #[must_use]
    pub fn status(&self) -> &StatusReader {
        self.folded.status.reader()
    }

    /// Writes a snapshot of the projection, without lists whose codes expired long ago. Blocks its thread.
    ///
    /// # Errors
    /// An error of the file system; the previous snapshot remains.
    pub fn save_snapshot(&self, path: &Path) -> std::io::Result<()> {
        self.folded.status.save(path, self.clock.reading())
    }

    /// Judges one scan of a code. It takes no lock, and for a token that was seen before it does not allocate, unless the
    /// code is not in the log.
    #[must_use]
    pub fn scan(&self, scan: &Scan<'_>) -> Answer {
        // The age is read before the state, so that the state is at least as new as its age says.
        let asked = scan.when.asked();
        let of_keys = self.freshness.of_keys(&asked);
        let read = match self.read(scan) {
            Ok(read) => read,
            Err(TokenError::Unreadable) => return self.without_code(Reason::Unreadable, scan.when),
            Err(TokenError::BadSignature) => return self.without_code(Reason::BadSignature, scan.when),
        };
        let claims = &read.claims;
        let Some(kind) = &self.kinds[usize::from(claims.kind.number())] else {
            return self.without_code(Reason::Unreadable, scan.when);
        };
        // A list that is not folded yet may belong to any partition.
        let age_of = |partition: Option<u16>| match partition {
            Some(partition) => self.freshness.of(Partition(partition), &asked),
            None => self.freshness.oldest(&asked),
        };
        let reader = self.folded.status.reader();
        let (known, of_code) = reader.lookup_after(claims.status, &claims.digest, age_of);
        let id_check = self.id_check(scan, claims);
        let of_both = of_keys.and(of_code);
        let CodeKnowledge {
            knowledge,
            confined,
            unwitnessed,
            undelivered,
        } = self.knowledge_of(scan, &read, &known, of_both);
        let (status, proof) = (known.status, read.proof);
        let evidence = Evidence {
            claims,
            kind,
            status,
            proof,
            id_check,
        };
        let verdict = judge(&evidence, scan.place, &knowledge, scan.when.instant());
        let standing = match status {
            Status::Issued { standing, .. } if scan.place.standing_counts => Some(standing),
            _ => None,
        };
        Answer {
            verdict,
            claims: Some(**claims),
            standing,
            position: Position::new(known.partition.unwrap_or(0), known.sequence),
            age_ms: of_both.age_ms,
            undelivered: undelivered && verdict.reason == Reason::TooStale,
            at: scan.when.instant(),
            basis: Basis {
                policy: self.policy_digest,
                shown: ShownEvidence::Code {
                    claims: *claims.digest.0.first_chunk().expect("a digest has 32 bytes"),
                    proof,
                    id_check,
                },
                keys_sequence: read.keys_sequence,
                keys_age_ms: of_keys.age_ms,
                code_age_ms: of_code.age_ms,
                confined,
                unwitnessed,
                clock_trusted: knowledge.clock_trusted,
                not_in_log: not_in_log(claims, known.status, &knowledge),
            },
        }
    }

    /// What is known of a code, after its status was read: a status from before a foreign message is valid as of that
    /// position.
    fn knowledge_of(
        &self,
        scan: &Scan<'_>,
        ReadScan {
            claims,
            key_compromised,
            ..
        }: &ReadScan,
        known: &StatusAnswer,
        of_both: Known,
    ) -> CodeKnowledge {
        let uncertain = self.folded.status.uncertain();
        let confined = uncertain.has_code(claims.status);
        let mut knowledge = Knowledge {
            key_compromised: *key_compromised,
            ..knowledge(of_both, scan.when)
        };
        // After the status was read, so that a birth that is in it and is not covered is noticed.
        let unwitnessed = self.witnesses.as_ref().is_some_and(|witnesses| {
            let age = scan.when.asked().now.0.saturating_sub(claims.issued_at.0);
            !witnesses.admit(known.partition.map(Partition), claims.issued_at, age)
        });
        if confined || unwitnessed {
            knowledge.age_ms = u64::MAX;
        }
        let mut undelivered = false;
        if known.status == Status::NeverIssued {
            let may_be_hidden = uncertain.may_hide_issue(known.partition.map(Partition)) || self.was_retired(claims);
            knowledge.reaches = if may_be_hidden {
                Timestamp(i64::MIN)
            } else {
                let shown_ms = millis(scan.when.asked().monotonic);
                self.undelivered
                    .reaches(&claims.digest, claims.issued_at, of_both, shown_ms)
            };
            let is_fresh = knowledge.age_ms <= scan.place.max_knowledge_age_ms;
            undelivered = !may_be_hidden && is_fresh && claims.issued_at >= knowledge.reaches;
        }
        CodeKnowledge {
            knowledge,
            confined,
            unwitnessed,
            undelivered,
        }
    }

    /// Compares the ID card that was presented with a code with the code's commitment.
    fn id_check(&self, scan: &Scan<'_>, claims: &CodeClaims) -> IdCheck {
        match (scan.card, claims.id_commitment) {
            (PresentedCard::PersonDiffers, _) => IdCheck::Mismatch,
            (PresentedCard::Number(number), Some(commitment)) => {
                if id_commitment_matches(commitment, &self.id_check_key, claims.code_id, number) {
                    IdCheck::Match
                } else {
                    IdCheck::Mismatch
                }
            }
            _ => IdCheck::None,
        }
    }

    /// Waits for a proof that began after a code was shown, which decides whether the code is folded or forged; at most
    /// [`PROOF_WAIT`], and at most half of the caller's remaining time. Returns whether there is such a proof. At most one
    /// scan of a caller waits: the scans behind it in a stream are answered after it.
    pub(crate) async fn proved_since(&self, caller: &CallerId, claims: &CodeClaims, shown: ClockReading) -> bool {
        let Some(_waits) = self.undelivered.wait(caller) else {
            return false;
        };
        let left = deadline::current().map_or(PROOF_WAIT, |deadline| deadline.remaining() / 2);
        let facts = self.folded.status.reader().facts(claims.status.list);
        let partition = facts.map(|facts| Partition(facts.partition));
        let proved = self
            .freshness
            .proved_after(partition, millis(shown.monotonic), &*self.clock);
        tokio::time::timeout(left.min(PROOF_WAIT), proved).await.is_ok()
    }

    /// The answer if no code of this city was read. It depends on no particular partition.
    fn without_code(&self, reason: Reason, when: When) -> Answer {
        let knowledge = knowledge(self.freshness.oldest(&when.asked()), when);
        Answer {
            verdict: reason.verdict(),
            claims: None,
            standing: None,
            position: Position::new(0, 0),
            age_ms: knowledge.age_ms,
            undelivered: false,
            at: when.instant(),
            basis: self.basis_without_code(ShownEvidence::Unread, &knowledge, false),
        }
    }

    /// The basis of a verdict on something else than a code of this city.
    fn basis_without_code(&self, shown: ShownEvidence, knowledge: &Knowledge, confined: bool) -> Basis {
        Basis {
            policy: self.policy_digest,
            shown,
            keys_sequence: self.folded.memory.load().keys_sequence,
            keys_age_ms: 0,
            code_age_ms: knowledge.age_ms,
            confined,
            unwitnessed: false,
            clock_trusted: knowledge.clock_trusted,
            not_in_log: None,
        }
    }

    /// Judges an ID card shown instead of a code.
    ///
    /// `found` is `None` for a person who is not registered, who counts as green (R21). To hide that (R31), the work and the
    /// answer are the same as for a registered person: a placeholder holder id, which no holder has, takes the place of the
    /// person's. The age is that of the oldest partition, because an exact age would reveal the person's partition.
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
        let confined = self.folded.status.uncertain().has(bucket);
        let standing = self.folded.status.reader().standing_of(holder);
        let basis = self.basis_without_code(ShownEvidence::Card { standing }, &knowledge, confined);
        if confined {
            knowledge.age_ms = u64::MAX;
        }
        let verdict = judge_id_card(IdCardEvidence { standing }, place, &knowledge);
        let standing = place.standing_counts.then_some(standing);
        // The partition of the holder's event stream, in which the standing is set.
        let partition = bucket.partition.0;
        let point = self.folded.status.reader().point(partition);
        let position = Position::new(partition, point.map_or(0, |point| point.sequence));
        Answer {
            verdict,
            claims: None,
            standing,
            position,
            age_ms,
            undelivered: false,
            at: when.instant(),
            basis,
        }
    }

    /// Whether the state of a code with these claims was dropped: its list is retired, and issuers never put a code into
    /// a list that retires before the code expires.
    fn was_retired(&self, claims: &CodeClaims) -> bool {
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

    /// The basis of an answer for its record; `None` if the policy is not in the log, without which nothing can be
    /// recomputed.
    pub(crate) fn recorded_basis(&self, answer: &Answer) -> Option<Basis> {
        self.folded.has_policy_in_log().then_some(answer.basis)
    }

    /// Whether the policy of this verifier is in the log.
    #[must_use]
    pub fn has_policy_in_log(&self) -> bool {
        self.folded.has_policy_in_log()
    }

    /// The claims of a scan, from memory if its token was seen before, and the state of its proof.
    fn read(&self, scan: &Scan<'_>) -> Result<ReadScan, TokenError> {
        let now = scan.when.instant();
        // Zeroing the longest buffer would take a tenth of the time of an ordinary scan.
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
            let key = self.folded.memory.key_of(read.cwt());
            let claims = match seen.get(&key).filter(|claims| covered(&seen.keyring, claims, now)) {
                Some(claims) => claims,
                None => {
                    let claims = read.verify(&seen.keyring, &self.policy.status_base_uri, now)?;
                    self.folded.memory.remember(&seen, key, claims);
                    claims
                }
            };
            let proof = check_proof(&claims, read.proof(), now, &self.policy.proof, None);
            return Ok(ReadScan::new(&seen, claims, proof));
        }
        let key = self.folded.memory.key_of(canonical);
        let claims = match seen.get(&key).filter(|claims| covered(&seen.keyring, claims, now)) {
            Some(claims) => claims,
            None => {
                let read = citycode_token::Scan::read_canonical(canonical)?;
                let claims = read.verify(&seen.keyring, &self.policy.status_base_uri, now)?;
                self.folded.memory.remember(&seen, key, claims);
                claims
            }
        };
        Ok(ReadScan::new(&seen, claims, ProofState::Absent))
    }
}

/// The knowledge on which the verdict on a code is based.
struct CodeKnowledge {
    knowledge: Knowledge,
    /// Whether a foreign message confined the code's bucket.
    confined: bool,
    /// Whether the code needs witnesses and they do not vouch for its birth.
    unwitnessed: bool,
    /// As [`Answer::undelivered`], if the verdict is `too_stale`.
    undelivered: bool,
}

/// The claims of a code for its record, if the log does not have them.
fn not_in_log(claims: &CodeClaims, status: Status, knowledge: &Knowledge) -> Option<NotInLog> {
    let reaches = match status {
        Status::Issued { .. } => return None,
        Status::NeverIssued => Some(knowledge.reaches),
        Status::OtherClaims => None,
    };
    Some(NotInLog {
        kind: claims.kind,
        issued_at: claims.issued_at,
        expires_at: claims.expires_at,
        place: claims.status,
        reaches,
    })
}

/// A scan whose token has a valid signature.
struct ReadScan {
    claims: VerifiedClaims,
    proof: ProofState,
    key_compromised: bool,
    /// The last commit that changed the keyring with which it was checked.
    keys_sequence: u64,
}

impl ReadScan {
    fn new(seen: &Seen, claims: VerifiedClaims, proof: ProofState) -> Self {
        Self {
            claims,
            proof,
            key_compromised: seen.keyring.is_compromised(claims.key_id),
            keys_sequence: seen.keys_sequence,
        }
    }
}

fn covered(keyring: &citycode_token::Keyring, claims: &VerifiedClaims, now: Timestamp) -> bool {
    keyring.covers(claims.key_id, claims.issued_at, now)
}

/// The knowledge on which a verdict is based.
fn knowledge(known: Known, when: When) -> Knowledge {
    Knowledge {
        age_ms: known.age_ms,
        reaches: known.reaches,
        clock_trusted: match when {
            When::Now(reading) => reading.trust == ClockTrust::Trusted,
            // A query names its time, so this clock does not matter.
            When::At { .. } => true,
        },
        whole_log: true,
        key_compromised: false,
    }
}
