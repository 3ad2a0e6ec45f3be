//! A small reference model of the rules, compared with the running system: the same random commands over the JSON API,
//! with restarts and passing days, must get the same answers, and every code ever issued must get the same verdicts.
//! Then concurrent callers, where only the invariants of every order are checked.

mod city;
pub(crate) mod system;

use std::collections::BTreeMap;

use citycode_testkit::Draw;
use serde_json::Value;

use city::{Act, Answer, City, KINDS, PEOPLE, PLACES};
use system::Running;

/// Commands per seed.
const COMMANDS: usize = 120;

/// A random command; most are valid, some are not.
fn act(draw: &mut Draw) -> Act {
    let person = draw.below(PEOPLE as u64) as usize;
    let other = draw.below(PEOPLE as u64) as usize;
    let kind = *draw.pick(&KINDS);
    let guardian = (kind == "family" || (kind != "live" && draw.below(4) == 0)).then_some(other);
    let officers_guardian = (kind == "family").then_some(other);
    let channel = match (kind, draw.below(8)) {
        (_, 0) => "counter",
        ("offline", number) if number % 2 == 0 => "kiosk",
        ("offline", _) => "pc",
        _ => "app",
    };
    match draw.below(100) {
        0..10 => Act::Register { person },
        10..18 => Act::Relate {
            guardian: other,
            dependent: person,
        },
        18..21 => Act::Unrelate {
            guardian: other,
            dependent: person,
        },
        21..56 => Act::Issue {
            kind,
            person,
            guardian,
            channel,
        },
        56..63 => Act::Reprint {
            kind,
            person,
            guardian,
            channel,
        },
        63..70 => Act::ReportLoss {
            kind,
            person,
            guardian,
            channel,
        },
        70..74 => Act::Revoke {
            kind,
            person,
            guardian: officers_guardian,
        },
        74..79 => Act::Suspend {
            kind,
            person,
            guardian: officers_guardian,
        },
        79..84 => Act::Reinstate {
            kind,
            person,
            guardian: officers_guardian,
        },
        84..91 => Act::Standing {
            person,
            colour: draw.pick::<&str>(&["green", "yellow", "red"]),
        },
        91..93 => Act::Erase { person },
        93..97 => Act::Wait {
            seconds: 60 + draw.below(40 * 86_400) as i64,
        },
        _ => Act::Restart,
    }
}

