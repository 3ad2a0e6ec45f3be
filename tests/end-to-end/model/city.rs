//! The reference model, written from the text of the rules and not from the code: registered people, their codes, and
//! the verdict on each code.

use std::collections::{BTreeMap, BTreeSet};

use citycode_testkit::Draw;
use serde_json::Value;

/// Holders, aged 40, 70 and 10.
pub(crate) const PEOPLE: usize = 3;
pub(crate) const KINDS: [&str; 4] = ["live", "family", "sampling", "offline"];
pub(crate) const PLACES: [&str; 3] = ["sentinel", "staffed", "sampling_desk"];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    Register {
        person: usize,
    },
    Relate {
        guardian: usize,
        dependent: usize,
    },
    Unrelate {
        guardian: usize,
        dependent: usize,
    },
    Issue {
        kind: &'static str,
        person: usize,
        guardian: Option<usize>,
        channel: &'static str,
    },
    Reprint {
        kind: &'static str,
        person: usize,
        guardian: Option<usize>,
        channel: &'static str,
    },
    ReportLoss {
        kind: &'static str,
        person: usize,
        guardian: Option<usize>,
        channel: &'static str,
    },
    Revoke {
        kind: &'static str,
        person: usize,
        guardian: Option<usize>,
    },
    Suspend {
        kind: &'static str,
        person: usize,
        guardian: Option<usize>,
    },
    Reinstate {
        kind: &'static str,
        person: usize,
        guardian: Option<usize>,
    },
    Standing {
        person: usize,
        colour: &'static str,
    },
    Erase {
        person: usize,
    },
    Wait {
        seconds: i64,
    },
    Restart,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    Done,
    /// Refused, with the stable code of the problem.
    Refused(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Code {
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    pub(crate) token: String,
    /// Seed of the phone to which it is bound.
    pub(crate) phone: [u8; 32],
    person: usize,
    expires_at: i64,
    death: Option<&'static str>,
}

#[derive(Clone, Default, Debug)]
struct Slot {
    /// The last code, alive or dead.
    code: Option<usize>,
    held: bool,
}

#[derive(Clone, Default, Debug)]
struct Holder {
    guardians: BTreeSet<usize>,
    standing: &'static str,
    slots: BTreeMap<(&'static str, Option<usize>), Slot>,
}

#[derive(Default)]
pub(crate) struct City {
    holders: BTreeMap<usize, Holder>,
    codes: Vec<Code>,
    /// The last command that erased each person.
    erased: BTreeMap<usize, u128>,
}

fn refused(code: &str) -> Answer {
    Answer::Refused(code.to_owned())
}

/// What each channel may do (the first table in docs/rules.md).
fn may(channel: &str, act: &str, kind: &str) -> bool {
    match channel {
        "app" => matches!(
            (kind, act),
            ("live" | "family" | "sampling", "issue" | "loss") | ("sampling", "reprint")
        ),
        "kiosk" => kind == "offline" && act != "reprint",
        "pc" => kind == "offline",
        _ => false,
    }
}

fn validity(kind: &str) -> i64 {
    86_400
        * match kind {
            "sampling" => 30,
            "offline" => 180,
            _ => 365,
        }
}

impl Code {
    pub(crate) fn issued(kind: &'static str, person: usize, said: &Value, command: u128, now: i64) -> Self {
        let text = |key: &str| said[key].as_str().expect("a text").to_owned();
        Self {
            kind,
            id: text("code_id"),
            token: text("token"),
            phone: phone(command),
            person,
            expires_at: now + validity(kind),
            death: None,
        }
    }

    pub(crate) fn is_on_a_phone(&self) -> bool {
        is_on_a_phone(self.kind)
    }
}

pub(crate) fn is_on_a_phone(kind: &str) -> bool {
    matches!(kind, "live" | "family")
}

/// A fresh key for every command.
pub(crate) fn phone(command: u128) -> [u8; 32] {
    let mut seed = [7; 32];
    seed[..16].copy_from_slice(&command.to_be_bytes());
    seed
}

impl City {
    pub(crate) fn code(&self, number: usize) -> &Code {
        &self.codes[number]
    }

    pub(crate) fn codes(&self) -> std::ops::Range<usize> {
        0..self.codes.len()
    }

    pub(crate) fn any_code(&self, draw: &mut Draw) -> Option<usize> {
        let count = self.codes.len() as u64;
        (count > 0).then(|| draw.below(count) as usize)
    }

    /// Whether a person of the act has been erased since; a repetition would then concern another person, or none.
    pub(crate) fn was_erased_since(&self, act: Act, command: u128) -> bool {
        let people: Vec<usize> = match act {
            Act::Register { person } | Act::Standing { person, .. } | Act::Erase { person } => vec![person],
            Act::Relate { guardian, dependent } | Act::Unrelate { guardian, dependent } => vec![guardian, dependent],
            Act::Issue { person, guardian, .. }
            | Act::Reprint { person, guardian, .. }
            | Act::ReportLoss { person, guardian, .. }
            | Act::Revoke { person, guardian, .. }
            | Act::Suspend { person, guardian, .. }
            | Act::Reinstate { person, guardian, .. } => guardian.into_iter().chain([person]).collect(),
            Act::Wait { .. } | Act::Restart => Vec::new(),
        };
        people
            .iter()
            .any(|person| self.erased.get(person).is_some_and(|at| *at > command))
    }

    /// The answer to an act by the rules. [`City::learn`] applies it.
    pub(crate) fn decide(&self, act: Act, now: i64) -> Answer {
        match self.rule(act, now) {
            Ok(()) => Answer::Done,
            Err(code) => refused(code),
        }
    }

    fn rule(&self, act: Act, now: i64) -> Result<(), &'static str> {
        let known = |person: &usize| self.holders.get(person).ok_or("not_registered");
        match act {
            Act::Relate { guardian, dependent } => {
                known(&guardian)?;
                known(&dependent)?;
                if guardian == dependent {
                    return Err("invalid_request");
                }
            }
            Act::Unrelate { guardian, dependent } => {
                known(&guardian)?;
                if !known(&dependent)?.guardians.contains(&guardian) {
                    return Err("relationship_unknown");
                }
            }
            Act::Issue {
                kind,
                person,
                guardian,
                channel,
            } => {
                let slot = self.slot(kind, person, guardian, channel, "issue", now)?;
                if slot.held {
                    return Err("on_hold");
                }
                // R12: of the three, those of 70 and of 10 years.
                if kind == "offline" && person == 0 {
                    return Err("not_eligible");
                }
            }
            Act::Reprint {
                kind,
                person,
                guardian,
                channel,
            } => {
                let slot = self.slot(kind, person, guardian, channel, "reprint", now)?;
                if slot.held {
                    return Err("on_hold");
                }
                self.alive(&slot, now).ok_or("no_valid_code")?;
            }
            Act::ReportLoss {
                kind,
                person,
                guardian,
                channel,
            } => {
                let slot = self.slot(kind, person, guardian, channel, "loss", now)?;
                self.alive(&slot, now).ok_or("no_valid_code")?;
            }
            Act::Revoke { kind, person, guardian } | Act::Suspend { kind, person, guardian } => {
                let slot = known(&person)?.slots.get(&(kind, guardian)).ok_or("no_valid_code")?;
                self.alive(slot, now).ok_or("no_valid_code")?;
            }
            Act::Reinstate { kind, person, guardian } => {
                let slot = known(&person)?.slots.get(&(kind, guardian)).ok_or("no_valid_code")?;
                if !slot.held {
                    self.alive(slot, now).ok_or("no_valid_code")?;
                }
            }
            Act::Standing { person, .. } | Act::Erase { person } => {
                known(&person)?;
            }
            Act::Register { .. } | Act::Wait { .. } | Act::Restart => {}
        }
        Ok(())
    }

    /// The slot on which a channel acts for a holder, or why it may not (R9, R13, R17).
    fn slot(
        &self,
        kind: &'static str,
        person: usize,
        guardian: Option<usize>,
        channel: &str,
        act: &str,
        now: i64,
    ) -> Result<Slot, &'static str> {
        let holder = self.holders.get(&person).ok_or("not_registered")?;
        if !may(channel, act, kind) {
            return Err("channel_not_allowed");
        }
        let related = |guardian: &usize| holder.guardians.contains(guardian);
        match (kind, guardian) {
            ("family", Some(guardian)) | ("offline", Some(guardian)) if !related(&guardian) => {
                return Err("relationship_unknown");
            }
            ("sampling", Some(guardian)) => {
                let family = holder.slots.get(&("family", Some(guardian)));
                let valid = family.filter(|slot| !slot.held).and_then(|slot| self.alive(slot, now));
                valid.ok_or("family_code_required")?;
            }
            _ => {}
        }
        let whose = if kind == "family" { guardian } else { None };
        Ok(holder.slots.get(&(kind, whose)).cloned().unwrap_or_default())
    }

    fn alive(&self, slot: &Slot, now: i64) -> Option<usize> {
        slot.code
            .filter(|number| self.codes[*number].death.is_none() && now < self.codes[*number].expires_at)
    }

    /// Applies an act that was done; `said` is its answer.
    pub(crate) fn learn(&mut self, act: Act, said: &Value, now: i64, command: u128) {
        if self.decide(act, now) != Answer::Done {
            return;
        }
        match act {
            Act::Register { person } => {
                let green = Holder {
                    standing: "green",
                    ..Holder::default()
                };
                self.holders.entry(person).or_insert(green);
            }
            Act::Relate { guardian, dependent } => {
                self.holder(dependent).guardians.insert(guardian);
            }
            Act::Unrelate { guardian, dependent } => self.end_relationship(guardian, dependent, now),
            Act::Issue {
                kind, person, guardian, ..
            } => {
                let whose = if kind == "family" { guardian } else { None };
                self.kill(person, (kind, whose), "superseded", now);
                self.codes.push(Code::issued(kind, person, said, command, now));
                let number = self.codes.len() - 1;
                self.holder(person).slots.entry((kind, whose)).or_default().code = Some(number);
            }
            Act::ReportLoss {
                kind, person, guardian, ..
            } => {
                let whose = if kind == "family" { guardian } else { None };
                self.kill(person, (kind, whose), "reported_lost", now);
            }
            Act::Revoke { kind, person, guardian } => {
                self.kill(person, (kind, guardian), "revoked", now);
                self.hold(person, (kind, guardian), false);
            }
            Act::Suspend { kind, person, guardian } => self.hold(person, (kind, guardian), true),
            Act::Reinstate { kind, person, guardian } => self.hold(person, (kind, guardian), false),
            Act::Standing { person, colour } => self.holder(person).standing = colour,
            Act::Erase { person } => {
                for dependent in 0..PEOPLE {
                    if self
                        .holders
                        .get(&dependent)
                        .is_some_and(|holder| holder.guardians.contains(&person))
                    {
                        self.end_relationship(person, dependent, now);
                    }
                }
                let slots: Vec<_> = self.holder(person).slots.keys().copied().collect();
                slots
                    .into_iter()
                    .for_each(|slot| self.kill(person, slot, "revoked", now));
                self.holders.remove(&person);
                self.erased.insert(person, command);
            }
            Act::Reprint { .. } | Act::Wait { .. } | Act::Restart => {}
        }
    }

    fn holder(&mut self, person: usize) -> &mut Holder {
        self.holders.get_mut(&person).expect("a holder whom the rules know")
    }

    fn hold(&mut self, person: usize, slot: (&'static str, Option<usize>), held: bool) {
        self.holder(person).slots.entry(slot).or_default().held = held;
    }

    fn kill(&mut self, person: usize, slot: (&'static str, Option<usize>), death: &'static str, now: i64) {
        let slot = self.holder(person).slots.get(&slot).cloned().unwrap_or_default();
        if let Some(number) = self.alive(&slot, now) {
            self.codes[number].death = Some(death);
        }
    }

    fn end_relationship(&mut self, guardian: usize, dependent: usize, now: i64) {
        self.kill(dependent, ("family", Some(guardian)), "revoked", now);
        self.holder(dependent).guardians.remove(&guardian);
    }

    /// The verdict of R23 on a code: decision and reason. `fresh`: its phone adds a proof of now.
    pub(crate) fn judge(&self, number: usize, place: &str, fresh: bool, now: i64) -> (String, String) {
        let code = &self.codes[number];
        let verdict = |decision: &str, reason: &str| (decision.to_owned(), reason.to_owned());
        let holder = self.holders.get(&code.person);
        let held =
            holder.is_some_and(|holder| holder.slots.values().any(|slot| slot.code == Some(number) && slot.held));
        let accepted = match place {
            "sampling_desk" => true,
            "sentinel" => code.is_on_a_phone(),
            _ => code.kind != "sampling",
        };
        let counts = place != "sampling_desk";
        let standing = holder.map_or("green", |holder| holder.standing);
        if now >= code.expires_at {
            verdict("refuse", "expired")
        } else if !accepted {
            verdict("refuse", "kind_not_accepted_here")
        } else if let Some(death) = code.death {
            verdict("refuse", death)
        } else if held {
            verdict("refuse", "suspended")
        } else if counts && standing != "green" {
            verdict(
                "refuse",
                if standing == "red" {
                    "standing_red"
                } else {
                    "standing_yellow"
                },
            )
        } else if code.is_on_a_phone() && !fresh {
            verdict("refuse", "missing_proof")
        } else if code.kind == "offline" && place == "staffed" {
            verdict("admit_after_id_check", "id_check_required")
        } else {
            verdict("admit", "ok")
        }
    }
}
