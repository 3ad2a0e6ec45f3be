//! `projection`: the memory of a city's projections, and the time a verifier or issuer takes to start.

use std::fs::File;
use std::time::Instant;

use anyhow::{Result, ensure};
use citycode_domain::status::{Life, Status};
use citycode_projection::bench_support::{IDENTITY, PARTITIONS, code, holder, mix, register_of, status_of};
use citycode_projection::register::HolderRegister;
use citycode_projection::status::{self, FingerprintKey, StatusReader};

use crate::report::{Figure, Goal, Report};
use crate::{Scale, allocation, folder, replay};

const CODES: u64 = 100_000_000;
const HOLDERS: u64 = 10_000_000;
const SNAPSHOT_CODES: u64 = 10_000_000;
/// Holders at 2.5 codes each.
const SNAPSHOT_HOLDERS: u64 = SNAPSHOT_CODES * 2 / 5;
/// Random reads that check the projection.
const READS: u64 = 2_000_000;

pub(crate) fn run(report: &mut Report, scale: Scale) -> Result<()> {
    // Replay runs first because it needs the page cache; the others need the memory.
    replay::run(report, scale)?;
    allocation::count();
    status_size(report, scale)?;
    register_size(report, scale)?;
    allocation::pause();
    start_from_snapshot(report, scale)
}

/// Reads random codes, which must all be valid, without allocations; returns nanoseconds for each.
fn read_codes(reader: &StatusReader, codes: u64) -> Result<f64> {
    let calls = allocation::calls();
    let start = Instant::now();
    let mut valid = 0u64;
    for step in 0..READS {
        let number = mix(step) % codes;
        let partition = (number % u64::from(PARTITIONS)) as u16;
        let code = code(partition, number / u64::from(PARTITIONS));
        let answer = reader.lookup(code.status, &code.digest);
        let alive = matches!(answer.status, Status::Issued { life: Life::Valid, .. });
        valid += u64::from(alive);
    }
    let nanoseconds = start.elapsed().as_nanos() as f64 / READS as f64;
    ensure!(valid == READS, "{} codes of the city are not valid", READS - valid);
    ensure!(calls == allocation::calls(), "looking up allocated memory");
    Ok(nanoseconds)
}

fn status_size(report: &mut Report, scale: Scale) -> Result<()> {
    let codes = scale.of(CODES) / u64::from(PARTITIONS) * u64::from(PARTITIONS);
    let (held, resident) = (allocation::held_bytes(), allocation::resident_bytes());
    let (writer, reader) = status_of(codes);
    let bytes = (allocation::held_bytes() - held) / codes as f64;
    let resident = (allocation::resident_bytes() - resident) / codes as f64;
    let read = read_codes(&reader, codes)?;
    drop(writer);
    report.push(Figure::new("bytes_per_code_100m", bytes, "bytes").goal(Goal::AtMost(4.0)));
    report.push(Figure::new("resident_bytes_per_code_100m", resident, "bytes"));
    report.push(Figure::new("lookup_100m", read, "ns"));
    Ok(())
}

fn register_size(report: &mut Report, scale: Scale) -> Result<()> {
    let holders = scale.of(HOLDERS);
    let (held, resident) = (allocation::held_bytes(), allocation::resident_bytes());
    let register = register_of(holders, None);
    let bytes = (allocation::held_bytes() - held) / holders as f64;
    let resident = (allocation::resident_bytes() - resident) / holders as f64;
    let reads = READS / 2;
    let start = Instant::now();
    for step in 0..reads {
        let known = register.get(holder(mix(step) % holders));
        ensure!(known.is_some_and(|(state, _)| state.registered), "a holder is missing");
    }
    let read = start.elapsed().as_nanos() as f64 / reads as f64;
    report.push(Figure::new("register_bytes_per_holder", bytes, "bytes").goal(Goal::AtMost(160.0)));
    report.push(Figure::new("register_resident_bytes_per_holder", resident, "bytes"));
    report.push(Figure::new("register_read_10m", read, "ns"));
    Ok(())
}

fn start_from_snapshot(report: &mut Report, scale: Scale) -> Result<()> {
    let holders = scale.of(SNAPSHOT_HOLDERS);
    let (mut writer, _) = status::new(PARTITIONS, FingerprintKey([9; 16]));
    let register = register_of(holders, Some(&mut writer));
    let folder = folder::temporary()?;
    let (status_path, register_path) = (folder.path().join("status"), folder.path().join("register"));
    for path in [&status_path, &register_path] {
        let file = File::create(path)?;
        if path == &status_path {
            writer.save(&IDENTITY, &file)?;
        } else {
            register.save(&IDENTITY, &file)?;
        }
        file.sync_all()?;
    }
    drop((writer, register));
    let start = Instant::now();
    let (writer, _) = status::load(&IDENTITY, File::open(&status_path)?)?;
    let status_seconds = start.elapsed().as_secs_f64();
    let register = HolderRegister::load(&IDENTITY, File::open(&register_path)?)?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(register.holder_count() == holders, "the snapshot lost holders");
    // Every holder has two or three codes and one reissue, which used 3.5 indexes on average.
    let issued: u64 = (0..PARTITIONS)
        .filter_map(|partition| writer.point(partition))
        .map(|point| point.sequence)
        .sum();
    ensure!(issued >= holders * 4, "the snapshot lost commits");
    report.push(Figure::new("start_from_snapshot_10m", seconds, "s").goal(Goal::AtMost(2.0)));
    report.push(Figure::new("start_from_snapshot_10m_status_only", status_seconds, "s"));
    Ok(())
}
