//! Measures what verifying a token costs compared with the bare signature check. The goal is at most a tenth
//! more.
//! Run with `cargo run -p citycode-token --example cost --release`.
#![expect(clippy::print_stdout, reason = "the example prints its results")]

use std::hint::black_box;
use std::time::Instant;

use citycode_domain::claims::ID_COMMITMENT_LEN;
use citycode_domain::event::{Event, SigningKeyAdded};
use citycode_domain::ids::{CodeId, CodeKind, ListId, StatusRef};
use citycode_domain::policy::ProofPolicy;
use citycode_domain::time::Timestamp;
use citycode_token::{
    CodeClaimsToSign, DeviceSigner, Keyring, MAX_SCAN_LEN, Scan, SigningKey, VerifiedClaims, canonical_scan,
    check_proof, present, sign_code, verify,
};
use ed25519_dalek::{Signer, Verifier};

const BASE_URI: &str = "https://s.example/";
const ISSUED_AT: Timestamp = Timestamp(1_661_904_000);
/// Rounds per figure. The figures alternate, so that noise affects them equally, and the minimum of each
/// counts.
const ROUNDS: usize = 40;
/// Calls per round.
const CALLS: u32 = 200;

#[expect(
    clippy::disallowed_methods,
    reason = "an example measures with the clock of the machine"
)]
fn micros(work: &mut dyn FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..CALLS {
        work();
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS)
}

fn claims(device: Option<&DeviceSigner>) -> CodeClaimsToSign {
    let kind = CodeKind::new(4).expect("4 is a kind");
    let expires_at = ISSUED_AT.plus_seconds(180 * 86_400);
    CodeClaimsToSign {
        code_id: CodeId([1; 8]),
        kind,
        issued_at: ISSUED_AT,
        expires_at,
        status: StatusRef {
            list: ListId::new(3, kind, expires_at, 0).expect("in range"),
            index: 1_234_567,
        },
        id_commitment: Some([1; ID_COMMITMENT_LEN]),
        device_key: device.map(DeviceSigner::device_key),
    }
}

/// The inputs of the measurements.
struct Bench {
    keyring: Keyring,
    paper: String,
    live: String,
    shown: String,
    live_claims: VerifiedClaims,
}

type Works<'a> = Vec<(&'static str, Box<dyn FnMut() + 'a>)>;

const POLICY: ProofPolicy = ProofPolicy {
    max_age_seconds: 60,
    max_ahead_seconds: 5,
};

impl Bench {
    fn new() -> Self {
        let key = SigningKey::from_seed([7; 32]);
        let added = SigningKeyAdded {
            key_id: key.key_id(),
            public_key: key.public_key(),
            signs_from: ISSUED_AT,
        };
        let keyring = Keyring::new()
            .apply(&Event::SigningKeyAdded(added))
            .expect("a sound key");
        let device = DeviceSigner::from_seed([9; 32]);
        let text = |claims| sign_code(&claims, BASE_URI, &key).expect("signs").text;
        let live = text(claims(Some(&device)));
        let shown = present(&live, &device, ISSUED_AT, None).expect("presents");
        let live_claims = verify(&shown, &keyring, BASE_URI, ISSUED_AT).expect("verifies");
        Self {
            keyring,
            paper: text(claims(None)),
            live,
            shown,
            live_claims,
        }
    }

    fn check(&self, text: &str) {
        black_box(verify(black_box(text), &self.keyring, BASE_URI, ISSUED_AT).expect("good"));
    }

    fn check_seen_live(&self) {
        let scan = Scan::read(black_box(&self.shown)).expect("reads");
        black_box(scan.cwt_digest());
        let (claims, proof) = (&self.live_claims, scan.proof());
        black_box(check_proof(claims, proof, ISSUED_AT, &POLICY, None));
    }

    fn works(&self) -> Works<'_> {
        let bare_key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let message = [5u8; 110];
        let signature = bare_key.sign(&message);
        let public = bare_key.verifying_key();
        vec![
            (
                "bare verify_strict",
                Box::new(move || {
                    public.verify_strict(black_box(&message), &signature).expect("good");
                }),
            ),
            (
                "bare verify (not strict)",
                Box::new(move || {
                    public.verify(black_box(&message), &signature).expect("good");
                }),
            ),
            ("paper token, text to claims", Box::new(|| self.check(&self.paper))),
            ("live token, text to claims", Box::new(|| self.check(&self.live))),
            (
                "live code, token seen: read, digest, proof",
                Box::new(|| self.check_seen_live()),
            ),
            (
                "canonical_scan of a paper token",
                Box::new(|| {
                    let mut buffer = [0; MAX_SCAN_LEN];
                    black_box(canonical_scan(black_box(&self.paper), &mut buffer));
                }),
            ),
        ]
    }
}

fn main() {
    let bench = Bench::new();
    let mut works = bench.works();
    let mut best = vec![f64::INFINITY; works.len()];
    for _ in 0..ROUNDS {
        for (best, (_, work)) in best.iter_mut().zip(&mut works) {
            *best = best.min(micros(work.as_mut()));
        }
    }
    for ((name, _), time) in works.iter().zip(&best) {
        println!("{name:45} {time:8.3} µs   {:.3} × bare", time / best[0]);
    }
}
