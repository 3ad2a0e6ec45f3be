//! R18–R25: verdicts, and the order of their reasons.

use citycode_domain::admission::{
    Decision, Evidence, IdCardEvidence, IdCheck, Knowledge, ProofState, Reason, judge, judge_id_card,
};
use citycode_domain::claims::CodeClaims;
use citycode_domain::policy::{Acceptance, KindPolicy, PlacePolicy};
use citycode_domain::standing::Standing;
use citycode_domain::status::{Death, Life, Status};
use citycode_domain::time::Timestamp;

use crate::holder::{DAY, Holder, START, claims, fresh};

/// A scan in which every reason can occur: a kind with a proof, at a place that asks for the ID card.
#[derive(Clone)]
struct Scene {
    claims: CodeClaims,
    kind: KindPolicy,
    place: PlacePolicy,
    status: Status,
    proof: ProofState,
    id_check: IdCheck,
    knowledge: Knowledge,
    now: Timestamp,
}

/// The part of a scene that a reason depends on; two reasons of the same part cannot occur together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Proof,
    Clock,
    Now,
    Place,
    Age,
    Life,
    Standing,
    IdCheck,
}

impl Scene {
    fn good() -> Self {
        let mut holder = Holder::new();
        let code = holder.issue("live");
        let kind = holder.policy.kind_named("live").expect("a kind").clone();
        let mut place = holder.policy.place("sentinel").expect("a place").clone();
        place.accepts = vec![(kind.kind, Acceptance::AfterIdCheck)];
        Self {
            claims: claims(&code),
            kind,
            place,
            status: Status::Issued {
                life: Life::Valid,
                standing: Standing::Green,
            },
            proof: ProofState::Fresh,
            id_check: IdCheck::Match,
            knowledge: fresh(START),
            now: START,
        }
    }

    fn judge(&self) -> citycode_domain::admission::Verdict {
        let evidence = Evidence {
            claims: &self.claims,
            kind: &self.kind,
            status: self.status,
            proof: self.proof,
            id_check: self.id_check,
        };
        judge(&evidence, &self.place, &self.knowledge, self.now)
    }

    fn set_life(&mut self, life: Life) {
        let Status::Issued { standing, .. } = self.status else {
            panic!("a scene starts as issued");
        };
        self.status = Status::Issued { life, standing };
    }

    fn set_standing(&mut self, standing: Standing) {
        if let Status::Issued { life, .. } = self.status {
            self.status = Status::Issued { life, standing };
        }
    }
}

/// A reason, the part of the scene that it depends on, and the change that triggers it.
type Trigger = (Reason, Part, fn(&mut Scene));

/// Every reason of R23 that `judge` can return, in the order of R23, with the change that triggers it.
fn triggers() -> Vec<Trigger> {
    vec![
        (Reason::BadSignature, Part::Proof, |s| {
            s.proof = ProofState::BadSignature
        }),
        (Reason::ClockUntrusted, Part::Clock, |s| {
            s.knowledge.clock_trusted = false
        }),
        (Reason::NotYetValid, Part::Now, |s| s.now = START.plus_seconds(-1)),
        (Reason::Expired, Part::Now, |s| s.now = s.claims.expires_at),
        (Reason::KindNotAcceptedHere, Part::Place, |s| s.place.accepts.clear()),
        (Reason::Superseded, Part::Life, |s| {
            s.set_life(Life::Dead(Death::Superseded))
        }),
        (Reason::ReportedLost, Part::Life, |s| {
            s.set_life(Life::Dead(Death::ReportedLost))
        }),
        (Reason::Revoked, Part::Life, |s| s.set_life(Life::Dead(Death::Revoked))),
        (Reason::TooStale, Part::Age, |s| {
            s.knowledge.age_ms = s.place.max_knowledge_age_ms + 1
        }),
        (Reason::UnknownCode, Part::Life, |s| s.status = Status::OtherClaims),
        (Reason::Suspended, Part::Life, |s| s.set_life(Life::Suspended)),
        (Reason::StandingRed, Part::Standing, |s| s.set_standing(Standing::Red)),
        (Reason::StandingYellow, Part::Standing, |s| {
            s.set_standing(Standing::Yellow)
        }),
        (Reason::MissingProof, Part::Proof, |s| s.proof = ProofState::Absent),
        (Reason::StaleProof, Part::Proof, |s| s.proof = ProofState::Stale),
        (Reason::IdCheckRequired, Part::IdCheck, |s| s.id_check = IdCheck::None),
        (Reason::IdMismatch, Part::IdCheck, |s| s.id_check = IdCheck::Mismatch),
    ]
}

#[test]
fn r23_each_reason_is_reported_when_it_applies_alone() {
    assert_eq!(Scene::good().judge().reason, Reason::Ok);
    for (reason, _, trigger) in triggers() {
        let mut scene = Scene::good();
        trigger(&mut scene);
        assert_eq!(scene.judge().reason, reason);
    }
}

