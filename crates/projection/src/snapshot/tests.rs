//! Tests of the file format: golden bytes, and every kind of invalid file.

use citycode_domain::event::{
    CodeIssued, CodeRef, EligibilityGround, Event, IndexBlockLeased, Sealed, Slot, StandingChanged,
};
use citycode_domain::ids::{ClaimsDigest, CodeId, CodeKind, HolderId, KeyId, ListFacts, ListId, Position, StatusRef};
use citycode_domain::standing::Standing;
use citycode_domain::status::{Life, Status};
use citycode_domain::time::Timestamp;
use citycode_log_position::{BucketTail, CommitHash, Revision};
use proptest::prelude::*;

use super::*;
use crate::commit::Commit;
use crate::foreign::{ForeignMessage, Witness, witness};
use crate::register::HolderRegister;
use crate::status::PartitionPoint;
use crate::status::{self, FingerprintKey, StatusWriter};

const IDENTITY: LogIdentity = LogIdentity {
    log_id: *b"0123456789abcdef",
    partitions: 2,
    buckets_per_partition: 65_536,
    hash_version: 1,
};
const EXPIRY: Timestamp = Timestamp(1_790_000_000);

/// Bytes of the header for a log of two partitions.
const HEADER_BYTES: usize = 36 + 2 * 16;

fn code() -> CodeRef {
    let kind = CodeKind::new(4).expect("4 is a kind");
    CodeRef {
        slot: Slot { kind, guardian: None },
        code_id: CodeId([6; 8]),
        status: StatusRef {
            list: ListId::new(1, kind, EXPIRY, 0).expect("the expiry fits"),
            index: 5_000,
        },
    }
}

fn events() -> [Event; 2] {
    let issued = CodeIssued {
        code: code(),
        issued_at: Timestamp(1_780_000_000),
        expires_at: EXPIRY,
        supersedes: None,
        standing: Standing::Green,
        ground: EligibilityGround::Everyone,
        acting_guardian: None,
        key_id: KeyId([1; 4]),
        claims_digest: ClaimsDigest([8; 32]),
        sealed_token: Sealed::default(),
    };
    let changed = StandingChanged {
        standing: Standing::Yellow,
        codes: vec![code()],
        reason: Sealed::default(),
    };
    [Event::CodeIssued(issued), Event::StandingChanged(changed)]
}

fn projections() -> (StatusWriter, HolderRegister) {
    let (mut status, _) = status::new(2, FingerprintKey(*b"a key of its own"));
    let register = HolderRegister::new(2);
    let events = events();
    let commit = Commit {
        position: Position::new(1, 1),
        decided_at: Timestamp(1_780_000_000),
        holder: Some(HolderId([2; 16])),
        bucket: 258,
        tail: BucketTail {
            revision: Revision::from_raw(1),
            hash: CommitHash([3; 32]),
        },
        message_id_prefix: 4,
        events: &events,
    };
    assert_eq!(status.apply(&commit), Ok(Vec::new()));
    assert_eq!(register.apply(&commit), Ok(()));
    (status, register)
}

fn files() -> (Vec<u8>, Vec<u8>) {
    let (status, register) = projections();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    status
        .save(&IDENTITY, &mut first)
        .expect("writing to memory cannot fail");
    register
        .save(&IDENTITY, &mut second)
        .expect("writing to memory cannot fail");
    (first, second)
}

fn load_either(identity: &LogIdentity, kind: usize, bytes: &[u8]) -> Result<(), LoadError> {
    if kind == 0 {
        status::load(identity, bytes).map(drop)
    } else {
        HolderRegister::load(identity, bytes).map(drop)
    }
}

/// A file without the additions of format 3, marked as of an older format.
fn older(file: &[u8], format: u8) -> Vec<u8> {
    let added = file.windows(4).rposition(|bytes| bytes == b"ends");
    let added = added.or_else(|| file.windows(4).rposition(|bytes| bytes == b"frgn"));
    let end = file.len() - 36;
    let mut older = [&file[..added.expect("format 3 has it")], &file[end..]].concat();
    older[8] = format;
    let body = older.len() - 32;
    let checksum = blake3::hash(&older[..body]);
    older[body..].copy_from_slice(checksum.as_bytes());
    older
}

