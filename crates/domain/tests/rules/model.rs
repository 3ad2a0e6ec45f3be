//! Compares random sequences of commands with a small reference model that is built differently: a plain list of
//! every code with the time in which it was valid. It does not use slot states, events or the policy type.

use std::collections::BTreeSet;

use citycode_domain::event::Event;
use citycode_domain::ids::{CodeId, HolderId};
use citycode_domain::lifecycle::{HolderState, Refusal};
use citycode_domain::standing::Standing;
use citycode_domain::status::{Life, Status};
use proptest::prelude::*;

use crate::holder::{DAY, Holder};

/// Names and days of validity from the text of the rules, not from the policy file.
const KINDS: [(&str, i64); 4] = [("live", 365), ("family", 365), ("sampling", 30), ("offline", 180)];
const FAMILY: usize = 1;

type Who = Option<u8>;

#[derive(Clone, Copy, Debug)]
enum Command {
    Issue(usize, Who),
    Lose(usize, Who),
    Reprint(usize, Who),
    Revoke(usize, Who),
    Suspend(usize, Who),
    Reinstate(usize, Who),
    Relate(u8),
    Unrelate(u8),
    Standing(Standing),
    Erase(bool),
    Pass(i64),
}

fn commands() -> impl Strategy<Value = Command> {
    let kind = 0..KINDS.len();
    let who = || prop_oneof![3 => Just(None), 4 => (0..3_u8).prop_map(Some)];
    let standing = prop_oneof![Just(Standing::Green), Just(Standing::Yellow), Just(Standing::Red)];
    let span = prop_oneof![
        Just(0),
        Just(1),
        Just(DAY),
        Just(30 * DAY - 1),
        Just(30 * DAY),
        Just(180 * DAY),
        Just(365 * DAY)
    ];
    prop_oneof![
        40 => (kind.clone(), who()).prop_map(|(k, w)| Command::Issue(k, w)),
        10 => (kind.clone(), who()).prop_map(|(k, w)| Command::Lose(k, w)),
        8 => (kind.clone(), who()).prop_map(|(k, w)| Command::Reprint(k, w)),
        6 => (kind.clone(), who()).prop_map(|(k, w)| Command::Revoke(k, w)),
        10 => (kind.clone(), who()).prop_map(|(k, w)| Command::Suspend(k, w)),
        8 => (kind, who()).prop_map(|(k, w)| Command::Reinstate(k, w)),
        12 => (0..3_u8).prop_map(Command::Relate),
        4 => (0..3_u8).prop_map(Command::Unrelate),
        8 => standing.prop_map(Command::Standing),
        1 => any::<bool>().prop_map(Command::Erase),
        12 => span.prop_map(Command::Pass),
    ]
}

#[derive(Clone, Debug)]
struct ModelCode {
    id: CodeId,
    place: (usize, Who),
    until: i64,
    killed: bool,
}

#[derive(Clone, Debug, Default)]
struct Model {
    codes: Vec<ModelCode>,
    holds: BTreeSet<(usize, Who)>,
    family: BTreeSet<u8>,
    standing: Standing,
    erased: bool,
}

impl Model {
    fn alive(&self, now: i64) -> impl Iterator<Item = &ModelCode> {
        self.codes.iter().filter(move |code| !code.killed && now < code.until)
    }

    fn alive_at(&self, place: (usize, Who), now: i64) -> Option<CodeId> {
        self.alive(now).find(|code| code.place == place).map(|code| code.id)
    }

    fn kill(&mut self, dies: impl Fn(&ModelCode) -> bool) {
        for code in self.codes.iter_mut().filter(|code| dies(code)) {
            code.killed = true;
        }
    }

    /// The slot on which this person may command in this kind, by R9, R13, R16 and R17.
    fn place(&self, kind: usize, who: Who, now: i64) -> Result<(usize, Who), Refusal> {
        match (KINDS[kind].0, who) {
            ("family", None) => Err(Refusal::GuardianNeeded),
            (_, None) => Ok((kind, None)),
            ("live", Some(_)) => Err(Refusal::HolderOnly),
            ("sampling", Some(who)) => {
                let family = (FAMILY, Some(who));
                if self.alive_at(family, now).is_some() && !self.holds.contains(&family) {
                    Ok((kind, None))
                } else {
                    Err(Refusal::FamilyCodeRequired)
                }
            }
            (name, Some(who)) if self.family.contains(&who) => Ok((kind, (name == "family").then_some(who))),
            (_, Some(_)) => Err(Refusal::RelationshipUnknown),
        }
    }
}

