//! Scan records, apart from the log of codes: sealed under a key of the day, so that retention can destroy both.
//!
//! Records of ordinary scans go into a bounded queue and from there many to a transaction; under overload they are
//! dropped and counted. A sampling desk's record is durable before its answer, and the same (device, scan id) is one
//! record as long as records are kept (R20): a repeat gets the verdict that stands in it. What was shown stands in it
//! as an HMAC under the day's key, so that a scan id used for another code or card is noticed and nobody's number can
//! be tried out once the key is destroyed.
//!
//! ```text
//! scans.redb   table scans-3       (day:u32, sequence:u64) → sealed chunk
//!              table registered-2  (device, scan id) hashed:16 → day:u32 and sealed record
//! keys/DAY.key 32 bytes, 0600      day = days since 1970 (UTC)
//! chunk        records of one day and transaction, in order, each as length:u32 (big-endian) and record
//! record       see `ScanRecord::write`
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use citycode_service_kit::entropy::{Draw, Entropy};
use citycode_service_kit::files;
use citycode_vault::HolderKey;
use parking_lot::Mutex;
use redb::{Database, ReadableDatabase as _, ReadableTable, TableDefinition};
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

const SCANS: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("scans-3");
const REGISTERED: TableDefinition<'_, [u8; 16], (u32, &[u8])> = TableDefinition::new("registered-2");
/// Records that may wait; at some 200 bytes each, and seconds of work for the disk.
const QUEUE: usize = 65_536;
/// Records in one transaction.
const BATCH: usize = 4_096;
const DAY_SECONDS: i64 = 86_400;
const CONTEXT: &[u8] = b"citycode-scan-record-v2";
const CHUNK_CONTEXT: &[u8] = b"citycode-scan-chunk-v1";

/// Why records cannot be kept.
#[derive(Debug, Clone, thiserror::Error)]
#[error("scan records cannot be kept: {0}")]
pub struct RecordsError(String);

/// What is recorded of one scan. No ID number, no name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScanRecord {
    /// When, in Unix seconds.
    pub at: i64,
    /// Where.
    pub place: String,
    /// By which device.
    pub device: String,
    /// The device's own name for the scan; empty for none.
    pub scan_id: String,
    /// The code in hex; empty where none was read.
    pub code_id: String,
    /// The reason's word.
    pub reason: String,
    /// The commit that the verdict rested on.
    pub position: (u16, u64),
    /// How old the knowledge was, in milliseconds.
    pub age_ms: u64,
    /// HMAC of what was shown under the day's key, in registrations; the writer fills it in.
    pub shown: [u8; 32],
}

/// What came of a registration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Registered {
    /// It is recorded now.
    Now,
    /// It was before, as this.
    Before(ScanRecord),
    /// The device has used the scan id for something else; nothing was recorded.
    ForAnother,
}

/// What was shown, only to be told apart from what else was: a code's digest, or the bytes of a card's number.
pub type ShownBytes = Zeroizing<Vec<u8>>;

/// Where scan records go.
pub struct ScanRecords {
    jobs: mpsc::Sender<Job>,
    store: Arc<Store>,
}

struct Store {
    database: Database,
    keys: PathBuf,
    entropy: Arc<dyn Entropy>,
    open: Mutex<Option<(u32, HolderKey)>>,
}

enum Job {
    Scan(ScanRecord),
    Registration(Registration, oneshot::Sender<Result<Registered, RecordsError>>),
}

struct Registration {
    record: ScanRecord,
    shown: ShownBytes,
}

