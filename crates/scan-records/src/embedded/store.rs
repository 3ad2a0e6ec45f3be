//! The storage of scan records: one file, and one key per day.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use citycode_domain::event::ScanBatches;
use citycode_domain::ids::ScanWriterId;
use citycode_service_kit::entropy::{Draw, Entropy};
use citycode_service_kit::files;
use citycode_vault::HolderKey;
use citycode_vault::log_binding::{self, BindingError, ForLog};
use parking_lot::Mutex;
use redb::{Database, ReadableDatabase as _, ReadableTable, TableDefinition};
use zeroize::Zeroizing;

use super::{Extent, OpenForLogError};
use crate::archive::Batch;
use crate::chunk::{Chunk, read_chunk};
use crate::{BatchesDigest, RecordsError, Registered, ScanNote, ScanRecord, ShownBytes, day_of, failed};

const SCANS: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("scans-5");
const REGISTERED: TableDefinition<'_, [u8; 16], (u32, &[u8])> = TableDefinition::new("registered-4");
/// How far the records were written; it never decreases, even when records are removed.
const EXTENT: TableDefinition<'_, (), (u64, u32)> = TableDefinition::new("extent-1");
/// The last batch of each day whose digest is in the log.
const RECORDED: TableDefinition<'_, u32, u64> = TableDefinition::new("recorded-1");
/// The writer of a day's batches from a number on. Batches before the first entry are of a release without writers, and have
/// the writer zero.
const WRITERS: TableDefinition<'_, (u32, u64), [u8; 8]> = TableDefinition::new("writers-1");
const DATABASE_FILE: &str = "scans.redb";
const CONTEXT: &[u8] = b"citycode-scan-record-v4";
const CHUNK_CONTEXT: &[u8] = b"citycode-scan-chunk-v3";

/// The file and the keys.
pub(super) struct Store {
    database: Database,
    keys: PathBuf,
    entropy: Arc<dyn Entropy>,
    /// The writer of this process's batches: random, so that the numbers of batches that a restore from a backup lost are
    /// not used again under the same writer.
    writer: ScanWriterId,
    open: Mutex<Option<(u32, HolderKey)>>,
}

/// A registration that waits to be written.
pub(super) struct Registration {
    pub(super) scan: ScanNote<Arc<str>>,
    pub(super) shown: ShownBytes,
}

impl Store {
    pub(super) fn open(folder: &Path, entropy: Arc<dyn Entropy>) -> Result<Self, RecordsError> {
        files::create_private_dir(folder).map_err(failed)?;
        let database = Database::create(folder.join(DATABASE_FILE)).map_err(failed)?;
        Self::over(folder, database, entropy)
    }

    pub(super) fn open_for_log(
        folder: &Path,
        entropy: Arc<dyn Entropy>,
        log_id: &[u8; 16],
        how: ForLog,
    ) -> Result<Self, OpenForLogError> {
        let database = log_binding::open(&folder.join(DATABASE_FILE), log_id, how)?;
        if let Some(path) = missing_key(folder, &database)? {
            return Err(BindingError::Missing(path).into());
        }
        Ok(Self::over(folder, database, entropy)?)
    }

    fn over(folder: &Path, database: Database, entropy: Arc<dyn Entropy>) -> Result<Self, RecordsError> {
        let keys = folder.join("keys");
        files::create_private_dir(&keys).map_err(failed)?;
        let transaction = database.begin_write().map_err(failed)?;
        transaction.open_table(SCANS).map_err(failed)?;
        transaction.open_table(REGISTERED).map_err(failed)?;
        transaction.open_table(EXTENT).map_err(failed)?;
        transaction.open_table(RECORDED).map_err(failed)?;
        transaction.open_table(WRITERS).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        let mut writer = entropy.array::<8>();
        // Small numbers are the writers of other engines, and of earlier releases.
        writer[0] |= 0x80;
        Ok(Self {
            database,
            keys,
            entropy,
            writer: ScanWriterId(writer),
            open: Mutex::new(None),
        })
    }

