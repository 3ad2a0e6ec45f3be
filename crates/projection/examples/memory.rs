//! Measures size and speed of both projections with real data:
//! `cargo run --release -p citycode-projection --features bench_support --example memory [codes] [holders]`.
//! Bytes are those requested from the allocator; resident memory is printed as well.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measuring program prints, and reads the clock"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use citycode_domain::ids::{ClaimsDigest, StatusRef};
use citycode_domain::status::{Life, Status};
use citycode_projection::bench_support::{
    CityLog, IDENTITY, PARTITIONS, code, holder, holder_commits, mix, register_of, status_of,
};
use citycode_projection::register::HolderRegister;
use citycode_projection::status::{self, FingerprintKey, StatusAnswer};

struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "a counting allocator needs unsafe code")]
// SAFETY: both calls are forwarded unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's guarantee is forwarded.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's guarantee is forwarded.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocated() -> f64 {
    ALLOCATED.load(Ordering::Relaxed) as f64
}

fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0.0) * 4_096.0
}

fn lookups(codes: u64, count: u64, mut lookup: impl FnMut(StatusRef, &ClaimsDigest) -> StatusAnswer) -> f64 {
    let calls = CALLS.load(Ordering::Relaxed);
    let start = Instant::now();
    let mut valid = 0u64;
    for step in 0..count {
        let number = mix(step) % codes;
        let partition = (number % u64::from(PARTITIONS)) as u16;
        let code = code(partition, number / u64::from(PARTITIONS));
        let answer = lookup(code.status, &code.digest);
        let alive = matches!(answer.status, Status::Issued { life: Life::Valid, .. });
        valid += u64::from(alive);
    }
    let nanoseconds = start.elapsed().as_nanos() as f64 / count as f64;
    assert_eq!(valid, count, "every code of the city is valid");
    assert_eq!(calls, CALLS.load(Ordering::Relaxed), "looking up allocates nothing");
    nanoseconds
}

fn measure_status(codes: u64) {
    let codes = codes / u64::from(PARTITIONS) * u64::from(PARTITIONS);
    let (before, resident_before) = (allocated(), resident());
    let start = Instant::now();
    let (writer, reader) = status_of(codes);
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "status: {codes} codes, {:.3} bytes a code allocated, {:.3} resident; folded {:.2} M commits/s",
        (allocated() - before) / codes as f64,
        (resident() - resident_before) / codes as f64,
        codes as f64 / seconds / 1e6,
    );
    lookups(codes, 1_000_000, |status, digest| reader.lookup(status, digest));
    let start = Instant::now();
    let count = 5_000_000;
    for step in 0..count {
        let number = mix(step) % codes;
        std::hint::black_box(code((number % 16) as u16, number / 16));
    }
    let own = start.elapsed().as_nanos() as f64 / count as f64;
    let whole = lookups(codes, count, |status, digest| reader.lookup(status, digest));
    // A lower bound: random bytes of as much memory, a dozen reads in flight and in huge pages.
    let bytes = vec![1u8; codes as usize * 4];
    let start = Instant::now();
    let sum: u64 = (0..count)
        .map(|step| u64::from(bytes[(mix(step) % bytes.len() as u64) as usize]))
        .sum();
    let bare = start.elapsed().as_nanos() as f64 / count as f64;
    assert_eq!(sum, count);
    let few = lookups(16_000, count, |status, digest| reader.lookup(status, digest));
    println!(
        "status: random lookup {whole:.1} ns (among 16,000 codes {few:.1} ns), of which {own:.1} ns draw the code to ask for; a bare random byte {bare:.1} ns"
    );
    drop(writer);
}

fn measure_register(holders: u64) {
    let (before, resident_before) = (allocated(), resident());
    let start = Instant::now();
    let register = register_of(holders, None);
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "register: {} holders with 2.5 codes, {:.1} bytes a holder allocated, {:.1} resident; folded {:.2} M commits/s",
        register.holder_count(),
        (allocated() - before) / holders as f64,
        (resident() - resident_before) / holders as f64,
        holders as f64 * 4.5 / seconds / 1e6,
    );
    let count = 1_000_000;
    let start = Instant::now();
    for step in 0..count {
        let known = register.get(holder(mix(step) % holders));
        assert!(known.is_some_and(|(state, _)| state.registered));
    }
    let nanoseconds = start.elapsed().as_nanos() as f64 / count as f64;
    println!("register: random read {nanoseconds:.0} ns");
}

fn measure_apply(holders: u64) {
    let mut log = CityLog::default();
    let mut commits = Vec::new();
    for number in 0..holders {
        holder_commits(&mut log, number, 2 + number % 2, |commit| commits.push(commit));
    }
    let million = |start: Instant| commits.len() as f64 / start.elapsed().as_secs_f64() / 1e6;
    let (mut writer, _) = status::new(PARTITIONS, FingerprintKey([9; 16]));
    let start = Instant::now();
    for commit in &commits {
        assert_eq!(writer.apply(&commit.as_commit()), Ok(Vec::new()));
    }
    let status_rate = million(start);
    let register = HolderRegister::new(PARTITIONS);
    let start = Instant::now();
    for commit in &commits {
        assert_eq!(register.apply(&commit.as_commit()), Ok(()));
    }
    println!(
        "apply: {} commits of one event: status {status_rate:.2} M/s, register {:.2} M/s",
        commits.len(),
        million(start),
    );
}

fn measure_snapshot(codes: u64) -> std::io::Result<()> {
    let holders = codes * 2 / 5;
    let (mut writer, _) = status::new(PARTITIONS, FingerprintKey([9; 16]));
    let register = register_of(holders, Some(&mut writer));
    let folder = std::env::temp_dir().join(format!("citycode-memory-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let (status_path, register_path) = (folder.join("status"), folder.join("register"));
    let start = Instant::now();
    writer
        .save(&IDENTITY, File::create(&status_path)?)
        .map_err(std::io::Error::other)?;
    register
        .save(&IDENTITY, File::create(&register_path)?)
        .map_err(std::io::Error::other)?;
    let saving = start.elapsed().as_secs_f64();
    drop((writer, register));
    let start = Instant::now();
    let status = status::load(&IDENTITY, File::open(&status_path)?).map_err(std::io::Error::other)?;
    let status_seconds = start.elapsed().as_secs_f64();
    let register = HolderRegister::load(&IDENTITY, File::open(&register_path)?).map_err(std::io::Error::other)?;
    let both = start.elapsed().as_secs_f64();
    assert_eq!(register.holder_count(), holders);
    println!(
        "snapshot: {codes} codes of {holders} holders, {:.0} + {:.0} MB: saved in {saving:.2} s, loaded in {both:.2} s (status {status_seconds:.2} s)",
        status_path.metadata()?.len() as f64 / 1e6,
        register_path.metadata()?.len() as f64 / 1e6,
    );
    drop((status, register));
    std::fs::remove_dir_all(&folder)
}

fn main() -> std::io::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse().ok());
    let codes = numbers.next().flatten().unwrap_or(100_000_000);
    let holders = numbers.next().flatten().unwrap_or(10_000_000);
    measure_status(codes);
    measure_apply(500_000.min(holders));
    measure_register(holders);
    measure_snapshot(10_000_000.min(codes))
}
