//! A fixture: one holder on the pure domain. Commands are decided and their events applied, as a writer does.

use citycode_domain::admission::{Evidence, IdCheck, Knowledge, ProofState, Verdict, judge};
use citycode_domain::claims::CodeClaims;
use citycode_domain::event::{CodeIssued, Event, Sealed, Slot};
use citycode_domain::ids::{
    ClaimsDigest, CodeId, CodeKind, HolderId, KeyId, ListId, NameChangeId, Position, StatusRef,
};
use citycode_domain::lifecycle::issue_code::{IssueCode, IssueDraw, PersonFacts};
use citycode_domain::lifecycle::{
    HolderState, Refusal, SlotState, change_standing, erase_holder, issue_code, officer_hold, register_holder,
    relationship, rename_holder, report_loss, reprint_code, revoke_code,
};
use citycode_domain::policy::Policy;
use citycode_domain::standing::Standing;
use citycode_domain::status::{Death, Life, Status};
use citycode_domain::time::Timestamp;
use jiff::civil::{Date, date};

/// 2022-08-31, 08:00 in Shanghai.
pub(crate) const START: Timestamp = Timestamp(1_661_904_000);
pub(crate) const DAY: i64 = 86_400;
pub(crate) const MOTHER: HolderId = HolderId([1; 16]);
pub(crate) const FATHER: HolderId = HolderId([2; 16]);
const HOLDER: HolderId = HolderId([9; 16]);

/// A holder and the log of its stream.
pub(crate) struct Holder {
    pub(crate) policy: Policy,
    pub(crate) state: HolderState,
    pub(crate) log: Vec<(Event, Position, Timestamp)>,
    pub(crate) now: Timestamp,
    pub(crate) facts: PersonFacts,
    drawn: u64,
}

pub(crate) type Done = Result<Vec<Event>, Refusal>;

impl Holder {
    /// A registered holder of 70 years, who is eligible for every kind.
    pub(crate) fn new() -> Self {
        let mut holder = Self {
            policy: citycode_policy_file::parse(citycode_policy_file::SHANGHAI).expect("the shipped policy is valid"),
            state: HolderState::default(),
            log: Vec::new(),
            now: START,
            facts: PersonFacts {
                birth_date: date(1952, 1, 1),
                today: date(2022, 8, 31),
                disability: false,
                group: false,
            },
            drawn: 0,
        };
        let events = register_holder::decide(&holder.state, HOLDER);
        holder.apply(events);
        holder
    }

    /// A holder with a recorded relationship.
    pub(crate) fn with_guardian(guardian: HolderId) -> Self {
        let mut holder = Self::new();
        holder.relate(guardian).expect("a relationship can be recorded");
        holder
    }

    pub(crate) fn born(mut self, birth_date: Date) -> Self {
        self.facts.birth_date = birth_date;
        self
    }

    pub(crate) fn pass(&mut self, seconds: i64) -> &mut Self {
        self.now = self.now.plus_seconds(seconds);
        self.facts.today = citycode_policy_file::local_date(&self.policy, self.now);
        self
    }

    fn apply(&mut self, events: Vec<Event>) -> Vec<Event> {
        for event in &events {
            let position = Position::new(0, u64::try_from(self.log.len()).expect("small") + 1);
            self.state.apply(event, position, self.now);
            self.log.push((event.clone(), position, self.now));
        }
        events
    }