/// The same projections as format 1 wrote them: the status without the facts of version 2 lists.
fn files_of_format_1() -> (Vec<u8>, Vec<u8>) {
    let (status, register) = files();
    let names = status.windows(8).position(|bytes| bytes == b"name\0\0\0\0");
    let names = names.expect("it contains no version 2 list");
    let status = [&status[..names], &status[names + 8..]].concat();
    (older(&status, 1), older(&register, 1))
}

#[test]
fn files_of_older_formats_are_read_and_saved_as_format_3() {
    let (status, register) = files();
    let of_format_2 = (older(&status, 2), older(&register, 2));
    for (old_status, old_register) in [files_of_format_1(), of_format_2] {
        let (writer, reader) = status::load(&IDENTITY, &old_status[..]).expect("it is read");
        assert_eq!(reader.lookup(code().status, &ClaimsDigest([8; 32])).sequence, 1);
        assert_eq!(
            writer.ends_with(1, 258, &[3; 32]),
            None,
            "the tails of buckets are not known"
        );
        for file in [&old_status, &old_register] {
            let seen = witness(&IDENTITY, std::io::Cursor::new(file), 1, 1);
            assert_eq!(seen.expect("it is read"), Witness::Unknown);
        }
        let mut again = Vec::new();
        writer
            .save(&IDENTITY, &mut again)
            .expect("writing to memory cannot fail");
        assert_eq!(older(&again, 3), older(&status, 3));
        let loaded = HolderRegister::load(&IDENTITY, &old_register[..]).expect("it is read");
        let mut again = Vec::new();
        loaded
            .save(&IDENTITY, &mut again)
            .expect("writing to memory cannot fail");
        assert_eq!(again, register);
    }
}

/// These bytes are never edited: files of this format exist on disks.
#[test]
fn golden_bytes_of_format_3_foreign_messages_and_bucket_tails() {
    let (status, register) = files();
    let (mut writer, _) = status::load(&IDENTITY, &status[..]).expect("it is read");
    let loaded = HolderRegister::load(&IDENTITY, &register[..]).expect("it is read");
    let message = ForeignMessage {
        bucket: 0x0102,
        digest: [9; 32],
        declared: false,
    };
    let next = |point: Option<PartitionPoint>| Position::new(1, point.map_or(0, |point| point.sequence) + 1);
    let (in_status, in_register) = (next(writer.point(1)), next(loaded.point(1)));
    writer.apply_foreign(in_status, message).expect("it is the next");
    loaded.apply_foreign(in_register, message).expect("it is the next");
    let (mut status, mut register) = (Vec::new(), Vec::new());
    writer
        .save(&IDENTITY, &mut status)
        .expect("writing to memory cannot fail");
    loaded
        .save(&IDENTITY, &mut register)
        .expect("writing to memory cannot fail");
    for (file, at) in [(&status, in_status), (&register, in_register)] {
        let mut golden = b"frgn\0\0\0\0\x01\0\0\0".to_vec();
        golden.push(u8::try_from(at.sequence.0).expect("few"));
        golden.extend_from_slice(b"\0\0\0\0\0\0\0\x02\x01\0");
        golden.extend_from_slice(&[9; 32]);
        assert!(file.windows(golden.len()).any(|bytes| bytes == golden));
        let seen = |sequence| witness(&IDENTITY, std::io::Cursor::new(file), 1, sequence);
        assert_eq!(seen(at.sequence.0).expect("it is read"), Witness::Foreign(message));
        assert_eq!(seen(at.sequence.0 - 1).expect("it is read"), Witness::Commit);
        assert_eq!(seen(at.sequence.0 + 1).expect("it is read"), Witness::NotReached);
    }
    let (writer, _) = status::load(&IDENTITY, &status[..]).expect("it is read");
    let foreign = writer.foreign(1).expect("a partition");
    assert_eq!(
        (foreign.confining(0x0102), foreign.undeclared()),
        (Some(in_status.sequence.0), 1)
    );
}