    /// Writes chunks and registrations in one transaction; returns the result of each registration, in order.
    /// An earlier record that cannot be opened fails only the registration that refers to it.
    pub(super) fn write<'a>(
        &self,
        mut chunks: BTreeMap<u32, Chunk>,
        registrations: impl Iterator<Item = &'a Registration>,
    ) -> Result<Vec<Result<Registered, RecordsError>>, RecordsError> {
        let transaction = self.database.begin_write().map_err(failed)?;
        let mut answers = Vec::new();
        {
            let mut scans = transaction.open_table(SCANS).map_err(failed)?;
            let mut registered = transaction.open_table(REGISTERED).map_err(failed)?;
            for Registration { scan, shown } in registrations {
                let name = (!scan.scan_id.is_empty()).then(|| scan_name(&scan.device, &scan.scan_id));
                let before = name.and_then(|name| self.before(&registered, name, shown).transpose());
                if let Some(before) = before {
                    answers.push(before);
                    continue;
                }
                let day = day_of(scan.at)?;
                let key = self.key(day)?;
                let shown = key.digest(shown);
                if let Some(name) = name {
                    let sealed = key.seal(CONTEXT, self.entropy.array(), &bytes_of(scan, &shown));
                    registered.insert(name, (day, sealed.as_slice())).map_err(failed)?;
                }
                chunks.entry(day).or_default().push(scan, Some(&shown));
                answers.push(Ok(Registered::Now));
            }
            let mut extent = transaction.open_table(EXTENT).map_err(failed)?;
            let before = read_extent(&extent)?;
            let newest = chunks.keys().next_back().copied();
            let after = (
                before.writes + 1,
                newest.map_or(before.day, |newest| newest.max(before.day)),
            );
            extent.insert((), after).map_err(failed)?;
            let mut writers = transaction.open_table(WRITERS).map_err(failed)?;
            for (day, chunk) in chunks {
                let sealed = self.key(day)?.seal(CHUNK_CONTEXT, self.entropy.array(), chunk.bytes());
                let place = first_free(&scans, day)?;
                if writer_of(&writers, day, u64::MAX)? != self.writer {
                    writers.insert((day, place), self.writer.0).map_err(failed)?;
                }
                scans.insert((day, place), sealed.as_slice()).map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)?;
        Ok(answers)
    }

    pub(super) fn extent(&self) -> Result<Extent, RecordsError> {
        let transaction = self.database.begin_read().map_err(failed)?;
        read_extent(&transaction.open_table(EXTENT).map_err(failed)?)
    }

    pub(super) fn registered(&self, name: [u8; 16], shown: &ShownBytes) -> Result<Option<Registered>, RecordsError> {
        let transaction = self.database.begin_read().map_err(failed)?;
        let registered = transaction.open_table(REGISTERED).map_err(failed)?;
        self.before(&registered, name, shown)
    }

    /// The earlier registration under the name of a scan.
    fn before(
        &self,
        registered: &impl ReadableTable<[u8; 16], (u32, &'static [u8])>,
        name: [u8; 16],
        shown: &ShownBytes,
    ) -> Result<Option<Registered>, RecordsError> {
        let Some(known) = registered.get(name).map_err(failed)? else {
            return Ok(None);
        };
        let (day, sealed) = known.value();
        let key = self.key(day)?;
        let record = ScanRecord::read(day, &key.open(CONTEXT, sealed).map_err(failed)?)?;
        let same = record.shown == Some(key.digest(shown));
        Ok(Some(if same {
            Registered::Before(Box::new(record))
        } else {
            Registered::ForAnother
        }))
    }

    /// The batches after a number, until they have `limit` sealed bytes together.
    pub(super) fn batches(&self, day: u32, after: u64, limit: usize) -> Result<Vec<Batch>, RecordsError> {
        let transaction = self.database.begin_read().map_err(failed)?;
        let scans = transaction.open_table(SCANS).map_err(failed)?;
        let writers = transaction.open_table(WRITERS).map_err(failed)?;
        let (mut batches, mut bytes) = (Vec::new(), 0);
        for entry in scans.range(batches_after(day, after)).map_err(failed)? {
            let (place, sealed) = entry.map_err(failed)?;
            let number = place.value().1;
            batches.push(Batch {
                writer: writer_of(&writers, day, number)?,
                number,
                digest: *blake3::hash(sealed.value()).as_bytes(),
                records: self.open_batch(day, sealed.value()),
            });
            bytes += sealed.value().len();
            if bytes >= limit {
                break;
            }
        }
        Ok(batches)
    }

    fn open_batch(&self, day: u32, sealed: &[u8]) -> Result<Vec<ScanRecord>, RecordsError> {
        let key = self
            .existing_key(day)?
            .ok_or_else(|| failed("the key of the day is destroyed"))?;
        read_chunk(day, &key.open(CHUNK_CONTEXT, sealed).map_err(failed)?)
    }

    pub(super) fn days(&self) -> Result<Vec<u32>, RecordsError> {
        let transaction = self.database.begin_read().map_err(failed)?;
        let scans = transaction.open_table(SCANS).map_err(failed)?;
        let (mut days, mut from) = (Vec::new(), 0);
        loop {
            let next = scans
                .range((from, 0)..)
                .map_err(failed)?
                .next()
                .transpose()
                .map_err(failed)?;
            let Some(day) = next.map(|(place, _)| place.value().0) else {
                return Ok(days);
            };
            days.push(day);
            let Some(following) = day.checked_add(1) else {
                return Ok(days);
            };
            from = following;
        }
    }

    pub(super) fn unrecorded(&self) -> Result<Vec<ScanBatches>, RecordsError> {
        let recorded = {
            let transaction = self.database.begin_read().map_err(failed)?;
            let table = transaction.open_table(RECORDED).map_err(failed)?;
            let entries = table.iter().map_err(failed)?;
            let entries = entries.map(|entry| entry.map(|(day, last)| (day.value(), last.value())));
            entries.collect::<Result<BTreeMap<_, _>, _>>().map_err(failed)?
        };
        let mut batches = Vec::new();
        for day in self.days()? {
            let mut after = recorded.get(&day).copied().unwrap_or(0);
            while let Some(sealed) = self.sealed_after(day, after)? {
                after = sealed.first + u64::from(sealed.count) - 1;
                batches.push(sealed);
            }
        }
        Ok(batches)
    }

    pub(super) fn forget_recorded(&self) -> Result<(), RecordsError> {
        let transaction = self.database.begin_write().map_err(failed)?;
        let mut table = transaction.open_table(RECORDED).map_err(failed)?;
        table.retain(|_, _| false).map_err(failed)?;
        drop(table);
        transaction.commit().map_err(failed)
    }

    pub(super) fn mark_recorded(&self, batches: &[ScanBatches]) -> Result<(), RecordsError> {
        let transaction = self.database.begin_write().map_err(failed)?;
        {
            let mut table = transaction.open_table(RECORDED).map_err(failed)?;
            for batches in batches {
                let last = batches.first + u64::from(batches.count) - 1;
                table.insert(batches.day, last).map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)
    }

    /// The next batches of one writer after a number, without a gap.
    fn sealed_after(&self, day: u32, after: u64) -> Result<Option<ScanBatches>, RecordsError> {
        let transaction = self.database.begin_read().map_err(failed)?;
        let scans = transaction.open_table(SCANS).map_err(failed)?;
        let writers = transaction.open_table(WRITERS).map_err(failed)?;
        let (mut digest, mut writer) = (BatchesDigest::default(), ScanWriterId([0; 8]));
        let (mut first, mut count) = (0, 0);
        for entry in scans.range(batches_after(day, after)).map_err(failed)? {
            let (place, sealed) = entry.map_err(failed)?;
            let number = place.value().1;
            let of = writer_of(&writers, day, number)?;
            if count == 0 {
                (first, writer) = (number, of);
            } else if number != first + u64::from(count) || of != writer {
                // After a missing batch, what follows is reported on its own, so that the gap stays visible.
                break;
            }
            digest.add(sealed.value());
            count += 1;
        }
        Ok((count > 0).then(|| ScanBatches {
            day,
            writer,
            first,
            count,
            digest: digest.finish(),
        }))
    }

    pub(super) fn forget_before(&self, first_kept: u32) -> Result<(), RecordsError> {
        let transaction = self.database.begin_write().map_err(failed)?;
        {
            let mut scans = transaction.open_table(SCANS).map_err(failed)?;
            scans.retain_in(..(first_kept, 0), |_, _| false).map_err(failed)?;
            let mut registered = transaction.open_table(REGISTERED).map_err(failed)?;
            registered.retain(|_, value| value.0 >= first_kept).map_err(failed)?;
            let mut recorded = transaction.open_table(RECORDED).map_err(failed)?;
            recorded.retain_in(..first_kept, |_, _| false).map_err(failed)?;
            let mut writers = transaction.open_table(WRITERS).map_err(failed)?;
            writers.retain_in(..(first_kept, 0), |_, _| false).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        for entry in std::fs::read_dir(&self.keys).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let day = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .and_then(|stem| stem.parse::<u32>().ok());
            if day.is_some_and(|day| day < first_kept) {
                std::fs::remove_file(&path).map_err(failed)?;
            }
        }
        self.open.lock().take_if(|(day, _)| *day < first_kept);
        Ok(())
    }

    /// The key of a day, unless it is destroyed.
    fn existing_key(&self, day: u32) -> Result<Option<HolderKey>, RecordsError> {
        if key_file(&self.keys, day).try_exists().map_err(failed)? {
            self.key(day).map(Some)
        } else {
            Ok(None)
        }
    }

    /// The key of a day, created if there is none.
    fn key(&self, day: u32) -> Result<HolderKey, RecordsError> {
        let mut open = self.open.lock();
        if let Some((_, key)) = open.as_ref().filter(|(of, _)| *of == day) {
            return Ok(key.clone());
        }
        let path = key_file(&self.keys, day);
        if !path.exists() {
            let fresh: Zeroizing<[u8; 32]> = Zeroizing::new(self.entropy.array());
            // The write is atomic: a crash here leaves a day without a key, never with a partial key.
            files::write_atomic(&path, fresh.as_slice(), files::PRIVATE_FILE_MODE).map_err(failed)?;
        }
        let bytes = files::read_private(&path).map_err(failed)?;
        let key = HolderKey::new(bytes.as_slice().try_into().map_err(failed)?);
        *open = Some((day, key.clone()));
        Ok(key)
    }
}

fn read_extent(extent: &impl ReadableTable<(), (u64, u32)>) -> Result<Extent, RecordsError> {
    let known = extent.get(()).map_err(failed)?;
    let (writes, day) = known.map_or((0, 0), |known| known.value());
    Ok(Extent { writes, day })
}

/// The key file of the newest day with records, if it is missing. A key is written before the first record of
/// its day and destroyed after the last one, so a crash cannot remove it.
fn missing_key(folder: &Path, database: &Database) -> Result<Option<PathBuf>, RecordsError> {
    let transaction = database.begin_read().map_err(failed)?;
    let scans = match transaction.open_table(SCANS) {
        Ok(scans) => scans,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let newest = scans.last().map_err(failed)?.map(|(place, _)| place.value().0);
    let path = newest.map(|day| key_file(&folder.join("keys"), day));
    Ok(path.filter(|path| log_binding::require(path).is_err()))
}

fn key_file(keys: &Path, day: u32) -> PathBuf {
    keys.join(format!("{day}.key"))
}

fn bytes_of(scan: &ScanNote<Arc<str>>, shown: &[u8; 32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(192);
    scan.write(Some(shown), &mut bytes);
    bytes
}

/// The places of a day's batches after a number.
fn batches_after(day: u32, after: u64) -> RangeInclusive<(u32, u64)> {
    (day, after.saturating_add(1))..=(day, u64::MAX)
}

/// The writer of the batch with this number, or of the last batch for the greatest number.
fn writer_of(
    writers: &impl ReadableTable<(u32, u64), [u8; 8]>,
    day: u32,
    number: u64,
) -> Result<ScanWriterId, RecordsError> {
    let since = writers.range((day, 0)..=(day, number)).map_err(failed)?.next_back();
    let since = since.transpose().map_err(failed)?;
    Ok(ScanWriterId(since.map_or([0; 8], |(_, writer)| writer.value())))
}

fn first_free(scans: &impl ReadableTable<(u32, u64), &'static [u8]>, day: u32) -> Result<u64, RecordsError> {
    let last = scans.range((day, 0)..=(day, u64::MAX)).map_err(failed)?.next_back();
    let last = last.transpose().map_err(failed)?;
    Ok(last.map_or(1, |(key, _)| key.value().1 + 1))
}

/// The name of a scan: device and scan id, hashed, so that neither is stored in the clear.
pub(crate) fn scan_name(device: &str, scan_id: &str) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("citycode scan name v1");
    hasher.update(&(device.len() as u64).to_be_bytes());
    hasher.update(device.as_bytes());
    hasher.update(scan_id.as_bytes());
    hasher.finalize().as_bytes()[..16].try_into().expect("16 of 32 bytes")
}
