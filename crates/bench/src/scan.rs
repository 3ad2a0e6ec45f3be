//! `scan`: the cost of one scan compared with a bare signature check of the same library in the same run, and its cost
//! over gRPC compared with a server that returns a constant answer.
//!
//! Reference and product alternate in short rounds, so that other load on the machine affects both equally; a figure is
//! the median round.

pub(crate) mod endpoints;
pub(crate) mod gate;

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use citycode_domain::policy::PlacePolicy;
use citycode_token::present;
use ed25519_dalek::Signer as _;

use crate::Scale;
use crate::report::{Figure, Goal, Report};
use gate::Gate;

/// Rounds of every figure.
const ROUNDS: u64 = 20;
/// New codes, and live codes, in one round.
const NEW: u64 = 500;
/// Scans of codes seen before, in one round.
const SEEN: u64 = 200_000;

pub(crate) fn run(report: &mut Report, scale: Scale) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let _within = runtime.enter();
    let codes = scale.of(NEW) * ROUNDS;
    let gate = runtime.block_on(Gate::new(codes, codes))?;
    one_scan(report, scale, &gate)?;
    drop(gate);
    runtime.block_on(endpoints::run(report, scale))
}

fn one_scan(report: &mut Report, scale: Scale, gate: &Gate) -> Result<()> {
    let bare = BareCheck::new(scale.of(NEW));
    let (place, sentinel) = (gate.verifier_place("staffed")?, gate.verifier_place("sentinel")?);
    let (mut new, mut limit, mut seen) = (Vec::new(), Vec::new(), Vec::new());
    let size = usize::try_from(scale.of(NEW))?;
    for tokens in gate.codes.tokens.chunks(size) {
        limit.push(bare.round());
        new.push(each(tokens, |token| scan(gate, &place, token, "id_check_required"))?);
    }
    let limit_of_new = median(limit);
    for _ in 0..ROUNDS {
        let texts = gate.codes.tokens.iter().cycle().take(usize::try_from(scale.of(SEEN))?);
        let started = Instant::now();
        for text in texts.clone() {
            black_box(gate.verifier.scan(&gate.question(&place, text)));
        }
        seen.push(started.elapsed().as_secs_f64() * 1e6 / texts.count() as f64);
    }
    let shown: Vec<String> = gate
        .codes
        .live
        .iter()
        .map(|(token, phone)| present(token, phone, gate.now(), None))
        .collect::<Result<_, _>>()?;
    for text in &shown {
        scan(gate, &sentinel, text, "ok")?;
    }
    let (mut live, mut limit) = (Vec::new(), Vec::new());
    for texts in shown.chunks(size) {
        limit.push(bare.round());
        live.push(each(texts, |text| scan(gate, &sentinel, text, "ok"))?);
    }
    let figures = [
        ("scan_new", median(new), limit_of_new, Goal::RatioAtMost(1.15)),
        ("scan_seen", median(seen), limit_of_new, Goal::AtMost(1.0)),
        ("scan_live_seen", median(live), median(limit), Goal::RatioAtMost(1.2)),
    ];
    for (name, value, limit, goal) in figures {
        report.push(Figure::new(name, value, "µs").reference(limit).goal(goal));
    }
    Ok(())
}

/// Returns the microseconds of each scan.
fn each(texts: &[String], mut act: impl FnMut(&str) -> Result<()>) -> Result<f64> {
    let started = Instant::now();
    for text in texts {
        act(text)?;
    }
    Ok(started.elapsed().as_secs_f64() * 1e6 / texts.len() as f64)
}

/// One scan with the expected verdict; any other verdict is an error, because its cost would be meaningless.
fn scan(gate: &Gate, place: &PlacePolicy, text: &str, reason: &str) -> Result<()> {
    let answer = gate.verifier.scan(&gate.question(place, text)).verdict.reason;
    anyhow::ensure!(
        answer.name() == reason,
        "a good code was answered with {}",
        answer.name()
    );
    Ok(())
}

/// The median of the rounds.
fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

/// Bare strict signature checks of messages of a token's size.
struct BareCheck {
    key: ed25519_dalek::VerifyingKey,
    signed: Vec<([u8; 160], ed25519_dalek::Signature)>,
}

impl BareCheck {
    fn new(messages: u64) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let message = |n| [(n % 251) as u8; 160];
        let signed = (0..messages).map(|n| (message(n), key.sign(&message(n)))).collect();
        Self {
            key: key.verifying_key(),
            signed,
        }
    }

    /// Returns the mean microseconds of a check.
    fn round(&self) -> f64 {
        let started = Instant::now();
        for (message, signature) in &self.signed {
            black_box(self.key.verify_strict(message, signature).is_ok());
        }
        started.elapsed().as_secs_f64() * 1e6 / self.signed.len() as f64
    }
}