/// These bytes are never edited: files of this format exist on disks.
#[test]
fn golden_bytes_of_format_4_trees_of_the_log() {
    let (without, register) = files();
    let (writer, _) = status::load(&IDENTITY, &without[..]).expect("it is read");
    let trees = [vec![7; 16], vec![9; 48]];
    let mut with = Vec::new();
    writer
        .save_with_trees(&IDENTITY, Some(&trees), &mut with)
        .expect("writing to memory cannot fail");
    let golden = [&b"tree\x10\0"[..], &[7; 16], b"\x30\0", &[9; 48], b"end."].concat();
    let body = with.len() - 32;
    assert_eq!(with[body - golden.len()..body], golden);
    assert_eq!((&with[8..10], &without[8..10]), (&b"\x04\0"[..], &b"\x03\0"[..]));
    assert_eq!(
        with[10..body - golden.len()],
        without[10..without.len() - 36],
        "everything else is as in format 3"
    );
    let (_, read) = status::load_with_trees(&IDENTITY, &with[..]).expect("it is read");
    assert_eq!(read, Some(trees.to_vec()));
    let (_, none) = status::load_with_trees(&IDENTITY, &without[..]).expect("it is read");
    assert_eq!(none, None);
    let mut of_register = register;
    of_register[8] = 4;
    assert!(matches!(
        HolderRegister::load(&IDENTITY, &of_register[..]),
        Err(LoadError::NewerFormat { found: 4 })
    ));
    for end in body - golden.len()..with.len() {
        assert!(status::load(&IDENTITY, &with[..end]).is_err(), "cut at {end}");
    }
}

/// Written by format 2. These bytes are never edited: files of this format exist on disks.
#[test]
fn golden_bytes_of_format_2_facts_of_lists() {
    let facts = ListFacts {
        partition: 1,
        kind: CodeKind::new(4).expect("4 is a kind"),
        retires_at: Timestamp(1_791_072_000),
    };
    let list = ListId(0x5a0c_3e91);
    let lease = Event::IndexBlockLeased(IndexBlockLeased {
        list,
        facts,
        counter: Some(7),
        first_index: 0,
        count: 4_096,
    });
    let (mut status, _) = projections();
    let commit = Commit {
        position: Position::new(1, 2),
        decided_at: Timestamp(1_780_000_001),
        holder: None,
        bucket: 1,
        tail: BucketTail {
            revision: Revision::from_raw(2),
            hash: CommitHash([4; 32]),
        },
        message_id_prefix: 5,
        events: &[lease],
    };
    assert_eq!(status.apply(&commit), Ok(Vec::new()));
    let mut saved = Vec::new();
    status
        .save(&IDENTITY, &mut saved)
        .expect("writing to memory cannot fail");
    assert_eq!(&saved[8..10], b"\x03\x00", "the section is as in format 2");
    let golden = b"name\x01\0\0\0\x91\x3e\x0c\x5a\x01\x00\x04\x00\x97\xc1\x6a\0\0\0\0list";
    assert!(saved.windows(golden.len()).any(|bytes| bytes == golden));
    let (_, reader) = status::load(&IDENTITY, &saved[..]).expect("it was just saved");
    assert_eq!(reader.facts(list), Some(facts));
    assert_eq!(
        reader
            .lookup(StatusRef { list, index: 0 }, &ClaimsDigest([8; 32]))
            .partition,
        Some(1)
    );
}

/// Written by format 1. These bytes are never edited: files of this format exist on disks.
#[test]
fn golden_bytes_of_format_1_header() {
    let mut golden = Vec::new();
    golden.extend_from_slice(b"CCSNAP\r\n\x01\x00\x01\x000123456789abcdef\x02\x00\x01\x00\x00\x00\x01\x00");
    golden.extend_from_slice(&[0; 16]);
    golden.extend_from_slice(b"\x01\0\0\0\0\0\0\0\x00\xa5\x18\x6a\0\0\0\0");
    let (status, register) = files_of_format_1();
    assert_eq!(status[..HEADER_BYTES], golden);
    golden[10] = 2;
    assert_eq!(register[..HEADER_BYTES], golden);
    assert_eq!(&status[HEADER_BYTES..HEADER_BYTES + 20], b"key.a key of its own");
}

