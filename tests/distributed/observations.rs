//! Records the answers to residents and the verdicts on their codes for the checker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use citycode_domain::ids::CodeId;
use citycode_event_store::{CommandId, Partition, Position, Sequence};
use citycode_event_store_jetstream::JetStreamEventStore;
use citycode_service_kit::clock::{Clock as _, SystemClock};
use citycode_testkit::checker::{Answer, Attempt, Command, Run, SavedProjection, SeenVerdict, WholeLog, check};
use citycode_testkit::{Draw, IdNumbers, Running, eventually, eventually_some};
use jiff::civil::date;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::city::{City, DEADLINE};

pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// The place of the scans; Shanghai's policy allows this age of the state there.
const PLACE: &str = "staffed";
const LIMIT_MS: u64 = 10_000;
/// People; several residents act for each of them, at several portals.
const PEOPLE: u64 = 4;
const RESIDENTS: u64 = 6;
/// A resident without an answer for this long retries or gives up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(20);
/// Pause between two commands of a resident.
const PACE: Duration = Duration::from_millis(10);
const SHOWN: usize = 24;
/// A run is meaningful only with so many acknowledged commands and admitted scans.
const ENOUGH_DONE: u64 = 50;
const ENOUGH_ADMITTED: u64 = 20;

struct Common {
    city: Arc<City>,
    portals: Vec<String>,
    clock: SystemClock,
    people: Vec<String>,
    /// Tokens in the order of their acknowledgement.
    codes: Mutex<Vec<String>>,
    stop: AtomicBool,
    done: AtomicU64,
    admitted: AtomicU64,
}

/// Residents and scans, which run until [`Chronicle::end`].
pub(crate) struct Chronicle {
    common: Arc<Common>,
    seed: u64,
    residents: Vec<JoinHandle<(Vec<Command>, Vec<SeenVerdict>)>>,
}

impl Chronicle {
    /// Registers the residents and starts.
    pub(crate) async fn begin(city: &Arc<City>, portals: &[&Running], seed: u64) -> Self {
        let mut numbers = IdNumbers::new(seed);
        let common = Arc::new(Common {
            city: Arc::clone(city),
            portals: portals.iter().map(|portal| portal.url().to_owned()).collect(),
            clock: SystemClock::new(),
            people: (0..PEOPLE).map(|_| numbers.born(date(1950, 5, 5))).collect(),
            codes: Mutex::default(),
            stop: AtomicBool::new(false),
            done: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
        });
        for id_number in &common.people {
            city.register(&common.portals[0], id_number).await;
        }
        let mut draw = Draw::new(seed);
        let residents = (0..RESIDENTS).map(|_| tokio::spawn(live(Arc::clone(&common), draw.bits())));
        let residents = residents.collect();
        Self {
            common,
            seed,
            residents,
        }
    }

    /// Waits for so many more acknowledged commands.
    pub(crate) async fn progress(&self, acts: u64) {
        let wanted = self.common.done.load(Ordering::SeqCst) + acts;
        let what = format!("seed {}: people go on", self.seed);
        eventually(&what, PATIENCE, || async {
            self.common.done.load(Ordering::SeqCst) >= wanted
        })
        .await;
    }

    /// Stops the residents after enough commands; the named verifiers fold the whole log and write their snapshots; the
    /// checker must find nothing.
    pub(crate) async fn end(self, verifiers: Vec<(&str, Running)>) {
        let what = format!("seed {}: enough is done, and enough let in", self.seed);
        eventually(&what, PATIENCE, || async {
            self.common.done.load(Ordering::SeqCst) >= ENOUGH_DONE
                && self.common.admitted.load(Ordering::SeqCst) >= ENOUGH_ADMITTED
        })
        .await;
        self.common.stop.store(true, Ordering::SeqCst);
        let (mut commands, mut verdicts, mut projections) = (Vec::new(), Vec::new(), Vec::new());
        for resident in self.residents {
            let (acts, scans) = resident.await.expect("a resident comes home");
            commands.extend(acts);
            verdicts.extend(scans);
        }
        let city = &self.common.city;
        let reader = eventually_some("the log opens", PATIENCE, || async {
            JetStreamEventStore::open(&city.log()).await.ok()
        })
        .await;
        for (name, verifier) in verifiers {
            let ready = format!("{}/health/ready", verifier.url());
            eventually("a verifier is ready in the end", PATIENCE, || async {
                reqwest::get(&ready).await.is_ok_and(|answer| answer.status() == 200)
            })
            .await;
            assert!(verifier.terminate(DEADLINE).await.success());
            let bytes = std::fs::read(city.state(name).join("projections/status")).expect("it wrote its snapshot");
            projections.push(SavedProjection {
                verifier: name.to_owned(),
                bytes,
            });
        }
        let run = Run {
            log: WholeLog::read(&reader).await.expect("the log can be read"),
            commands,
            verdicts,
            projections,
        };
        summarise(&run, self.seed);
        assert_eq!(check(&run), Vec::new(), "seed {}", self.seed);
    }
}