impl ScanRecords {
    /// Opens the records of a folder, or makes it.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn open(folder: &Path, entropy: Arc<dyn Entropy>) -> Result<Self, RecordsError> {
        let keys = folder.join("keys");
        files::create_private_dir(&keys).map_err(failed)?;
        let database = Database::create(folder.join("scans.redb")).map_err(failed)?;
        let transaction = database.begin_write().map_err(failed)?;
        transaction.open_table(SCANS).map_err(failed)?;
        transaction.open_table(REGISTERED).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        let store = Arc::new(Store {
            database,
            keys,
            entropy,
            open: Mutex::new(None),
        });
        let (jobs, queue) = mpsc::channel(QUEUE);
        let writer = Arc::clone(&store);
        std::thread::Builder::new()
            .name("scan-records".into())
            .spawn(move || writer.run(queue))
            .map_err(failed)?;
        Ok(Self { jobs, store })
    }

    /// Records an ordinary scan, if there is room; never waits.
    pub fn note(&self, record: ScanRecord) {
        if self.jobs.try_send(Job::Scan(record)).is_err() {
            metrics::counter!("citycode_verifier_scan_records_dropped_total").increment(1);
        }
    }

    /// Records a registration; durable once it returns. Of one (device, scan id) only the first is recorded.
    ///
    /// # Errors
    /// [`RecordsError`]; then the person was not registered.
    pub async fn register(&self, record: ScanRecord, shown: ShownBytes) -> Result<Registered, RecordsError> {
        let (answer, answered) = oneshot::channel();
        let stopped = || RecordsError("the writer stopped".into());
        let job = Job::Registration(Registration { record, shown }, answer);
        self.jobs.send(job).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// What was registered under this scan id before, if anything: none where it is new.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn registered(
        &self,
        device: &str,
        scan_id: &str,
        shown: &ShownBytes,
    ) -> Result<Option<Registered>, RecordsError> {
        let transaction = self.store.database.begin_read().map_err(failed)?;
        let registered = transaction.open_table(REGISTERED).map_err(failed)?;
        self.store.before(&registered, scan_name(device, scan_id), shown)
    }

    /// Destroys records and keys of days before `first_kept` (days since 1970).
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn forget_before(&self, first_kept: u32) -> Result<(), RecordsError> {
        let transaction = self.store.database.begin_write().map_err(failed)?;
        {
            let mut scans = transaction.open_table(SCANS).map_err(failed)?;
            scans.retain_in(..(first_kept, 0), |_, _| false).map_err(failed)?;
            let mut registered = transaction.open_table(REGISTERED).map_err(failed)?;
            registered.retain(|_, value| value.0 >= first_kept).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        for entry in std::fs::read_dir(&self.store.keys).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let day = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .and_then(|stem| stem.parse::<u32>().ok());
            if day.is_some_and(|day| day < first_kept) {
                std::fs::remove_file(&path).map_err(failed)?;
            }
        }
        Ok(())
    }
}

impl Store {
    fn run(&self, mut queue: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(BATCH);
        while let Some(first) = queue.blocking_recv() {
            jobs.push(first);
            while jobs.len() < BATCH
                && let Ok(job) = queue.try_recv()
            {
                jobs.push(job);
            }
            let outcome = self.write(&jobs);
            if let Err(error) = &outcome {
                tracing::error!(%error, "scan records were not written");
            }
            let mut outcome = outcome.map(Vec::into_iter);
            for job in jobs.drain(..) {
                if let Job::Registration(_, answer) = job {
                    let one = match &mut outcome {
                        Ok(answers) => answers.next().expect("one answer for each registration of the batch"),
                        Err(error) => Err(error.clone()),
                    };
                    // A caller that went away needs no answer.
                    let _ = answer.send(one);
                }
            }
        }
    }

    /// Writes a batch in one transaction; answers each registration, in order. An earlier record that does not open
    /// fails only who asks for it.
    fn write(&self, jobs: &[Job]) -> Result<Vec<Result<Registered, RecordsError>>, RecordsError> {
        let transaction = self.database.begin_write().map_err(failed)?;
        let mut answers = Vec::new();
        {
            let mut scans = transaction.open_table(SCANS).map_err(failed)?;
            let mut registered = transaction.open_table(REGISTERED).map_err(failed)?;
            let mut chunks = Chunks::default();
            for job in jobs {
                match job {
                    Job::Scan(record) => chunks.push(record)?,
                    Job::Registration(Registration { record, shown }, _) => {
                        let name = (!record.scan_id.is_empty()).then(|| scan_name(&record.device, &record.scan_id));
                        let before = name.and_then(|name| self.before(&registered, name, shown).transpose());
                        if let Some(before) = before {
                            answers.push(before);
                            continue;
                        }
                        let record = ScanRecord {
                            shown: self.key(day_of(record)?)?.digest(shown),
                            ..record.clone()
                        };
                        if let Some(name) = name {
                            let (day, sealed) = self.seal(&record)?;
                            registered.insert(name, (day, sealed.as_slice())).map_err(failed)?;
                        }
                        answers.push(Ok(Registered::Now));
                        chunks.push(&record)?;
                    }
                }
            }
            for (day, chunk) in chunks.0 {
                let sealed = self.key(day)?.seal(CHUNK_CONTEXT, self.entropy.array(), &chunk);
                let place = first_free(&scans, day)?;
                scans.insert((day, place), sealed.as_slice()).map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)?;
        Ok(answers)
    }

    /// What stands under the name of a scan.
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
        let record = self.unseal(day, sealed)?;
        let same = record.shown == self.key(day)?.digest(shown);
        Ok(Some(if same {
            Registered::Before(record)
        } else {
            Registered::ForAnother
        }))
    }