/// The whole register of one holder, byte for byte, up to the checksum.
#[test]
fn golden_bytes_of_format_1_holder() {
    let (_, register) = files_of_format_1();
    let mut golden = Vec::new();
    golden.extend_from_slice(b"tail\0\0\0\0\x01\0\0\0\x02\x01\x01\0\0\0\0\0\0\0");
    golden.extend_from_slice(&[3; 32]);
    golden.extend_from_slice(b"hold\x35\0\0\0\x24");
    golden.extend_from_slice(&[2; 16]);
    // Flags: yellow, one command; no guardian; decided at 1,780,000,000; command 4; one slot: kind 4.
    golden.extend_from_slice(b"\x14\0\x00\xa5\x18\x6a\x04\0\0\0\x01\x04");
    golden.extend_from_slice(&[6; 8]);
    golden.extend_from_slice(&code().status.list.0.to_le_bytes());
    // Index 5,000; time of issue; 10,000,000 s are not whole days, so the long form; sequence 1.
    golden.extend_from_slice(b"\x88\x27\x00\xa5\x18\x6a\x01\x80\xda\xc4\x09\x02");
    golden.extend_from_slice(b"\0\0\0\0end.");
    let body = &register[HEADER_BYTES..register.len() - 32];
    assert_eq!(body, golden);
    let checksum = blake3::hash(&register[..register.len() - 32]);
    assert_eq!(register[register.len() - 32..], *checksum.as_bytes());
}

#[test]
fn a_file_round_trips_and_is_saved_identically_again() {
    let (first, second) = files();
    let (writer, reader) = status::load(&IDENTITY, &first[..]).expect("it was just saved");
    let answer = reader.lookup(code().status, &ClaimsDigest([8; 32]));
    let yellow = Status::Issued {
        life: Life::Valid,
        standing: Standing::Yellow,
    };
    assert_eq!((answer.status, answer.sequence), (yellow, 1));
    assert_eq!(answer.reaches, Timestamp(1_780_000_000));
    assert_eq!(reader.standing_of(HolderId([2; 16])), Standing::Yellow);
    let register = HolderRegister::load(&IDENTITY, &second[..]).expect("it was just saved");
    let known = register.get(HolderId([2; 16])).expect("the holder was saved");
    assert_eq!(Some(known), projections().1.get(HolderId([2; 16])));
    assert_eq!(
        register.tail(1, 258).map(|tail| tail.revision),
        Some(Revision::from_raw(1))
    );
    let (mut again, mut register_again) = (Vec::new(), Vec::new());
    writer
        .save(&IDENTITY, &mut again)
        .expect("writing to memory cannot fail");
    register
        .save(&IDENTITY, &mut register_again)
        .expect("writing to memory cannot fail");
    assert_eq!((again, register_again), (first, second));
}

