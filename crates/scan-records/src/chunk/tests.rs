use citycode_domain::admission::Reason;

use super::*;

const DAY: u32 = 19_235;

fn basis() -> Basis {
    Basis {
        policy: PolicyDigest([0x50; 32]),
        shown: ShownEvidence::Code {
            claims: [0xC1; 16],
            proof: ProofState::Fresh,
            id_check: IdCheck::Match,
        },
        keys_sequence: 40,
        keys_age_ms: 211,
        code_age_ms: 143,
        confined: false,
        unwitnessed: false,
        clock_trusted: true,
        not_in_log: None,
    }
}

fn note() -> ScanNote<&'static str> {
    ScanNote {
        at: i64::from(DAY) * DAY_SECONDS + 8 * 3_600,
        place: "metro_gate",
        device: "gate-0417",
        scan_id: "482913",
        code_id: Some(CodeId([0xAB; 8])),
        reason: Reason::Ok,
        position: Position::new(3, 1_250_000),
        age_ms: 211,
        basis: Some(basis()),
    }
}

fn read_back(notes: &[ScanNote<&str>]) -> Vec<ScanNote<Arc<str>>> {
    let mut chunk = Chunk::default();
    for note in notes {
        chunk.push(note, None);
    }
    let records = read_chunk(DAY, chunk.bytes()).expect("reads");
    records.into_iter().map(|record| record.scan).collect()
}

fn owned(notes: &[ScanNote<&str>]) -> Vec<ScanNote<Arc<str>>> {
    notes.iter().map(|note| note.into_owned()).collect()
}

#[test]
fn every_combination_of_evidence_reads_back() {
    let mut notes = Vec::new();
    for proof in PROOFS {
        for id_check in ID_CHECKS {
            notes.push(ShownEvidence::Code {
                claims: [proof as u8; 16],
                proof,
                id_check,
            });
        }
    }
    notes.extend(Standing::ALL.map(|standing| ShownEvidence::Card { standing }));
    notes.push(ShownEvidence::Unread);
    let reaches = [
        None,
        Some(None),
        Some(Some(NOTHING)),
        Some(Some(Timestamp(0))),
        Some(Some(Timestamp(i64::MAX))),
    ];
    let notes: Vec<_> = notes
        .into_iter()
        .flat_map(|shown| reaches.map(|reaches| (shown, reaches)))
        .enumerate()
        .map(|(number, (shown, reaches))| {
            let basis = Basis {
                shown,
                not_in_log: reaches.map(|reaches| NotInLog {
                    kind: CodeKind::new(4).expect("a kind"),
                    issued_at: Timestamp(note().at - 5),
                    expires_at: Timestamp([i64::MAX, 0, note().at][number % 3]),
                    place: StatusRef {
                        list: ListId(0x5a0c_3e91),
                        index: u32::MAX,
                    },
                    reaches,
                }),
                confined: number % 2 == 0,
                unwitnessed: number % 5 == 0,
                clock_trusted: number % 3 == 0,
                keys_sequence: [0, u64::MAX, 7][number % 3],
                code_age_ms: [0, u64::MAX, 500][number % 3],
                ..basis()
            };
            ScanNote {
                at: note().at + (number as i64 % 5) - 2,
                code_id: matches!(shown, ShownEvidence::Code { .. }).then_some(CodeId([7; 8])),
                device: ["gate-1", "gate-2", "gate-3"][number % 3],
                age_ms: basis.age_ms(),
                basis: Some(basis),
                ..note()
            }
        })
        .collect();
    assert_eq!(read_back(&notes), owned(&notes));
}

#[test]
fn every_reason_and_the_longest_texts_and_numbers_read_back_with_and_without_a_basis() {
    let long = "长".repeat(2_000);
    for reason in Reason::ALL {
        for basis in [None, note().basis] {
            let note = ScanNote {
                scan_id: long.as_str(),
                reason,
                position: Position::new(u16::MAX, u64::MAX),
                basis,
                ..note()
            };
            assert_eq!(read_back(&[note, note]), owned(&[note, note]));
        }
    }
}

#[test]
fn an_ordinary_record_has_near_fifty_bytes() {
    let mut chunk = Chunk::default();
    for number in 0..1_000u64 {
        let devices = ["gate-0417", "gate-0418", "gate-0419"];
        let note = ScanNote {
            at: note().at + number.cast_signed() / 300,
            device: devices[number as usize % 3],
            position: Position::new((number % 16) as u16, 1_250_000 + number),
            ..note()
        };
        chunk.push(&note, None);
    }
    let each = chunk.bytes().len() as f64 / 1_000.0;
    assert!((40.0..52.0).contains(&each), "{each} bytes");
}

#[test]
fn a_single_record_keeps_its_basis_and_programs_of_version_1_refuse_it() {
    let mut with_basis = Vec::new();
    note().write_dated(Some(&[5; 32]), &mut with_basis).expect("writes");
    let record = ScanRecord::read_dated(&with_basis).expect("reads");
    assert_eq!((record.scan, record.shown), (note().into_owned(), Some([5; 32])));
    let mut single = Vec::new();
    note().write(None, &mut single);
    assert!(ScanRecord::read_version_1(DAY, &single).is_none());
}

#[test]
fn a_chunk_of_version_1_is_read() {
    let old = ScanNote { basis: None, ..note() };
    let mut chunk = Vec::new();
    for shown in [None, Some([9; 32])] {
        let mut record = Vec::new();
        old.write(shown.as_ref(), &mut record);
        write_text(&record, &mut chunk);
    }
    let records = read_chunk(DAY, &chunk).expect("reads");
    let shown: Vec<_> = records.iter().map(|record| record.shown).collect();
    assert_eq!(shown, [None, Some([9; 32])]);
    assert_eq!(records[1].scan, old.into_owned());
}

#[test]
fn damaged_chunks_are_refused_or_read_differently_but_never_panic() {
    let mut chunk = Chunk::default();
    chunk.push(&note(), Some(&[5; 32]));
    chunk.push(
        &ScanNote {
            code_id: None,
            ..note()
        },
        None,
    );
    let bytes = chunk.bytes();
    let whole = read_chunk(DAY, bytes).expect("reads");
    assert_eq!(whole.len(), 2);
    for length in 0..bytes.len() {
        let cut = read_chunk(DAY, &bytes[..length]);
        assert!(cut.map_or(true, |records| records.len() < 2), "truncated to {length}");
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 0xFF;
        if let Ok(records) = read_chunk(DAY, &damaged) {
            assert_ne!(records, whole, "the byte at {at} has no meaning");
        }
    }
}