async fn live(seed: u64) {
    let mut draw = Draw::new(seed);
    let mut running = Running::start(seed).await;
    let mut city = City::default();
    let mut trace = Vec::new();
    let mut last: Option<(u128, Act, Answer, Value)> = None;
    for command in 1..=COMMANDS as u128 {
        let act = act(&mut draw);
        trace.push(format!("{command}: {act:?}"));
        let told = || format!("seed {seed}\n{}", trace.join("\n"));
        match act {
            Act::Wait { seconds } => running.wait(seconds).await,
            Act::Restart => running = running.restart().await,
            act => {
                let expected = city.decide(act, running.now());
                let (answer, said) = running.act(act, command).await;
                assert_eq!(answer, expected, "{said}\n{}", told());
                city.learn(act, &said, running.now(), command);
                // A command without an effect is not recorded, so its repetition is decided again.
                let changes = matches!(act, Act::Issue { .. } | Act::ReportLoss { .. } | Act::Revoke { .. });
                if answer == Answer::Done && changes {
                    last = Some((command, act, answer, said));
                }
            }
        }
        // Sometimes a caller that lost the answer retries, and gets the same answer without a second effect.
        if draw.below(6) == 0
            && let Some((command, act, answer, said)) = &last
            && !city.was_erased_since(*act, *command)
        {
            let again = running.act(*act, *command).await;
            let before = (answer.clone(), said.clone());
            assert_eq!(again, before, "a repeat of {command}\n{}", told());
        }
        for _ in 0..3 {
            let Some(number) = city.any_code(&mut draw) else { break };
            let (place, fresh) = (*draw.pick(&PLACES), draw.below(2) == 0);
            let expected = city.judge(number, place, fresh, running.now());
            let got = running.verify(city.code(number), place, fresh).await;
            assert_eq!(
                got,
                expected,
                "code {} at {place}, fresh {fresh}\n{}",
                city.code(number).id,
                told()
            );
        }
    }
    for number in city.codes() {
        for place in PLACES {
            let expected = city.judge(number, place, true, running.now());
            let got = running.verify(city.code(number), place, true).await;
            assert_eq!(
                got,
                expected,
                "code {} at {place} in the end\nseed {seed}",
                city.code(number).id
            );
        }
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_system_answers_like_the_model() {
    for seed in [1, 2, 3, 4] {
        live(seed).await;
    }
}

/// R3, R4 in every order: afterwards each slot has at most one code that is not dead, which `codes` lists and which was
/// acknowledged, and each dead acknowledged code has a reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_callers_leave_at_most_one_valid_code_of_a_kind_and_dead_codes_have_a_reason() {
    for seed in [11, 12] {
        let running = Running::start(seed).await;
        for person in 0..PEOPLE {
            running.act(Act::Register { person }, 1_000 + person as u128).await;
        }
        let relate = Act::Relate {
            guardian: 0,
            dependent: 1,
        };
        running.act(relate, 2_000).await;
        let callers = (0..4).map(|caller| call(&running, seed, caller));
        let issued: Vec<_> = futures::future::join_all(callers).await.concat();
        let mut alive = BTreeMap::<&str, Vec<&str>>::new();
        for code in &issued {
            let (decision, reason) = running.verify(code, "sampling_desk", true).await;
            match (decision.as_str(), reason.as_str()) {
                ("admit", "ok") => alive.entry(code.kind).or_default().push(&code.id),
                ("refuse", "superseded" | "reported_lost" | "revoked") => {}
                other => panic!("seed {seed}: {} says {other:?}", code.id),
            }
        }
        for (kind, ids) in &alive {
            assert_eq!(ids.len(), 1, "seed {seed}: two valid codes of {kind}: {ids:?}");
        }
        let named = running.codes(1).await;
        let named: Vec<_> = named.iter().filter(|code| code["state"] == "valid").collect();
        assert_eq!(named.len(), alive.len(), "seed {seed}: {named:?}");
        for code in named {
            let kind = code["kind"].as_str().expect("a kind");
            assert_eq!(alive[kind], [code["code_id"].as_str().expect("an id")], "seed {seed}");
        }
        running.stop().await;
    }
}

/// One of several callers who act for the same person; returns its acknowledged codes.
async fn call(running: &Running, seed: u64, caller: u64) -> Vec<city::Code> {
    let mut draw = Draw::new(seed * 100 + caller);
    let mut issued = Vec::new();
    for step in 0..40 {
        let command = (u128::from(caller) + 1) << 64 | step;
        let act = crowds_act(&mut draw);
        let (answer, said) = running.act(act, command).await;
        let allowed = [Answer::Done, Answer::Refused("no_valid_code".into())];
        assert!(allowed.contains(&answer), "{act:?}: {said}");
        if let (Act::Issue { kind, .. }, Answer::Done) = (act, answer) {
            issued.push(city::Code::issued(kind, 1, &said, command, running.now()));
        }
    }
    issued
}

fn crowds_act(draw: &mut Draw) -> Act {
    let issue = |kind, guardian| Act::Issue {
        kind,
        person: 1,
        guardian,
        channel: "app",
    };
    match draw.below(10) {
        0..6 => issue("sampling", None),
        6 => issue("family", Some(0)),
        7 => Act::ReportLoss {
            kind: "sampling",
            person: 1,
            guardian: None,
            channel: "app",
        },
        8 => Act::Standing {
            person: 1,
            colour: draw.pick::<&str>(&["green", "red"]),
        },
        _ => Act::Revoke {
            kind: "sampling",
            person: 1,
            guardian: None,
        },
    }
}