#[test]
fn a_file_of_another_log_layout_projection_or_version_has_its_own_error() {
    let (first, second) = files();
    for (kind, file) in [first.as_slice(), second.as_slice()].into_iter().enumerate() {
        let with = |at: usize, byte: u8| {
            let mut file = file.to_vec();
            file[at] = byte;
            load_either(&IDENTITY, kind, &file)
        };
        assert!(matches!(with(0, b'X'), Err(LoadError::NotASnapshot)));
        assert!(matches!(with(8, 5), Err(LoadError::NewerFormat { found: 5 })));
        let other = LogIdentity {
            log_id: [0; 16],
            ..IDENTITY
        };
        assert!(matches!(load_either(&other, kind, file), Err(LoadError::OtherLog)));
        for other in [
            LogIdentity {
                partitions: 3,
                ..IDENTITY
            },
            LogIdentity {
                buckets_per_partition: 8,
                ..IDENTITY
            },
            LogIdentity {
                hash_version: 2,
                ..IDENTITY
            },
        ] {
            assert!(matches!(load_either(&other, kind, file), Err(LoadError::OtherLayout)));
        }
        let crossed = load_either(&IDENTITY, 1 - kind, file);
        assert!(matches!(crossed, Err(LoadError::OtherProjection)));
        let longer = [file, b"x"].concat();
        assert!(matches!(
            load_either(&IDENTITY, kind, &longer),
            Err(LoadError::Damaged(_))
        ));
        assert!(matches!(
            load_either(&IDENTITY, kind, b""),
            Err(LoadError::NotASnapshot)
        ));
    }
    let (status, register) = projections();
    let narrow = LogIdentity {
        partitions: 1,
        ..IDENTITY
    };
    let refused = Err::<(), _>(status.save(&narrow, Vec::new()));
    assert!(matches!(refused, Err(Err(SaveError::OtherLayout { .. }))));
    assert!(register.save(&narrow, Vec::new()).is_err());
}

/// Every truncation and every flipped byte is refused, each with a specific error.
#[test]
fn truncation_or_a_flipped_byte_anywhere_is_refused() {
    let (first, second) = files();
    for (kind, file) in [first.as_slice(), second.as_slice()].into_iter().enumerate() {
        let step = 1 + file.len() / 997;
        for at in (0..file.len()).step_by(step) {
            let cut = load_either(&IDENTITY, kind, &file[..at]);
            let expected = if at < 8 {
                matches!(cut, Err(LoadError::NotASnapshot))
            } else {
                matches!(cut, Err(LoadError::Truncated))
            };
            assert!(expected, "cut at {at}: {cut:?}");
            let mut turned = file.to_vec();
            turned[at] ^= 0x10;
            assert!(load_either(&IDENTITY, kind, &turned).is_err(), "turned at {at}");
        }
    }
    let mut turned = second.clone();
    let last = turned.len() - 1;
    turned[last] ^= 1;
    let refused = load_either(&IDENTITY, 1, &turned);
    assert!(matches!(refused, Err(LoadError::ChecksumMismatch)));
}

/// A file with a valid checksum and lengths beyond its end must not be trusted.
#[test]
fn lengths_beyond_the_end_allocate_no_memory() {
    let (first, second) = files();
    let lists = HEADER_BYTES + 20 + 20 + 4;
    let mut promised = first[..lists].to_vec();
    promised.extend_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        load_either(&IDENTITY, 0, &promised),
        Err(LoadError::Truncated)
    ));
    let chunk = second
        .windows(4)
        .position(|tag| tag == b"hold")
        .expect("the section is there")
        + 4;
    let promise = |len: u32| {
        let mut promised = second[..chunk].to_vec();
        promised.extend_from_slice(&len.to_le_bytes());
        load_either(&IDENTITY, 1, &promised)
    };
    assert!(matches!(promise(1 << 26), Err(LoadError::Truncated)));
    for too_long in [(1 << 26) + 1, u32::MAX] {
        assert!(matches!(promise(too_long), Err(LoadError::Damaged(_))));
    }
}

proptest! {
    #[test]
    fn hostile_bytes_after_a_good_header_are_refused_without_panic(
        kind in 0..2usize,
        keep in 0..200usize,
        tail in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let (first, second) = files();
        let file = if kind == 0 { first } else { second };
        let mut bytes = file[..(HEADER_BYTES + keep).min(file.len())].to_vec();
        bytes.extend_from_slice(&tail);
        // Only the whole file with nothing after it is valid.
        prop_assert_eq!(load_either(&IDENTITY, kind, &bytes).is_err(), bytes != file);
    }
}

