//! A request to verify: authorisation, the scan, the answer and its record.

use std::time::Duration;

use citycode_auth::Caller;
use citycode_domain::admission::{Decision, Reason};
use citycode_domain::id_number::IdNumber;
use citycode_domain::policy::PlacePolicy;
use citycode_domain::time::Timestamp;
use citycode_scan_records::{RecordsError, Registered, ScanNote, ScanRecord, ShownBytes};
use citycode_service_kit::clock::ClockReading;
use citycode_service_kit::deadline;
use citycode_service_kit::limits::{self, DistinctLimiter, Limited};
use citycode_service_kit::problem::{Code, Problem};
use citycode_service_kit::repeated::RepeatedInCalls;
use citycode_wire::proto::verifier::v1::VerifyResponse;
use citycode_wire::request::{ScanRequest, Shown};
use citycode_wire::verdict::{ReadCode, VerdictAnswer};

use crate::scan::{Answer, PresentedCard, Scan, Verifier, When};
use crate::wrong_cards::HeldCard;

/// While the vault or the records do not answer, every scan fails in the same way.
static NO_VAULT: RepeatedInCalls = RepeatedInCalls::new();
static NOT_RECORDED: RepeatedInCalls = RepeatedInCalls::new();
/// Ages in answers are multiples of this.
const SHOWN_AGE_STEP_MS: u64 = 500;
/// How far the requested time may be in the past, since only the current status of codes is known: as much as the
/// caller's clock may be behind, or the request may take.
const PAST_TOLERANCE_SECONDS: i64 = 5;

/// Limits against harvesting standings.
pub(crate) struct CardLimits {
    /// Different persons whose cards a caller reads, with a code or instead of one.
    persons: DistinctLimiter<String>,
    hash_key: [u8; 32],
}

impl CardLimits {
    /// `secret` is random for each process: numbers are counted by their keyed hash.
    pub(crate) fn new(secret: &[u8; 16]) -> Self {
        Self {
            persons: DistinctLimiter::new(
                limits::DISTINCT_PER_CALLER,
                limits::DISTINCT_WINDOW,
                limits::REMEMBERED_CALLERS,
            ),
            hash_key: blake3::derive_key("citycode verifier: hash of card numbers", secret),
        }
    }

    fn count_person(&self, caller: &Caller, number: &IdNumber, monotonic: Duration) -> Result<(), Problem> {
        if caller.is_admin() {
            return Ok(());
        }
        let hash = blake3::keyed_hash(&self.hash_key, number.as_bytes());
        let value = u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"));
        let admitted = self.persons.admit(&caller.id.as_str().to_owned(), value, monotonic);
        admitted.map_err(|limited| limited_problem(limited, "too many different ID cards in a short time"))
    }
}

fn limited_problem(limited: Limited, detail: &str) -> Problem {
    let seconds = limited.retry_after.as_secs().saturating_add(1);
    Problem::new(Code::RateLimited, detail).with_retry_after(seconds)
}

/// A request whose caller is authorised.
#[derive(Clone, Copy)]
struct AuthorizedScan<'a> {
    place: &'a PlacePolicy,
    device: &'a str,
    scan_id: &'a str,
    /// A request about another time is not recorded.
    when: When,
    /// The time of the request.
    started: ClockReading,
}

impl AuthorizedScan<'_> {
    fn is_recorded(&self) -> bool {
        matches!(self.when, When::Now(_))
    }

    /// Whether the record is durable before the answer.
    fn registers(&self) -> bool {
        self.place.registers && self.is_recorded()
    }
}

/// A request that was judged.
struct Judged {
    answer: Answer,
    /// Distinguishes this scan from another with the same scan id; for a code, set only if the place registers.
    shown: ShownBytes,
}

impl Verifier {
    /// Answers one request.
    ///
    /// # Errors
    /// `unknown_place`, `not_allowed`, `past_not_supported`, `invalid_id_number`, `rate_limited`, `unavailable`.
    pub async fn verify(&self, caller: &Caller, request: &ScanRequest<'_>) -> Result<VerifyResponse, Problem> {
        let asked = self.authorize(caller, request)?;
        let judged = match (request.shown, request.id_number) {
            (Shown::IdCard(number), _) => self.card(caller, asked, number).await?,
            (Shown::Code(text), _) if request.person_differs => {
                self.judge_with_wait(caller, asked, text, PresentedCard::PersonDiffers)
                    .await
            }
            (Shown::Code(text), None) => self.judge_with_wait(caller, asked, text, PresentedCard::Absent).await,
            (Shown::Code(text), Some(card)) => self.shown_code_with_card(caller, asked, text, card).await?,
        };
        // A person who does not match is never answered as registered, also if the same scan was registered before.
        if !asked.registers() || request.person_differs {
            return Ok(self.record_and_respond(caller, asked, &judged.answer, request));
        }
        self.count(asked, &judged.answer);
        let answer = self.register(asked, judged).await?;
        Ok(self.response(caller, asked.place, &answer, request.explain))
    }

