//! Why a verdict was given: one record, recomputed from the log as it stood at that moment (R26).

use citycode_auth::Caller;
use citycode_domain::admission::{Reason, Verdict};
use citycode_domain::ids::{CodeId, PolicyDigest, Position};
use citycode_domain::status::Status;
use citycode_domain::time::Timestamp;
use citycode_log_folds::keys_stream;
use citycode_query_stream::QueryKind;
use citycode_replay::{AsOf, CodeLife, NotRecomputable, PolicyInLog, Recomputed, Timeline, recompute, steps_of};
use citycode_scan_records::{Batch, RecordArchive, ScanRecord, day_of};
use citycode_service_kit::problem::{Code, Problem};
use citycode_token::TokenError;
use citycode_wire::proto::audit::v1 as proto;
use citycode_wire::request::Question;
use citycode_wire::verdict::{decision_value, reason_value};

use crate::history::{Audit, sent_position, unavailable};
use crate::queries::Asked;
use crate::run::Unobserved;

impl Audit {
    /// Recomputes one recorded verdict, or computes the verdict on a code at an instant. The question is recorded before it
    /// is answered.
    ///
    /// # Errors
    /// `not_allowed`, `no_record`, `retention`, `unknown_place`, `unavailable`.
    pub async fn explain(
        &self,
        caller: &Caller,
        purpose: &str,
        question: Question<'_>,
    ) -> Result<proto::ExplainResponse, Problem> {
        self.auditors_only(caller)?;
        let (code_id, answer) = match question {
            Question::Scan { device, scan_id, day } => match self.find(device, scan_id, day).await {
                Ok(record) => (record.scan.code_id, self.explain_record(&record).await),
                Err(problem) => (None, Err(problem)),
            },
            Question::Code { code, place, at } => match self.explain_code(code, place, Timestamp(at)).await {
                Ok((code_id, answer)) => (code_id, Ok(answer)),
                Err(problem) => (None, Err(problem)),
            },
        };
        let asked = Asked {
            kind: QueryKind::Explain,
            purpose,
            holder: match code_id {
                Some(code_id) => self.living_holder(code_id).await?,
                None => None,
            },
        };
        self.record_answer(caller, asked, answer, |_| 1).await
    }

    async fn explain_record(&self, record: &ScanRecord) -> Result<proto::ExplainResponse, Problem> {
        let mut timeline = self.keys_and_policies().await?;
        if let Some(code_id) = record.scan.code_id {
            self.add_code(&mut timeline, code_id).await?;
        }
        let mut answer = proto::ExplainResponse {
            recorded: Some(recorded(record)),
            ..proto::ExplainResponse::default()
        };
        let policy = record.scan.basis.and_then(|basis| {
            let policy = timeline.policy(basis.policy)?;
            Some((basis.policy, policy))
        });
        match recompute(record, &timeline) {
            Ok(recomputed) if recomputed.verdict.reason != record.scan.reason && self.rests_on_lost(record).await? => {
                NotRecomputable::LostChanges
                    .name()
                    .clone_into(&mut answer.not_recomputable);
            }
            Ok(recomputed) => {
                answer.agrees = Some(recomputed.verdict.reason == record.scan.reason);
                self.complete(&mut answer, &recomputed, policy);
                let as_of = AsOf::Position(record.scan.position);
                let life = record.scan.code_id.and_then(|code_id| timeline.life(code_id));
                answer.rests_on = self.resting_on(life, as_of, policy.map(|(_, policy)| policy));
                let keys = record.scan.basis.map_or(0, |basis| basis.keys_sequence);
                self.add_keys(&mut answer, &timeline, keys);
            }
            Err(why) => answer.not_recomputable = why.name().to_owned(),
        }
        Ok(answer)
    }

    /// Whether a record rests on commits that were lost since: what is at its position now was decided after the loss.
    async fn rests_on_lost(&self, record: &ScanRecord) -> Result<bool, Problem> {
        let mut timeline = Timeline::new();
        self.add_losses(&mut timeline).await?;
        let at = Timestamp(record.scan.at);
        if !timeline.losses().is_followed(at) {
            return Ok(false);
        }
        let there = self.store.read_at(record.scan.position).await;
        let there = there.map_err(|error| unavailable(&error))?;
        Ok(there.is_none_or(|commit| timeline.losses().is_between(at, Timestamp(commit.commit.decided_at))))
    }

    /// What a verifier that knew everything of an instant would have answered, and which code it was.
    async fn explain_code(
        &self,
        text: &str,
        place: &str,
        at: Timestamp,
    ) -> Result<(Option<CodeId>, proto::ExplainResponse), Problem> {
        let then = self.judge_then(text, place, at).await?;
        let mut answer = proto::ExplainResponse::default();
        match &then.judged {
            Ok(recomputed) => self.complete(&mut answer, recomputed, then.policy()),
            Err(why) => why.name().clone_into(&mut answer.not_recomputable),
        }
        if then.claims.is_some() && then.judged.is_ok() {
            let policy = then.policy().map(|(_, policy)| policy);
            answer.rests_on = self.resting_on(then.life(), AsOf::Instant(at), policy);
            self.add_keys(&mut answer, &then.timeline, then.keys_sequence);
        }
        Ok((then.claims.map(|claims| claims.code_id), answer))
    }