#[test]
fn r23_of_every_two_reasons_that_apply_the_earlier_is_reported() {
    let triggers = triggers();
    let mut pairs = 0;
    for (i, (earlier, part, trigger)) in triggers.iter().enumerate() {
        for (later, other_part, also) in &triggers[i + 1..] {
            if part == other_part {
                continue;
            }
            for swapped in [false, true] {
                let mut scene = Scene::good();
                let (first, second) = if swapped { (also, trigger) } else { (trigger, also) };
                first(&mut scene);
                second(&mut scene);
                assert_eq!(scene.judge().reason, *earlier, "{earlier:?} before {later:?}");
            }
            pairs += 1;
        }
    }
    // 17 * 16 / 2 = 136 pairs, minus the pairs of one part: 3 of proof, 1 of time, 10 of life, 1 of standing, 1 of card.
    assert_eq!(pairs, 136 - 16);
}

#[test]
fn r23_reasons_are_declared_in_the_order_of_the_rule() {
    let of_judging: Vec<Reason> = triggers().iter().map(|(reason, ..)| *reason).collect();
    let in_order: Vec<Reason> = Reason::ALL
        .into_iter()
        .filter(|reason| of_judging.contains(reason))
        .collect();
    assert_eq!(of_judging, in_order);
    assert!(Reason::ALL.is_sorted());
}

#[test]
fn r18_the_sentinel_never_admits_paper_whatever_its_state() {
    let mut holder = Holder::new();
    let paper = holder.issue("offline");
    let kind = holder.policy.kind_named("offline").expect("a kind");
    let place = holder.policy.place("sentinel").expect("a place");
    let claims = claims(&paper);
    let lives = [
        Life::Valid,
        Life::Suspended,
        Life::Dead(Death::Superseded),
        Life::Dead(Death::ReportedLost),
        Life::Dead(Death::Revoked),
    ];
    let standings = [Standing::Green, Standing::Yellow, Standing::Red];
    let mut statuses = vec![Status::NeverIssued, Status::OtherClaims];
    statuses.extend(
        lives
            .iter()
            .flat_map(|life| standings.map(|standing| Status::Issued { life: *life, standing })),
    );
    for status in statuses {
        for id_check in [IdCheck::None, IdCheck::Match, IdCheck::Mismatch] {
            for days in [-1, 0, 179, 180] {
                let evidence = Evidence {
                    claims: &claims,
                    kind,
                    status,
                    proof: ProofState::Absent,
                    id_check,
                };
                let now = START.plus_seconds(days * DAY);
                let verdict = judge(&evidence, place, &fresh(now), now);
                assert_eq!(verdict.decision, Decision::Refuse, "{status:?} {id_check:?} {days}");
            }
        }
    }
}

#[test]
fn r19_paper_admits_at_a_staffed_checkpoint_only_with_the_holders_card() {
    let mut holder = Holder::new();
    let paper = holder.issue("offline");
    let at = |card| holder.scan(&paper, "staffed", card);
    assert_eq!(at(IdCheck::None).decision, Decision::AdmitAfterIdCheck);
    assert_eq!(at(IdCheck::None).reason, Reason::IdCheckRequired);
    assert_eq!(at(IdCheck::Match).decision, Decision::Admit);
    assert_eq!(at(IdCheck::Mismatch).decision, Decision::Refuse);
    assert_eq!(at(IdCheck::Mismatch).reason, Reason::IdMismatch);
}

#[test]
fn r19_a_card_of_someone_else_refuses_where_none_was_asked_for() {
    let mut holder = Holder::new();
    let paper = holder.issue("offline");
    let desk = |card| holder.scan(&paper, "sampling_desk", card).reason;
    assert_eq!([desk(IdCheck::None), desk(IdCheck::Match)], [Reason::Ok; 2]);
    assert_eq!(desk(IdCheck::Mismatch), Reason::IdMismatch);
}

#[test]
fn places_accept_kinds_as_in_the_table_of_the_rules() {
    let mut holder = Holder::with_guardian(crate::holder::MOTHER);
    let guardian = Some(crate::holder::MOTHER);
    let codes = [
        holder.issue("live"),
        holder.issue_for("family", "app", guardian).expect("issued"),
        holder.issue("sampling"),
        holder.issue("offline"),
    ];
    use Decision::{Admit, AdmitAfterIdCheck, Refuse};
    let table = [
        ("sampling_desk", [Admit, Admit, Admit, Admit]),
        ("sentinel", [Admit, Admit, Refuse, Refuse]),
        ("staffed", [Admit, Admit, Refuse, AdmitAfterIdCheck]),
    ];
    for (place, expected) in table {
        let decisions = [0, 1, 2, 3].map(|i: usize| holder.scan(&codes[i], place, IdCheck::None).decision);
        assert_eq!(decisions, expected, "{place}");
    }
}

#[test]
fn r16_a_phone_code_without_a_fresh_proof_refuses_and_others_need_none() {
    for (proof, reason) in [
        (ProofState::Fresh, Reason::Ok),
        (ProofState::Stale, Reason::StaleProof),
        (ProofState::Absent, Reason::MissingProof),
        (ProofState::BadSignature, Reason::BadSignature),
    ] {
        let mut scene = Scene::good();
        scene.proof = proof;
        assert_eq!(scene.judge().reason, reason);
    }
    let mut scene = Scene::good();
    scene.kind.device_bound = false;
    scene.proof = ProofState::Absent;
    assert_eq!(scene.judge().reason, Reason::Ok);
}