    /// Answers a request that needs neither the vault nor records; `None` if it does.
    pub(crate) fn verify_at_once(
        &self,
        caller: &Caller,
        request: &ScanRequest<'_>,
    ) -> Option<Result<VerifyResponse, Problem>> {
        let asked = match self.authorize(caller, request) {
            Ok(asked) => asked,
            Err(problem) => return Some(Err(problem)),
        };
        let (Shown::Code(text), None, false) = (request.shown, request.id_number, asked.registers()) else {
            return None;
        };
        let card = if request.person_differs {
            PresentedCard::PersonDiffers
        } else {
            PresentedCard::Absent
        };
        let judged = self.judged(asked, text, card, asked.when);
        if judged.answer.undelivered {
            return None;
        }
        Some(Ok(self.record_and_respond(caller, asked, &judged.answer, request)))
    }

    /// Records the scan without waiting, and returns the answer.
    fn record_and_respond(
        &self,
        caller: &Caller,
        asked: AuthorizedScan<'_>,
        answer: &Answer,
        request: &ScanRequest<'_>,
    ) -> VerifyResponse {
        self.count(asked, answer);
        if asked.is_recorded() {
            self.records.note(&self.note(asked, answer));
        }
        self.response(caller, asked.place, answer, request.explain)
    }

