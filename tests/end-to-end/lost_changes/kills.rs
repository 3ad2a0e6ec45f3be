//! `kill -9` at any moment, while every part of the data folder is written and while the system starts: no crash looks
//! like a loss, so no later start is refused.
//!
//! The gate runs a few kills; `cargo xtask kills` runs a thousand.

use std::process::Stdio;
use std::time::Duration;

use citycode_testkit::{Draw, IdNumbers, Process};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};

use super::City;
use crate::server::{Server, binary};

/// Number of kills; the variable overrides it.
const KILLS: usize = 15;
const VARIABLE: &str = "CITYCODE_TEST_KILLS";
const PEOPLE: usize = 20;
/// Most answered calls between a start and its kill.
const CALLS: u64 = 48;
/// Calls in flight at a kill.
const IN_FLIGHT: u64 = 16;
/// One start in so many is killed before it is ready.
const KILLED_STARTS: u64 = 4;
/// One kill in so many hits the first start of a new folder.
const FIRST_STARTS: u64 = 6;
/// The latest moment of such a kill; a start takes less on an idle machine.
const START_MILLIS: u64 = 1_200;

/// The people, and the calls on their behalf.
struct Load {
    draw: Draw,
    people: Vec<String>,
    codes: Vec<String>,
    scans: u64,
}

impl Load {
    /// The next call: most write the log, and each part is written by some.
    fn next(&mut self) -> (&'static str, Value) {
        let person = self.draw.pick(&self.people).clone();
        let code = json!({ "kind": "sampling", "id_number": person, "channel": "app" });
        match self.draw.below(64) {
            0..=11 => (
                "register",
                json!({ "id_number": person, "name": "张小三", "channel": "kiosk" }),
            ),
            12..=15 => ("erase", json!({ "id_number": person })),
            16..=19 => ("report-loss", code),
            20..=23 => (
                "standing",
                json!({ "id_number": person, "standing": "yellow", "reason": "密切接触" }),
            ),
            24..=26 => ("history", json!({ "kind": "sampling", "id_number": person })),
            27 => ("keys/rotate", json!({})),
            28..=39 if !self.codes.is_empty() => {
                self.scans += 1;
                let scan_id = self.scans.to_string();
                let code = self.draw.pick(&self.codes);
                (
                    "verify",
                    json!({ "place": "sampling_desk", "code": code, "device": "desk-1", "scan_id": scan_id }),
                )
            }
            _ => ("issue", code),
        }
    }

    /// Makes a call that is answered.
    async fn call(&mut self, server: &Server) {
        let (path, body) = self.next();
        let (status, answer) = server.call(path, &body).await.expect("an answer");
        // Not every person is registered or has a code.
        assert!([200, 404].contains(&status), "{path}: {answer}");
        if let Some(token) = answer["token"].as_str() {
            self.codes.push(token.to_owned());
        }
    }
}

/// Kills the system while calls are in flight.
async fn kill_under_load(server: Server, load: &mut Load) {
    for _ in 0..load.draw.below(CALLS) {
        load.call(&server).await;
    }
    let calls: Vec<_> = (0..IN_FLIGHT).map(|_| load.next()).collect();
    // Each ends with the process, wherever it is then.
    let pending = calls.iter().map(|(path, body)| server.call(path, body));
    let mut pending: FuturesUnordered<_> = pending.collect();
    for _ in 0..load.draw.below(IN_FLIGHT) {
        pending.next().await;
    }
    server.process.sigkill();
    while pending.next().await.is_some() {}
    drop(pending);
    server.process.kill_9().await;
}

/// Kills the system at some moment of its start; returns whether it was still running.
async fn kill_while_starting(city: &City, load: &mut Load) -> bool {
    let mut command = tokio::process::Command::new(binary());
    command
        .args(["up", "--listen", "127.0.0.1:0", "--config", &city.config, "--data"])
        .arg(&city.data)
        .env("HOME", city.folder.path())
        .env("XDG_STATE_HOME", city.aside("state"))
        .env_remove(VARIABLE)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut process = Process::start(&mut command).expect("it starts");
    let moment = Duration::from_millis(load.draw.below(START_MILLIS));
    if tokio::time::timeout(moment, process.wait()).await.is_err() {
        process.kill_9();
        return true;
    }
    let said = process.into_output().await.stderr;
    panic!("the start is refused: {}", String::from_utf8_lossy(&said));
}

/// Kills first starts of a new folder, which create every part and key, until one is ready.
async fn kill_first_starts(load: &mut Load) -> usize {
    let city = City::new();
    let mut killed = 0;
    while killed == 0 || load.draw.below(2) == 0 {
        killed += usize::from(kill_while_starting(&city, load).await);
    }
    city.start().await.stop().await;
    killed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_is_not_mistaken_for_a_loss() {
    let asked = std::env::var(VARIABLE).ok();
    let kills = asked.map_or(KILLS, |kills| kills.parse().expect("a number"));
    let city = City::new();
    let config = std::fs::read_to_string(&city.config).expect("a file");
    std::fs::write(&city.config, format!("{config}snapshot_seconds = 1\n")).expect("written");
    let mut numbers = IdNumbers::new(74);
    let people = (0..PEOPLE).map(|_| numbers.aged(40, jiff::civil::date(2026, 1, 1)));
    let mut load = Load {
        people: people.collect(),
        draw: Draw::new(75),
        codes: Vec::new(),
        scans: 0,
    };
    let (mut running, mut starting, mut first) = (0, 0, 0);
    while running + starting + first < kills {
        // A start that is refused panics here, or at the next kill.
        if load.draw.below(FIRST_STARTS) == 0 {
            first += kill_first_starts(&mut load).await;
        } else if running > 0 && load.draw.below(KILLED_STARTS) == 0 {
            starting += usize::from(kill_while_starting(&city, &mut load).await);
        } else {
            kill_under_load(city.start().await, &mut load).await;
            running += 1;
            if running.is_multiple_of(50) {
                eprintln!("kills so far: {running} while it ran, {starting} in starts, {first} in first starts");
            }
        }
    }
    assert!(!load.codes.is_empty() && load.scans > 0, "nothing was written");
    let server = city.start().await;
    assert!(!server.process.said().contains("there is no mark"));
    server.stop().await;
    eprintln!(
        "kills: {running} while it ran, {starting} in starts, {first} in first starts; {} codes issued, {} scans; no \
         start was refused",
        load.codes.len(),
        load.scans
    );
}