#[test]
fn points_are_read_and_a_file_is_checked_without_loading_it() {
    let (writer, register) = projections();
    let (mut of_status, mut of_register) = (Vec::new(), Vec::new());
    writer.save(&IDENTITY, &mut of_status).unwrap();
    register.save(&IDENTITY, &mut of_register).unwrap();
    for (kind, bytes) in [
        (ProjectionKind::Status, of_status),
        (ProjectionKind::Register, of_register),
    ] {
        let sequences = |points: Vec<crate::status::PartitionPoint>| -> Vec<u64> {
            points.iter().map(|point| point.sequence).collect()
        };
        let checked = |bytes: &[u8]| check(kind, &IDENTITY, io::Cursor::new(bytes.to_vec())).map(sequences);
        assert_eq!(
            points(kind, &IDENTITY, &bytes[..HEADER_BYTES]).map(sequences).unwrap(),
            [0, 1]
        );
        assert_eq!(checked(&bytes).unwrap(), [0, 1]);
        for at in [HEADER_BYTES - 1, HEADER_BYTES + 5, bytes.len() - 33, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(
                matches!(checked(&changed), Err(LoadError::ChecksumMismatch)),
                "byte {at}"
            );
        }
        assert!(checked(&bytes[..bytes.len() - 1]).is_err());
    }
}

#[test]
fn the_log_of_a_file_is_read_from_its_header() {
    let (status, register) = files();
    for file in [status, register] {
        assert_eq!(log_of(&file[..]), Some(IDENTITY.log_id));
        assert_eq!(log_of(&file[..28]), Some(IDENTITY.log_id));
        assert_eq!(log_of(&file[..27]), None);
    }
}

/// A source whose every second read fails, and whose reads return a few bytes.
struct FailingSource<'a> {
    bytes: io::Cursor<&'a [u8]>,
    error: io::ErrorKind,
    fails: bool,
    /// The number of seeks before which no read fails.
    seeks: usize,
    /// The number of reads that fail.
    failures: usize,
}

impl io::Read for FailingSource<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fails = !self.fails;
        if self.fails && self.seeks == 0 && self.failures > 0 {
            self.failures -= 1;
            return Err(self.error.into());
        }
        let few = buffer.len().min(1_000);
        self.bytes.read(&mut buffer[..few])
    }
}

impl io::Seek for FailingSource<'_> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.seeks = self.seeks.saturating_sub(1);
        self.bytes.seek(to)
    }
}

#[test]
fn an_interrupted_read_is_repeated_and_any_other_error_ends_the_load() {
    let (status, _) = files();
    let source = |error| FailingSource {
        bytes: io::Cursor::new(&status),
        error,
        fails: false,
        seeks: 0,
        failures: usize::MAX,
    };
    let interrupted = || source(io::ErrorKind::Interrupted);
    assert!(status::load(&IDENTITY, interrupted()).is_ok());
    assert!(check(ProjectionKind::Status, &IDENTITY, interrupted()).is_ok());
    let broken = || FailingSource {
        failures: 1,
        ..source(io::ErrorKind::TimedOut)
    };
    let timed_out =
        |error: &LoadError| matches!(error, LoadError::Io(error) if error.kind() == io::ErrorKind::TimedOut);
    assert!(status::load(&IDENTITY, broken()).is_err_and(|error| timed_out(&error)));
    // A check seeks to the header, to the end, and to the start of what is hashed.
    let breaks_later = FailingSource { seeks: 3, ..broken() };
    let checked = check(ProjectionKind::Status, &IDENTITY, breaks_later);
    assert!(checked.is_err_and(|error| timed_out(&error)));
}

/// Records the length of each write.
#[derive(Default)]
struct Pieces(Vec<usize>);

impl io::Write for &mut Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_is_written_in_full_buffers() {
    const BUFFER: usize = 256 * 1024;
    let mut pieces = Pieces::default();
    let mut out = Output::new(&mut pieces);
    for _ in 0..3 * BUFFER / 1_024 {
        out.put(&[7; 1_024]).expect("it takes everything");
    }
    out.finish().expect("it takes everything");
    // The last two pieces are the end and the checksum.
    assert_eq!(pieces.0, [BUFFER, BUFFER, BUFFER, 4, 32]);
}
