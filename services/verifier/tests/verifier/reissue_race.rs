//! Reissuing during scans (R3, R4): once the new code was admitted, the old one never is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use citycode_domain::admission::Reason;
use citycode_domain::event::Event;

use crate::city::{City, holder_stream};

const REISSUES: u32 = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn r04_an_old_code_is_never_admitted_after_the_new_one_was() {
    let city = Arc::new(City::new().await);
    let mut codes = Vec::new();
    for number in 0..REISSUES {
        let mut code = city.sign("sampling", number, None);
        code.issued.supersedes = codes.last().map(|last: &crate::city::Code| last.issued.code);
        codes.push(code);
    }
    let codes = Arc::new(codes);
    let (stop, admitted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let scanners: Vec<_> = (0..2)
        .map(|_| {
            let (city, codes, stop, seen) = (
                Arc::clone(&city),
                Arc::clone(&codes),
                Arc::clone(&stop),
                Arc::clone(&admitted),
            );
            std::thread::spawn(move || {
                let mut newest: u32 = 0;
                while !stop.load(Ordering::Relaxed) && newest + 1 < REISSUES {
                    let (old, new) = (&codes[newest as usize], &codes[newest as usize + 1]);
                    if city.reason("sampling_desk", &new.text) == Reason::Ok {
                        let old = city.reason("sampling_desk", &old.text);
                        assert_eq!(old, Reason::Superseded, "code {newest} after its successor");
                        newest += 1;
                        seen.fetch_max(newest, Ordering::Relaxed);
                    }
                }
                newest
            })
        })
        .collect();
    for code in codes.iter() {
        city.tell(&holder_stream(), Event::CodeIssued(code.issued.clone()))
            .await;
        // Every code is admitted before it is superseded, so that each iteration exercises the race.
        let number = code.issued.code.status.index;
        while admitted.load(Ordering::Relaxed) < number && scanners.iter().all(|thread| !thread.is_finished()) {
            tokio::task::yield_now().await;
        }
    }
    let last = Arc::clone(&codes);
    assert_eq!(
        city.reason("sampling_desk", &last[REISSUES as usize - 1].text),
        Reason::Ok
    );
    stop.store(true, Ordering::Relaxed);
    for scanner in scanners {
        scanner.join().expect("no scan broke the order");
    }
    assert_eq!(admitted.load(Ordering::Relaxed), REISSUES - 1);
}