    fn seal(&self, record: &ScanRecord) -> Result<(u32, Vec<u8>), RecordsError> {
        let day = day_of(record)?;
        let sealed = self.key(day)?.seal(CONTEXT, self.entropy.array(), &record.to_bytes());
        Ok((day, sealed))
    }

    fn unseal(&self, day: u32, sealed: &[u8]) -> Result<ScanRecord, RecordsError> {
        let opened = self.key(day)?.open(CONTEXT, sealed).map_err(failed)?;
        ScanRecord::from_bytes(&opened).ok_or_else(|| RecordsError("a record of another form".into()))
    }

    fn key(&self, day: u32) -> Result<HolderKey, RecordsError> {
        let mut open = self.open.lock();
        if let Some((_, key)) = open.as_ref().filter(|(of, _)| *of == day) {
            return Ok(key.clone());
        }
        let path = self.keys.join(format!("{day}.key"));
        if !path.exists() {
            let fresh: Zeroizing<[u8; 32]> = Zeroizing::new(self.entropy.array());
            // Whole or absent: a crash here leaves a day without a key, never one with half a key.
            files::write_atomic(&path, fresh.as_slice(), files::PRIVATE_FILE_MODE).map_err(failed)?;
        }
        let bytes = files::read_private(&path).map_err(failed)?;
        let key = HolderKey::new(bytes.as_slice().try_into().map_err(failed)?);
        *open = Some((day, key.clone()));
        Ok(key)
    }
}

/// The records of a transaction, by day: sealed and inserted as one, they cost the disk and the cipher little each.
#[derive(Default)]
struct Chunks(BTreeMap<u32, Vec<u8>>);

impl Chunks {
    fn push(&mut self, record: &ScanRecord) -> Result<(), RecordsError> {
        let chunk = self.0.entry(day_of(record)?).or_default();
        let start = chunk.len();
        chunk.extend_from_slice(&[0; 4]);
        record.write(chunk);
        let length = u32::try_from(chunk.len() - start - 4).map_err(failed)?;
        chunk[start..start + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }
}

impl ScanRecord {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(192);
        self.write(&mut bytes);
        bytes
    }

    /// `at:i64 partition:u16 sequence:u64 age:u64 shown:32`, then each text as `length:u16 bytes`; big-endian.
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.at.to_be_bytes());
        bytes.extend_from_slice(&self.position.0.to_be_bytes());
        bytes.extend_from_slice(&self.position.1.to_be_bytes());
        bytes.extend_from_slice(&self.age_ms.to_be_bytes());
        bytes.extend_from_slice(&self.shown);
        for text in [&self.place, &self.device, &self.scan_id, &self.code_id, &self.reason] {
            let text = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
            bytes.extend_from_slice(&u16::try_from(text.len()).expect("cut to 65,535").to_be_bytes());
            bytes.extend_from_slice(text);
        }
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (at, rest) = bytes.split_first_chunk()?;
        let (partition, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (age_ms, rest) = rest.split_first_chunk()?;
        let (shown, mut rest) = rest.split_first_chunk()?;
        let mut texts = [const { String::new() }; 5];
        for text in &mut texts {
            let (length, after) = rest.split_first_chunk()?;
            let (found, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            *text = String::from_utf8(found.to_vec()).ok()?;
            rest = after;
        }
        let [place, device, scan_id, code_id, reason] = texts;
        let position = (u16::from_be_bytes(*partition), u64::from_be_bytes(*sequence));
        rest.is_empty().then_some(Self {
            at: i64::from_be_bytes(*at),
            place,
            device,
            scan_id,
            code_id,
            reason,
            position,
            age_ms: u64::from_be_bytes(*age_ms),
            shown: *shown,
        })
    }
}

/// Days since 1970 in UTC.
fn day_of(record: &ScanRecord) -> Result<u32, RecordsError> {
    u32::try_from(record.at.div_euclid(DAY_SECONDS)).map_err(failed)
}

fn first_free(scans: &impl ReadableTable<(u32, u64), &'static [u8]>, day: u32) -> Result<u64, RecordsError> {
    let last = scans.range((day, 0)..=(day, u64::MAX)).map_err(failed)?.next_back();
    let last = last.transpose().map_err(failed)?;
    Ok(last.map_or(1, |(key, _)| key.value().1 + 1))
}

/// The name of a scan: device and scan id, hashed, so that neither stands in the clear.
fn scan_name(device: &str, scan_id: &str) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("citycode scan name v1");
    hasher.update(&(device.len() as u64).to_be_bytes());
    hasher.update(device.as_bytes());
    hasher.update(scan_id.as_bytes());
    hasher.finalize().as_bytes()[..16].try_into().expect("16 of 32 bytes")
}

fn failed(error: impl std::fmt::Display) -> RecordsError {
    RecordsError(error.to_string())
}
