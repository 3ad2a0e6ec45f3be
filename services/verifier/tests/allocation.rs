//! A scan of a cached token, including policy, status and verdict, allocates nothing.
#![expect(unsafe_code, reason = "an allocator that counts can be written no other way")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use citycode_domain::admission::Reason;
use citycode_token::DeviceSigner;

#[path = "verifier/city.rs"]
#[expect(dead_code, reason = "one test uses a part of the city")]
mod city;
#[path = "verifier/slow_vault.rs"]
#[expect(dead_code, reason = "one test uses a part of the city")]
mod slow_vault;

thread_local! {
    /// Calls of this thread only: the runtime's other threads are not part of a scan.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has no counter any more and does not scan.
        let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
        // SAFETY: the caller upholds the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[tokio::test]
async fn a_scan_of_a_cached_token_allocates_nothing() {
    let city = city::City::new().await;
    let phone = DeviceSigner::from_seed([4; 32]);
    let paper = city.issue("sampling", 1).await;
    let live = city.issue_live(2, &phone).await;
    let shown = city.shown(&live, &phone);
    for text in [&paper.text, &shown] {
        let before = CALLS.get();
        assert_eq!(city.reason("sampling_desk", text), Reason::Ok);
        assert!(CALLS.get() > before, "caching allocates, so the counter works");
        let before = CALLS.get();
        for _ in 0..1_000 {
            assert_eq!(city.reason("sampling_desk", text), Reason::Ok);
        }
        assert_eq!(CALLS.get() - before, 0);
    }
}