    fn complete(
        &self,
        answer: &mut proto::ExplainResponse,
        recomputed: &Recomputed,
        policy: Option<(PolicyDigest, &PolicyInLog)>,
    ) {
        answer.recomputed = Some(verdict(recomputed.verdict));
        answer.policy = policy.map(|(digest, policy)| proto::PolicyRef {
            name: policy.policy.name.clone(),
            digest: digest.to_string(),
        });
        let steps = steps_of(recomputed).into_iter().map(|step| proto::ExplainStep {
            rule: step.rule.to_owned(),
            check: step.check.to_owned(),
            outcome: step.outcome.name().to_owned(),
            zh: step.zh.to_owned(),
            en: step.en.to_owned(),
        });
        answer.steps = steps.collect();
    }

    fn resting_on(
        &self,
        life: Option<CodeLife<'_>>,
        as_of: AsOf,
        policy: Option<&PolicyInLog>,
    ) -> Vec<proto::RestingEvent> {
        let mut events = Vec::new();
        if let Some(policy) = policy {
            events.push(resting("PolicyAdopted", policy.position, policy.adopted_at));
        }
        let Some(life) = life.filter(|life| as_of.knows(life)) else {
            return events;
        };
        events.push(resting("CodeIssued", life.issued, life.decided_at));
        for change in as_of.changes_of(&life) {
            let position = Position::new(life.issued.partition.0, change.sequence);
            events.push(resting(change.event, position, change.decided_at));
        }
        events
    }

    /// The commit that last changed the signing keys, as of a sequence of their partition.
    fn add_keys(&self, answer: &mut proto::ExplainResponse, timeline: &Timeline, sequence: u64) {
        let Some(change) = timeline.keys().change_up_to(sequence) else {
            return;
        };
        let partition = self.store.layout().bucket_of(&keys_stream()).partition.0;
        let position = Position::new(partition, change.sequence);
        answer.rests_on.push(resting(change.event, position, change.decided_at));
    }

    /// The record of a scan by the device's id; the newest if the id was used again after the engine forgot it.
    async fn find(&self, device: &str, scan_id: &str, day: Option<u32>) -> Result<ScanRecord, Problem> {
        let retained = self.records()?.days().await.map_err(|error| unavailable(&error))?;
        let days: Vec<u32> = match day {
            Some(day) => vec![day],
            None => retained.iter().rev().copied().collect(),
        };
        for day in days {
            let mut found = None;
            let each = |batch: &Batch| {
                // A batch that cannot be opened is reported by an audit of the period.
                let mut records = batch.records.iter().flatten().rev();
                let last = records.find(|record| *record.scan.device == *device && *record.scan.scan_id == *scan_id);
                found = last.cloned().or(found.take());
            };
            self.each_batch(day, each, &mut Unobserved).await?;
            if let Some(found) = found {
                return Ok(found);
            }
        }
        let today = day_of(self.clock.now().0).unwrap_or(0);
        let is_past = day.is_some_and(|day| day < today && !retained.contains(&day));
        Err(if is_past {
            Problem::new(
                Code::Retention,
                "the scan records of that day are destroyed, or there were none",
            )
        } else {
            Problem::new(Code::NoRecord, "this device has no recorded scan with this id")
        })
    }

    /// The scan records.
    ///
    /// # Errors
    /// `unavailable` where they cannot be read.
    pub(crate) fn records(&self) -> Result<&std::sync::Arc<dyn RecordArchive>, Problem> {
        self.records
            .as_ref()
            .ok_or_else(|| Problem::new(Code::Unavailable, "this audit service cannot read scan records"))
    }

    /// # Errors
    /// `not_allowed` unless the caller may audit.
    pub(crate) fn auditors_only(&self, caller: &Caller) -> Result<(), Problem> {
        if caller.is_auditor() || caller.is_admin() {
            Ok(())
        } else {
            Err(Problem::new(
                Code::NotAllowed,
                "only an auditor or an admin may audit verdicts",
            ))
        }
    }
}

/// The verdict on a text that is no code with a valid signature.
pub(crate) fn unread(error: TokenError) -> Recomputed {
    let reason = match error {
        TokenError::Unreadable => Reason::Unreadable,
        TokenError::BadSignature => Reason::BadSignature,
    };
    Recomputed {
        verdict: reason.verdict(),
        status: Some(Status::NeverIssued),
        stale_by_age: false,
    }
}

fn resting(event: &str, position: Position, decided_at: Timestamp) -> proto::RestingEvent {
    proto::RestingEvent {
        position: Some(sent_position(position)),
        event: event.to_owned(),
        decided_at: decided_at.0,
    }
}

pub(crate) fn verdict(verdict: Verdict) -> proto::Verdict {
    proto::Verdict {
        decision: decision_value(verdict.decision).into(),
        reason: reason_value(verdict.reason).into(),
    }
}

fn recorded(record: &ScanRecord) -> proto::RecordedVerdict {
    let scan = &record.scan;
    proto::RecordedVerdict {
        verdict: Some(verdict(scan.reason.verdict())),
        at: scan.at,
        place: scan.place.to_string(),
        position: Some(sent_position(scan.position)),
        age_ms: scan.age_ms,
    }
}