/// Prints a summary of the run.
fn summarise(run: &Run, seed: u64) {
    let of = |wanted: fn(&Answer) -> bool| {
        let attempts = run.commands.iter().flat_map(|command| &command.attempts);
        attempts.filter(|attempt| wanted(&attempt.answer)).count()
    };
    let done = of(|answer| matches!(answer, Answer::Done { .. }));
    let admitted = run.verdicts.iter().filter(|verdict| verdict.admitted).count();
    eprintln!(
        "seed {seed}: {} commits; {done} done, {} not done, {} refused, {} unknown; {admitted} of {} verdicts admit",
        run.log.commits.len(),
        of(|answer| *answer == Answer::NotDone),
        of(|answer| *answer == Answer::Refused),
        of(|answer| *answer == Answer::Unknown),
        run.verdicts.len()
    );
}

async fn live(common: Arc<Common>, seed: u64) -> (Vec<Command>, Vec<SeenVerdict>) {
    let (mut draw, mut pace) = (Draw::new(seed), tokio::time::interval(PACE));
    let (mut commands, mut verdicts) = (Vec::new(), Vec::new());
    while !common.stop.load(Ordering::SeqCst) {
        pace.tick().await;
        commands.push(act(&common, &mut draw).await);
        for _ in 0..2 {
            verdicts.extend(scan(&common, &mut draw).await);
        }
    }
    (commands, verdicts)
}

/// Sends one command until it is answered or its resident gives up.
async fn act(common: &Common, draw: &mut Draw) -> Command {
    let mut command = Command::new(CommandId(draw.bytes()));
    let (id_number, loses) = (draw.pick(&common.people).clone(), draw.below(5) == 0);
    let path = if loses { "report-loss" } else { "issue" };
    let order = json!({
        "id_number": id_number, "kind": "offline", "channel": "kiosk",
        "command_id": uuid::Uuid::from_bytes(command.command_id.0).to_string(),
    });
    loop {
        let portal = draw.pick(&common.portals).clone();
        let invoked_at = common.clock.monotonic();
        let asked = tokio::time::timeout(GIVE_UP_AFTER, common.city.call(&portal, path, &order)).await;
        let answer = understand(common, loses, asked.ok().flatten());
        command.attempts.push(Attempt {
            invoked_at,
            answered_at: common.clock.monotonic(),
            answer,
        });
        match answer {
            Answer::Done { .. } => {
                common.done.fetch_add(1, Ordering::SeqCst);
                return command;
            }
            Answer::Unknown | Answer::NotDone if draw.below(4) > 0 && !common.stop.load(Ordering::SeqCst) => {}
            _ => return command,
        }
    }
}

fn understand(common: &Common, loses: bool, answer: Option<(u16, Value)>) -> Answer {
    match answer {
        Some((200, _)) if loses => Answer::Done {
            position: None,
            code_id: None,
        },
        Some((200, code)) => {
            common
                .codes
                .lock()
                .push(code["token"].as_str().expect("a token").to_owned());
            Answer::Done {
                position: None,
                code_id: code["code_id"].as_str().and_then(CodeId::from_hex),
            }
        }
        Some((503, problem))
            if problem["detail"]
                .as_str()
                .is_some_and(|why| why.contains("was not made")) =>
        {
            Answer::NotDone
        }
        Some((503, _)) | None => Answer::Unknown,
        Some((404, problem)) if problem["code"] == "no_valid_code" => Answer::Refused,
        other => panic!("{other:?}"),
    }
}

/// Scans one of the newest codes, dead or alive; none if there is no verdict.
async fn scan(common: &Common, draw: &mut Draw) -> Option<SeenVerdict> {
    let token = {
        let codes = common.codes.lock();
        let newest = &codes[codes.len().saturating_sub(SHOWN)..];
        (!newest.is_empty()).then(|| draw.pick(newest).clone())?
    };
    let portal = draw.pick(&common.portals).clone();
    let asked_at = common.clock.monotonic();
    let asked = json!({ "place": PLACE, "code": token });
    let asked = tokio::time::timeout(GIVE_UP_AFTER, common.city.call(&portal, "verify", &asked)).await;
    let Ok(Some((200, verdict))) = asked else {
        return None;
    };
    let as_of = &verdict["as_of"];
    let seen = SeenVerdict {
        verifier: portal,
        asked_at,
        code_id: CodeId::from_hex(verdict["code_id"].as_str()?)?,
        admitted: verdict["decision"].as_str()?.starts_with("admit"),
        position: Position {
            partition: Partition(u16::try_from(as_of["position"]["partition"].as_u64()?).ok()?),
            sequence: Sequence(as_of["position"]["sequence"].as_u64()?),
        },
        age_ms: as_of["age_ms"].as_u64()?,
        limit_ms: LIMIT_MS,
    };
    common.admitted.fetch_add(u64::from(seen.admitted), Ordering::SeqCst);
    Some(seen)
}