#[test]
fn r21_standing_applies_to_the_id_card_too() {
    let holder = Holder::new();
    let at = |place: &str, standing| {
        let place = holder.policy.place(place).expect("a place");
        judge_id_card(IdCardEvidence { standing }, place, &fresh(START)).reason
    };
    for place in ["sentinel", "staffed"] {
        assert_eq!(at(place, Standing::Green), Reason::Ok);
        assert_eq!(at(place, Standing::Yellow), Reason::StandingYellow);
        assert_eq!(at(place, Standing::Red), Reason::StandingRed);
    }
    assert_eq!(at("sampling_desk", Standing::Red), Reason::Ok);
    let mut place = holder.policy.place("sentinel").expect("a place").clone();
    let mut knowledge = fresh(START);
    let red = IdCardEvidence {
        standing: Standing::Red,
    };
    // R24 applies to the card too, to the millisecond.
    knowledge.age_ms = 10_000;
    assert_eq!(judge_id_card(red, &place, &knowledge).reason, Reason::StandingRed);
    knowledge.age_ms = 10_001;
    assert_eq!(judge_id_card(red, &place, &knowledge).reason, Reason::TooStale);
    place.accepts_id_card = false;
    assert_eq!(
        judge_id_card(red, &place, &knowledge).reason,
        Reason::KindNotAcceptedHere
    );
}

#[test]
fn r24_each_place_has_its_own_limit_to_the_millisecond() {
    let mut holder = Holder::new();
    let live = holder.issue("live");
    let claims = claims(&live);
    for (place, limit_ms) in [("sentinel", 10_000), ("staffed", 10_000), ("sampling_desk", 60_000)] {
        let decide = |age_ms, status| {
            let evidence = Evidence {
                claims: &claims,
                kind: holder.policy.kind_named("live").expect("a kind"),
                status,
                proof: ProofState::Fresh,
                id_check: IdCheck::None,
            };
            let knowledge = Knowledge { age_ms, ..fresh(START) };
            judge(
                &evidence,
                holder.policy.place(place).expect("a place"),
                &knowledge,
                START,
            )
            .decision
        };
        let valid = Status::Issued {
            life: Life::Valid,
            standing: Standing::Green,
        };
        let dead = Status::Issued {
            life: Life::Dead(Death::Revoked),
            standing: Standing::Green,
        };
        assert_eq!(decide(limit_ms, valid), Decision::Admit, "{place}");
        assert_eq!(decide(limit_ms + 1, valid), Decision::CannotCheck, "{place}");
        assert_eq!(
            decide(u64::MAX, dead),
            Decision::Refuse,
            "a code that is known to be dead stays dead: {place}"
        );
    }
}

#[test]
fn r24_a_token_issued_after_the_end_of_the_knowledge_is_not_unknown() {
    let mut scene = Scene::good();
    scene.status = Status::NeverIssued;
    for (reaches, reason) in [
        // The knowledge may end in the same second as the issue but before it, because times are whole seconds.
        (START.plus_seconds(-1), Reason::TooStale),
        (START, Reason::TooStale),
        (START.plus_seconds(1), Reason::UnknownCode),
    ] {
        scene.knowledge.reaches = reaches;
        assert_eq!(scene.judge().reason, reason, "{reaches:?}");
    }
    assert_eq!(Reason::TooStale.verdict().decision, Decision::CannotCheck);
}

#[test]
fn r25_claims_that_differ_from_the_log_are_unknown_however_new() {
    let mut scene = Scene::good();
    scene.status = Status::OtherClaims;
    scene.knowledge.reaches = START.plus_seconds(-100);
    assert_eq!(scene.judge().reason, Reason::UnknownCode);
    assert_eq!(scene.judge().decision, Decision::Refuse);
}

#[test]
fn r25_with_a_compromised_key_only_the_whole_log_is_sufficient() {
    let mut scene = Scene::good();
    scene.knowledge.key_compromised = true;
    assert_eq!(
        scene.judge().reason,
        Reason::Ok,
        "the log contains the code with these claims"
    );
    scene.knowledge.whole_log = false;
    assert_eq!(scene.judge().decision, Decision::CannotCheck);
    scene.set_life(Life::Dead(Death::ReportedLost));
    assert_eq!(scene.judge().reason, Reason::ReportedLost);
}

#[test]
fn r24_only_ok_admits_and_what_cannot_be_checked_never_looks_valid() {
    for reason in Reason::ALL {
        let expected = match reason {
            Reason::Ok => Decision::Admit,
            Reason::IdCheckRequired => Decision::AdmitAfterIdCheck,
            Reason::TooStale | Reason::ClockUntrusted => Decision::CannotCheck,
            _ => Decision::Refuse,
        };
        assert_eq!(reason.verdict().decision, expected, "{}", reason.name());
    }
}