fn guardian(who: Who) -> Option<HolderId> {
    who.map(|who| HolderId([who + 1; 16]))
}

/// A holder under a policy in which every channel allows everything: the model does not cover channels.
fn holder() -> Holder {
    use citycode_domain::policy::ChannelAct::{Issue, Reissue, ReportLoss, Reprint};
    let mut holder = Holder::new();
    let kinds: Vec<_> = holder.policy.kinds.iter().map(|kind| kind.kind).collect();
    for channel in &mut holder.policy.channels {
        channel.acts = kinds
            .iter()
            .flat_map(|kind| [Issue, Reissue, ReportLoss, Reprint].map(|act| (*kind, act)))
            .collect();
    }
    holder
}

fn issue(real: &mut Holder, model: &mut Model, kind: usize, who: Who) {
    let now = real.now.0;
    let issued = real.issue_for(KINDS[kind].0, "app", guardian(who));
    let expected = known(model)
        .and_then(|()| model.place(kind, who, now))
        .and_then(|place| {
            if model.holds.contains(&place) {
                Err(Refusal::OnHold)
            } else {
                Ok(place)
            }
        });
    assert_eq!(issued.as_ref().map(|_| ()), expected.as_ref().map(|_| ()));
    let (Ok(issued), Ok(place)) = (issued, expected) else {
        return;
    };
    // R4: exactly the code that was valid there ends. R21: the new code has the holder's standing.
    assert_eq!(issued.supersedes.map(|code| code.code_id), model.alive_at(place, now));
    assert_eq!(issued.standing, model.standing);
    model.kill(|code| code.place == place);
    let until = now + KINDS[kind].1 * DAY;
    model.codes.push(ModelCode {
        id: issued.code.code_id,
        place,
        until,
        killed: false,
    });
}

fn known(model: &Model) -> Result<(), Refusal> {
    if model.erased {
        Err(Refusal::NotRegistered)
    } else {
        Ok(())
    }
}

fn ids(codes: &[citycode_domain::event::CodeRef]) -> BTreeSet<CodeId> {
    codes.iter().map(|code| code.code_id).collect()
}

fn officer(real: &mut Holder, model: &mut Model, command: Command, place: (usize, Who)) {
    let now = real.now.0;
    let slot = real.slot(KINDS[place.0].0, guardian(place.1));
    let alive = model.alive_at(place, now);
    let held = model.holds.contains(&place);
    let (done, expected) = match command {
        Command::Revoke(..) => (real.revoke(slot), alive.map(|_| 1)),
        Command::Suspend(..) => (real.suspend(slot), alive.map(|_| usize::from(!held))),
        _ => (
            real.reinstate(slot),
            (held || alive.is_some()).then_some(usize::from(held)),
        ),
    };
    let expected = known(model).and(expected.ok_or(Refusal::NoValidCode));
    assert_eq!(done.as_ref().map(Vec::len), expected.as_ref().copied(), "{command:?}");
    if expected.is_err() {
        return;
    }
    match command {
        Command::Revoke(..) => {
            model.kill(|code| Some(code.id) == alive);
            model.holds.remove(&place);
        }
        Command::Suspend(..) => {
            model.holds.insert(place);
        }
        _ => {
            model.holds.remove(&place);
        }
    }
}

fn family_and_standing(real: &mut Holder, model: &mut Model, command: Command) {
    let now = real.now.0;
    let all: BTreeSet<CodeId> = model.alive(now).map(|code| code.id).collect();
    match command {
        Command::Relate(who) => {
            let done = real.relate(guardian(Some(who)).expect("a guardian"));
            assert_eq!(done.is_ok(), !model.erased);
            if !model.erased {
                model.family.insert(who);
            }
        }
        Command::Unrelate(who) => {
            let done = real.unrelate(guardian(Some(who)).expect("a guardian"));
            let had = !model.erased && model.family.remove(&who);
            assert_eq!(done.is_ok(), had);
            if had {
                model.kill(|code| code.place == (FAMILY, Some(who)));
            }
        }
        Command::Standing(standing) => {
            let done = real.set_standing(standing);
            assert_eq!(done.is_ok(), !model.erased);
            // R21: one event covers every valid code of the holder.
            if let Ok([Event::StandingChanged(changed)]) = done.as_deref() {
                assert_eq!(ids(&changed.codes), all);
                assert_ne!(model.standing, standing);
                model.standing = standing;
            } else if !model.erased {
                assert_eq!(model.standing, standing);
            }
        }
        Command::Erase(by_officer) => {
            let free = by_officer || (model.holds.is_empty() && model.standing == Standing::Green);
            let done = real.erase(by_officer);
            assert_eq!(done.is_ok(), !model.erased && free);
            if let Ok([Event::HolderErased(erased)]) = done.as_deref() {
                assert_eq!(ids(&erased.codes), all);
                model.erased = true;
                model.family.clear();
                model.kill(|_| true);
            }
        }
        _ => unreachable!("the caller handles the other commands"),
    }
}