    /// Checks who may verify what, where and for which time.
    fn authorize<'a>(&'a self, caller: &'a Caller, request: &ScanRequest<'a>) -> Result<AuthorizedScan<'a>, Problem> {
        let place = self.known_place(request.place)?;
        let device = self.device(caller, place, request)?;
        if request.at.is_some() && !(caller.is_auditor() || caller.is_admin()) {
            return Err(Problem::new(
                Code::NotAllowed,
                "only an auditor or an admin may verify for another time",
            ));
        }
        let started = self.clock.reading();
        Ok(AuthorizedScan {
            place,
            device,
            scan_id: request.scan_id,
            when: when(request.at, started)?,
            started,
        })
    }

    /// The place with this name.
    ///
    /// # Errors
    /// `unknown_place`.
    pub(crate) fn known_place(&self, name: &str) -> Result<&PlacePolicy, Problem> {
        self.policy.place(name).ok_or_else(|| {
            let known: Vec<_> = self.policy.places.iter().map(|place| place.name.as_str()).collect();
            Problem::new(
                Code::UnknownPlace,
                format!("the policy has no such place; it has {}", known.join(", ")),
            )
        })
    }

    /// The record of a scan.
    fn note<'a>(&self, asked: AuthorizedScan<'a>, answer: &Answer) -> ScanNote<&'a str> {
        ScanNote {
            at: answer.at.0,
            place: &asked.place.name,
            device: asked.device,
            scan_id: asked.scan_id,
            code_id: answer.claims.map(|claims| claims.code_id),
            reason: answer.verdict.reason,
            position: answer.position,
            age_ms: answer.age_ms,
            basis: self.recorded_basis(answer),
        }
    }

    /// Counts a scan. A request about another time is not a scan and raises no alarm.
    fn count(&self, asked: AuthorizedScan<'_>, answer: &Answer) {
        if !asked.is_recorded() {
            return;
        }
        let took = self.clock.monotonic().saturating_sub(asked.started.monotonic);
        self.measures.count(answer.verdict, took);
        if answer.verdict.reason == Reason::UnknownCode {
            tracing::error!(
                place = asked.place.name,
                "ALARM: a token with a valid signature is not in the log"
            );
        }
    }

    /// The device as which the caller verifies here.
    fn device<'a>(
        &self,
        caller: &'a Caller,
        place: &PlacePolicy,
        request: &ScanRequest<'a>,
    ) -> Result<&'a str, Problem> {
        let at_a_desk = || (caller.is_admin() || caller.is_auditor()).then_some("desk");
        let device = request
            .device
            .or_else(|| caller.device_at(&place.name))
            .or_else(at_a_desk);
        let auditor_asks = request.at.is_some() && caller.is_auditor();
        device
            .filter(|device| caller.may_verify(&place.name, device) || auditor_asks)
            .ok_or_else(|| {
                let detail = "the caller may not verify at this place as this device";
                Problem::new(Code::NotAllowed, detail)
            })
    }

    /// Judges a code. If it is not in the state yet, it is judged again once it is there or proved to be forged, if
    /// that happens soon.
    async fn judge_with_wait(
        &self,
        caller: &Caller,
        asked: AuthorizedScan<'_>,
        text: &str,
        card: PresentedCard<'_>,
    ) -> Judged {
        let judged = self.judged(asked, text, card, asked.when);
        match judged.answer.claims.filter(|_| judged.answer.undelivered) {
            Some(claims) if self.proved_since(&caller.id, &claims, asked.started).await => {
                self.judged(asked, text, card, self.when_now(asked.when))
            }
            _ => judged,
        }
    }

    /// Judges a code and the ID card that was read with it. The card is compared only while the device has not
    /// presented too many wrong ones with this code.
    async fn shown_code_with_card(
        &self,
        caller: &Caller,
        asked: AuthorizedScan<'_>,
        text: &str,
        card: &str,
    ) -> Result<Judged, Problem> {
        let card = self.id_number(card)?;
        self.limits.count_person(caller, &card, asked.started.monotonic)?;
        let judged = self.judge_with_wait(caller, asked, text, PresentedCard::Absent).await;
        // The card is compared last (R23): codes that are refused or cannot be checked need no records.
        if !matches!(
            judged.answer.verdict.decision,
            Decision::Admit | Decision::AdmitAfterIdCheck
        ) {
            return Ok(judged);
        }
        let Some(claims) = judged.answer.claims.filter(|claims| claims.id_commitment.is_some()) else {
            return Ok(judged);
        };
        let held = HeldCard {
            device: asked.device,
            place: &asked.place.name,
            code_id: claims.code_id,
            at: asked.started.now.0,
        };
        let _guard = self.wrong_cards.lock(&held).await;
        self.wrong_cards.open(&held).await?;
        // The records may have answered slowly, so the freshness is read again.
        let card = PresentedCard::Number(card.as_bytes());
        let judged = self.judged(asked, text, card, self.when_now(asked.when));
        if judged.answer.verdict.reason == Reason::IdMismatch {
            self.wrong_cards.count(&held).await?;
            if asked.is_recorded() {
                self.wrong_cards.count_in_city(&held).await;
            }
        }
        Ok(judged)
    }

    fn judged(&self, asked: AuthorizedScan<'_>, text: &str, card: PresentedCard<'_>, when: When) -> Judged {
        let place = asked.place;
        let answer = self.scan(&Scan {
            place,
            text,
            card,
            when,
        });
        let shown = || match &answer.claims {
            Some(claims) => claims.digest.0.to_vec(),
            None => blake3::hash(text.as_bytes()).as_bytes().to_vec(),
        };
        let shown = ShownBytes::new(if place.registers { shown() } else { Vec::new() });
        Judged { answer, shown }
    }

    /// The same time to judge for, with the freshness of now.
    fn when_now(&self, when: When) -> When {
        let asked = self.clock.reading();
        match when {
            When::Now(_) => When::Now(asked),
            When::At { instant, .. } => When::At { instant, asked },
        }
    }

    async fn card(&self, caller: &Caller, asked: AuthorizedScan<'_>, number: &str) -> Result<Judged, Problem> {
        if !caller.may_read_cards() {
            return Err(Problem::new(
                Code::NotAllowed,
                "the caller may not ask whether an ID card admits",
            ));
        }
        let number = self.id_number(number)?;
        self.limits.count_person(caller, &number, asked.started.monotonic)?;
        let holder = self.vault.find_evenly(&number).await.map_err(|error| {
            if let Some(unreported) = NO_VAULT.failed(&error.to_string()) {
                tracing::error!(%error, unreported, "the vault does not answer");
            }
            Problem::new(Code::Unavailable, "the register of persons cannot be reached")
        })?;
        // The vault may have answered slowly, so the freshness is read again.
        let when = self.when_now(asked.when);
        Ok(Judged {
            answer: self.scan_id_card(asked.place, number.as_bytes(), holder, when),
            shown: ShownBytes::new(number.as_bytes().to_vec()),
        })
    }

    fn id_number(&self, text: &str) -> Result<IdNumber, Problem> {
        let today = citycode_policy_file::local_date(&self.policy, Timestamp(self.clock.now().0));
        IdNumber::parse(text, today).map_err(|invalid| Problem::new(Code::InvalidIdNumber, invalid.to_string()))
    }

    /// Records the scan at a place that registers: durably before the answer, and a repeat is answered as recorded,
    /// whatever happened to the code since (R20).
    async fn register(&self, asked: AuthorizedScan<'_>, judged: Judged) -> Result<Answer, Problem> {
        let Judged { answer, shown } = judged;
        let note = self.note(asked, &answer);
        let outcome = if answer.verdict.decision == Decision::Admit {
            deadline::mark_begun();
            self.records.register(&note, shown).await.map(Some)
        } else {
            // This scan does not register, but it may be the repeat of one that did.
            let before = if asked.scan_id.is_empty() {
                Ok(None)
            } else {
                self.records.registered(&note, &shown).await
            };
            if matches!(before, Ok(None)) {
                self.records.note(&note);
            }
            before
        };
        match outcome {
            Ok(None | Some(Registered::Now)) => Ok(answer),
            Ok(Some(Registered::Before(record))) => Ok(as_recorded(answer, &record)),
            Ok(Some(Registered::ForAnother)) => {
                let detail = "this device has used this scan id for another code or card; use a new id for every scan";
                Err(Problem::new(Code::IdempotencyKeyReused, detail))
            }
            Err(error) => {
                if let Some(unreported) = NOT_RECORDED.failed(&error.to_string()) {
                    tracing::error!(%error, unreported, "a registration could not be recorded");
                }
                if answer.verdict.decision == Decision::CannotCheck {
                    // It may be the repeat of a registration; `cannot_check` is a valid answer in either case.
                    self.records.note(&note);
                    return Ok(answer);
                }
                Err(match error {
                    RecordsError::Unavailable(_) => Problem::new(
                        Code::Unavailable,
                        "the registration could not be recorded, so the person is not registered",
                    ),
                    RecordsError::Unknown(_) => Problem::outcome_unknown(
                        "whether the registration was recorded is not known: send the same scan again under the same id",
                    ),
                })
            }
        }
    }

    /// The answer as the caller may see it. Only auditors and admins see the position and the exact age: both differ
    /// between partitions, and all codes of a holder are in one partition.
    fn response(&self, caller: &Caller, place: &PlacePolicy, answer: &Answer, explain: bool) -> VerifyResponse {
        let exactly = caller.is_auditor() || caller.is_admin();
        let code = answer.claims.as_ref().and_then(|claims| {
            let kind = self.kind(claims.kind)?;
            Some(ReadCode {
                kind: &kind.name,
                code_id: claims.code_id,
                expires_at: claims.expires_at,
            })
        });
        VerdictAnswer {
            verdict: answer.verdict,
            code,
            place: &place.name,
            standing: answer.standing,
            position: exactly.then_some(answer.position),
            age_ms: if exactly {
                answer.age_ms
            } else {
                rounded_up(answer.age_ms)
            },
            explain,
        }
        .into()
    }
}

/// The time to judge for, of a request with or without `at`.
fn when(at: Option<i64>, asked: ClockReading) -> Result<When, Problem> {
    let Some(at) = at else {
        return Ok(When::Now(asked));
    };
    if at < asked.now.0.saturating_sub(PAST_TOLERANCE_SECONDS) {
        let detail = format!(
            "the time is more than {PAST_TOLERANCE_SECONDS} s ago, and a verifier knows the status of codes now, not then"
        );
        return Err(Problem::new(Code::PastNotSupported, detail));
    }
    let instant = Timestamp(at);
    Ok(When::At { instant, asked })
}

/// An age in steps that are too coarse to distinguish partitions.
pub(crate) fn rounded_up(age_ms: u64) -> u64 {
    age_ms.checked_next_multiple_of(SHOWN_AGE_STEP_MS).unwrap_or(u64::MAX)
}

/// The answer that was recorded with the scan.
fn as_recorded(now: Answer, record: &ScanRecord) -> Answer {
    Answer {
        verdict: record.scan.reason.verdict(),
        position: record.scan.position,
        age_ms: record.scan.age_ms,
        ..now
    }
}