    pub(crate) fn issue_for(
        &mut self,
        kind: &str,
        channel: &str,
        guardian: Option<HolderId>,
    ) -> Result<CodeIssued, Refusal> {
        let kind = self.policy.kind_named(kind).expect("a kind").clone();
        let command = IssueCode {
            kind: &kind,
            channel: self.policy.channel(channel).expect("a channel"),
            guardian,
            person: self.facts,
        };
        let grant = issue_code::grant(&self.state, &command, self.now)?;
        self.drawn += 1;
        let draw = IssueDraw {
            code_id: CodeId(self.drawn.to_be_bytes()),
            status: StatusRef {
                list: ListId::new(0, kind.kind, grant.expires_at, 0).expect("it fits"),
                index: u32::try_from(self.drawn).expect("small"),
            },
        };
        let code = issue_code::decide(&self.state, &command, draw, self.now)?;
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&self.drawn.to_be_bytes());
        let issued = code.into_event(KeyId([7; 4]), ClaimsDigest(digest), Sealed(vec![1]));
        self.apply(vec![Event::CodeIssued(issued.clone())]);
        Ok(issued)
    }

    /// Issues a code for the holder at a channel of Shanghai that allows it.
    pub(crate) fn issue(&mut self, kind: &str) -> CodeIssued {
        let channel = if kind == "offline" { "pc" } else { "app" };
        self.issue_for(kind, channel, None).expect("it may be issued")
    }

    pub(crate) fn lose(&mut self, kind: &str, channel: &str, guardian: Option<HolderId>) -> Done {
        let events = report_loss::decide(
            &self.state,
            self.policy.kind_named(kind).expect("a kind"),
            self.policy.channel(channel).expect("a channel"),
            guardian,
            self.now,
        )?;
        Ok(self.apply(events))
    }

    pub(crate) fn reprint(&self, kind: &str, channel: &str, guardian: Option<HolderId>) -> Result<SlotState, Refusal> {
        let kind = self.policy.kind_named(kind).expect("a kind");
        let channel = self.policy.channel(channel).expect("a channel");
        reprint_code::decide(&self.state, kind, channel, guardian, self.now).cloned()
    }

    pub(crate) fn revoke(&mut self, slot: Slot) -> Done {
        let events = revoke_code::decide(&self.state, slot, Sealed(vec![2]), self.now)?;
        Ok(self.apply(events))
    }

    pub(crate) fn suspend(&mut self, slot: Slot) -> Done {
        let events = officer_hold::decide_suspend(&self.state, slot, Sealed(vec![3]), self.now)?;
        Ok(self.apply(events))
    }

    pub(crate) fn reinstate(&mut self, slot: Slot) -> Done {
        let events = officer_hold::decide_reinstate(&self.state, slot, Sealed(vec![4]), self.now)?;
        Ok(self.apply(events))
    }

    pub(crate) fn relate(&mut self, guardian: HolderId) -> Done {
        let events = relationship::decide_record(&self.state, HOLDER, guardian)?;
        Ok(self.apply(events))
    }

    pub(crate) fn unrelate(&mut self, guardian: HolderId) -> Done {
        let events = relationship::decide_end(&self.state, guardian, self.now)?;
        Ok(self.apply(events))
    }

    pub(crate) fn set_standing(&mut self, standing: Standing) -> Done {
        let events = change_standing::decide(&self.state, standing, Sealed(vec![5]), self.now)?;
        Ok(self.apply(events))
    }

    pub(crate) fn rename(&mut self) -> Done {
        let events = rename_holder::decide(&self.state, NameChangeId([6; 16]), Sealed(vec![6]))?;
        Ok(self.apply(events))
    }

    pub(crate) fn erase(&mut self, by_officer: bool) -> Done {
        let events = erase_holder::decide(&self.state, by_officer, self.now)?;
        Ok(self.apply(events))
    }

    pub(crate) fn kind(&self, name: &str) -> CodeKind {
        self.policy.kind_named(name).expect("a kind").kind
    }

    pub(crate) fn slot(&self, kind: &str, guardian: Option<HolderId>) -> Slot {
        let kind = self.kind(kind);
        Slot { kind, guardian }
    }

    /// Whether the code is valid now according to the log.
    pub(crate) fn lives(&self, code: &CodeIssued) -> bool {
        let life = matches!(self.status(code.code.code_id), Status::Issued { life: Life::Valid, .. });
        life && code.issued_at <= self.now && self.now < code.expires_at
    }

    /// The status of a code as a verifier folds it from the log, without the holder's state.
    pub(crate) fn status(&self, code_id: CodeId) -> Status {
        let mut life = None;
        let mut standing = Standing::Green;
        for (event, _, _) in &self.log {
            let names = |code: &citycode_domain::event::CodeRef| code.code_id == code_id;
            match event {
                Event::CodeIssued(issued) if names(&issued.code) => {
                    life = Some(Life::Valid);
                    standing = issued.standing;
                }
                Event::CodeIssued(issued) if issued.supersedes.as_ref().is_some_and(names) => {
                    life = Some(Life::Dead(Death::Superseded));
                }
                Event::CodeReportedLost(lost) if names(&lost.code) => {
                    life = Some(Life::Dead(Death::ReportedLost));
                }
                Event::CodeRevoked(revoked) if names(&revoked.code) => {
                    life = Some(Life::Dead(Death::Revoked));
                }
                Event::RelationshipEnded(ended) if ended.codes.iter().any(names) => {
                    life = Some(Life::Dead(Death::Revoked));
                }
                Event::HolderErased(erased) if erased.codes.iter().any(names) => {
                    life = Some(Life::Dead(Death::Revoked));
                }
                Event::CodeSuspended(held) if names(&held.code) => life = Some(Life::Suspended),
                Event::CodeReinstated(freed) if freed.code.as_ref().is_some_and(names) => {
                    life = Some(Life::Valid);
                }
                Event::StandingChanged(changed) if changed.codes.iter().any(names) => {
                    standing = changed.standing;
                }
                _ => {}
            }
        }
        life.map_or(Status::NeverIssued, |life| Status::Issued { life, standing })
    }

    /// Scans a code; device-bound codes are shown with a fresh proof.
    pub(crate) fn scan(&self, code: &CodeIssued, place: &str, id_check: IdCheck) -> Verdict {
        let kind = self.policy.kind(code.code.slot.kind).expect("a kind");
        let claims = claims(code);
        let proof = if kind.device_bound {
            ProofState::Fresh
        } else {
            ProofState::Absent
        };
        let evidence = Evidence {
            claims: &claims,
            kind,
            status: self.status(code.code.code_id),
            proof,
            id_check,
        };
        let place = self.policy.place(place).expect("a place");
        judge(&evidence, place, &fresh(self.now), self.now)
    }
}

/// Knowledge of age zero.
pub(crate) fn fresh(now: Timestamp) -> Knowledge {
    Knowledge {
        age_ms: 0,
        reaches: now.plus_seconds(1),
        clock_trusted: true,
        whole_log: true,
        key_compromised: false,
    }
}

pub(crate) fn claims(code: &CodeIssued) -> CodeClaims {
    CodeClaims {
        code_id: code.code.code_id,
        kind: code.code.slot.kind,
        issued_at: code.issued_at,
        expires_at: code.expires_at,
        status: code.code.status,
        id_commitment: None,
        device_key: None,
        key_id: code.key_id,
        digest: code.claims_digest,
    }
}
