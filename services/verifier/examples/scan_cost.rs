//! What a scan costs beside the bare signature check. The figures are taken in turns, so that a noisy moment hits them
//! alike, and the least of each counts. Run with `cargo run -p citycode-verifier --example scan_cost --release`.
#![expect(clippy::print_stdout, reason = "an example that prints is what this is")]

use std::hint::black_box;
use std::time::Instant;

use citycode_domain::admission::Reason;
use citycode_token::DeviceSigner;
use ed25519_dalek::Signer as _;

#[path = "../tests/verifier/city.rs"]
#[expect(dead_code, reason = "the example uses a part of the city")]
mod city;

const ROUNDS: u32 = 40;
/// Codes that a round scans for the first time.
const NEW: u32 = 200;

#[expect(
    clippy::disallowed_methods,
    reason = "an example measures with the clock of the machine"
)]
fn micros(calls: u32, mut work: impl FnMut(u32)) -> f64 {
    let start = Instant::now();
    for call in 0..calls {
        work(call);
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let city = city::City::new().await;
    let phone = DeviceSigner::from_seed([4; 32]);
    let mut codes = Vec::new();
    for number in 0..ROUNDS * NEW {
        codes.push(city.issue("sampling", number).await);
    }
    let live = city.issue_live(1, &phone).await;
    let shown = city.shown(&live, &phone);
    let admits = |text: &str| assert_eq!(city.reason("sampling_desk", black_box(text)), Reason::Ok);
    admits(&shown);
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let (message, public) = ([5u8; 110], key.verifying_key());
    let signature = key.sign(&message);
    let mut best = [f64::INFINITY; 4];
    for round in 0..ROUNDS {
        let fresh = &codes[(round * NEW) as usize..][..NEW as usize];
        let figures = [
            micros(NEW, |_| {
                public.verify_strict(black_box(&message), &signature).expect("good")
            }),
            micros(NEW, |call| admits(&fresh[call as usize].text)),
            micros(NEW * 50, |call| admits(&fresh[(call % NEW) as usize].text)),
            micros(NEW, |_| admits(&shown)),
        ];
        for (best, figure) in best.iter_mut().zip(figures) {
            *best = best.min(figure);
        }
    }
    for (name, figure) in ["bare verify_strict", "scan, new", "scan, seen", "scan, live, seen"]
        .iter()
        .zip(best)
    {
        println!("{name:20} {figure:8.3} µs   {:.3} × bare", figure / best[0]);
    }
}