fn step(real: &mut Holder, model: &mut Model, command: Command) {
    let now = real.now.0;
    match command {
        Command::Pass(seconds) => {
            real.pass(seconds);
        }
        Command::Issue(kind, who) => issue(real, model, kind, who),
        Command::Lose(kind, who) => {
            let expected = known(model).and_then(|()| model.place(kind, who, now));
            let expected = expected.and_then(|place| model.alive_at(place, now).ok_or(Refusal::NoValidCode));
            let done = real.lose(KINDS[kind].0, "app", guardian(who));
            assert_eq!(done.map(|_| ()), expected.map(|_| ()));
            // The hold stays; only the code ends (R22).
            model.kill(|code| Ok(code.id) == expected);
        }
        Command::Reprint(kind, who) => {
            let expected = known(model)
                .and_then(|()| model.place(kind, who, now))
                .and_then(|place| {
                    if model.holds.contains(&place) {
                        Err(Refusal::OnHold)
                    } else {
                        model.alive_at(place, now).ok_or(Refusal::NoValidCode)
                    }
                });
            let done = real.reprint(KINDS[kind].0, "app", guardian(who));
            assert_eq!(done.map(|slot| slot.code.code_id), expected);
        }
        Command::Revoke(kind, who) | Command::Suspend(kind, who) | Command::Reinstate(kind, who) => {
            officer(real, model, command, (kind, who));
        }
        _ => family_and_standing(real, model, command),
    }
}

/// The kind that a command concerns, if it concerns one (R1).
fn kind_of(command: Command) -> Option<usize> {
    match command {
        Command::Issue(kind, _)
        | Command::Lose(kind, _)
        | Command::Reprint(kind, _)
        | Command::Revoke(kind, _)
        | Command::Suspend(kind, _)
        | Command::Reinstate(kind, _) => Some(kind),
        Command::Unrelate(_) => Some(FAMILY),
        _ => None,
    }
}

fn alive_but_for(real: &Holder, kind: Option<usize>) -> BTreeSet<CodeId> {
    let spared = kind.map(|kind| real.kind(KINDS[kind].0));
    real.state
        .all_alive(real.now)
        .filter(|slot| Some(slot.slot.kind) != spared)
        .map(|slot| slot.code.code_id)
        .collect()
}

fn check(real: &Holder, model: &Model) {
    let now = real.now.0;
    let mut places = BTreeSet::new();
    for code in model.alive(now) {
        assert!(places.insert(code.place), "R3: two valid codes at {:?}", code.place);
    }
    let expected: BTreeSet<CodeId> = model.alive(now).map(|code| code.id).collect();
    assert_eq!(
        alive_but_for(real, None),
        expected,
        "R3, R4, R5, R10: which codes are valid"
    );
    // The status that a verifier folds from the events agrees for every code, dead ones included.
    for code in &model.codes {
        let Status::Issued { life, standing } = real.status(code.id) else {
            panic!("every code of the model was issued");
        };
        if expected.contains(&code.id) {
            let held = model.holds.contains(&code.place);
            assert_eq!(life, if held { Life::Suspended } else { Life::Valid }, "R22");
            assert_eq!(standing, model.standing, "R21");
        } else {
            assert!(matches!(life, Life::Dead(_)) || now >= code.until, "R5");
        }
    }
    let mut replayed = HolderState::default();
    for (event, position, decided_at) in &real.log {
        replayed.apply(event, *position, *decided_at);
    }
    assert_eq!(replayed, real.state, "replay results in the same state");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn r01_r03_r04_r05_r10_r21_r22_random_commands_agree_with_the_model(
        commands in proptest::collection::vec(commands(), 1..80)
    ) {
        let mut real = holder();
        let mut model = Model::default();
        for command in commands {
            let kind = kind_of(command);
            let before = alive_but_for(&real, kind);
            step(&mut real, &mut model, command);
            if kind.is_some() {
                prop_assert_eq!(before, alive_but_for(&real, kind), "R1: {:?}", command);
            }
            check(&real, &model);
        }
    }
}
