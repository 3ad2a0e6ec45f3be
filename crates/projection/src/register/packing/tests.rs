//! Tests of the encoding's forms at their limits. Snapshot files contain these bytes.

use super::*;

/// A list of version 1, whose name says that it is of partition 1.
fn list_of_partition_1() -> ListId {
    let kind = CodeKind::new(4).expect("4 is a kind");
    ListId::new(1, kind, Timestamp(1_790_000_000), 0).expect("the expiry fits")
}

fn list_of_version_2() -> ListId {
    ListId::from_number(0x0A5_1234).expect("28 bits")
}

fn slot(list: ListId, partition: u16, sequence: u64) -> SlotState {
    SlotState {
        slot: Slot {
            kind: CodeKind::new(4).expect("4 is a kind"),
            guardian: None,
        },
        code: HeldCode {
            code_id: CodeId([6; 8]),
            status: StatusRef { list, index: 7 },
            issued_at: Timestamp(1_780_000_000),
            expires_at: Timestamp(1_780_000_000 + 30 * SECONDS_PER_DAY),
            issued_position: Position::new(partition, sequence),
            death: None,
        },
        held: false,
    }
}

fn packed(slot: &SlotState) -> Vec<u8> {
    let mut bytes = Vec::new();
    pack_slot(slot, &[], &mut bytes);
    bytes
}

/// Bytes of a slot before its position: head, code, list, index, time of issue, and a validity of 30 days.
const BEFORE_POSITION: usize = 1 + 8 + 4 + 1 + 4 + 1;

fn unpacked(bytes: &[u8]) -> Option<SlotState> {
    let mut bytes = Bytes(bytes);
    unpack_slot(&mut bytes, &[]).filter(|_| bytes.0.is_empty())
}

#[test]
fn a_position_has_its_short_form_wherever_it_fits() {
    let (old, new) = (list_of_partition_1(), list_of_version_2());
    let greatest = (1 << 63) - 1;
    // (2^63 - 1) << 1 as LEB128.
    let ten_bytes = [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
    let long = |partition: [u8; 2], sequence: u64| {
        let mut bytes = vec![1];
        bytes.extend_from_slice(&partition);
        bytes.extend_from_slice(&sequence.to_le_bytes());
        bytes
    };
    for (list, partition, sequence, expected) in [
        (old, 1, 5, vec![0x0A]),
        (old, 1, greatest, ten_bytes.to_vec()),
        (old, 1, 1 << 63, long([1, 0], 1 << 63)),
        (old, 2, 5, long([2, 0], 5)),
        (new, 0, 5, vec![0x0A, 0]),
        (new, 255, 5, vec![0x0A, 255]),
        (new, 256, 5, long([0, 1], 5)),
        (new, 255, greatest, [ten_bytes.as_slice(), &[255]].concat()),
        (new, 255, 1 << 63, long([255, 0], 1 << 63)),
    ] {
        let slot = slot(list, partition, sequence);
        let bytes = packed(&slot);
        assert_eq!(bytes[BEFORE_POSITION..], expected, "{list:?} {partition} {sequence}");
        assert_eq!(unpacked(&bytes), Some(slot));
    }
}

#[test]
fn an_unknown_form_of_a_position_or_validity_is_refused() {
    let bytes = packed(&slot(list_of_version_2(), 0, 5));
    assert_eq!(bytes[BEFORE_POSITION - 1..], [60, 0x0A, 0]);
    // Odd numbers are forms, and only 1 is a known one.
    for (at, odd) in [
        (BEFORE_POSITION - 1, 3),
        (BEFORE_POSITION - 1, 61),
        (BEFORE_POSITION, 3),
    ] {
        let mut changed = bytes.clone();
        changed[at] = odd;
        assert_eq!(unpacked(&changed), None, "byte {at} is {odd}");
    }
}

#[test]
fn every_end_of_a_code_is_kept() {
    let ends = [
        None,
        Some(Death::Superseded),
        Some(Death::ReportedLost),
        Some(Death::Revoked),
    ];
    for death in ends {
        for held in [false, true] {
            let mut slot = slot(list_of_version_2(), 0, 5);
            slot.code.death = death;
            slot.held = held;
            assert_eq!(unpacked(&packed(&slot)), Some(slot));
        }
    }
}

#[test]
fn a_varint_has_at_most_64_bits_in_at_most_10_bytes() {
    let read = |bytes: &[u8]| Bytes(bytes).varint();
    let ten = |last: u8| {
        let mut bytes = [0x80; 10];
        bytes[9] = last;
        bytes
    };
    for value in [0, 1, 0x7F, 0x80, 0x3FFF, 0x4000, u64::MAX >> 1, u64::MAX] {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, value);
        assert_eq!(read(&bytes), Some(value));
        assert_eq!(read(&bytes[..bytes.len() - 1]), None, "{value} cut short");
    }
    assert_eq!(read(&ten(0)), Some(0), "the shortest form is not required");
    assert_eq!(read(&ten(1)), Some(1 << 63));
    assert_eq!(read(&ten(2)), None, "65 bits");
    assert_eq!(read(&ten(0x80)), None, "eleven bytes");
}

#[test]
fn a_time_or_validity_is_kept_at_the_limits_of_its_forms() {
    let short = 4;
    let long = 4 + 8;
    for (seconds, len) in [
        (0, short),
        (i64::from(u32::MAX) - 1, short),
        (i64::from(u32::MAX), long),
        (-1, long),
        (i64::MIN, long),
    ] {
        let mut bytes = Vec::new();
        put_time(&mut bytes, Timestamp(seconds));
        assert_eq!(bytes.len(), len, "{seconds}");
        assert_eq!(Bytes(&bytes).time(), Some(Timestamp(seconds)));
    }
    for seconds in [
        0,
        1,
        -1,
        SECONDS_PER_DAY,
        -SECONDS_PER_DAY,
        SECONDS_PER_DAY * i64::from(u32::MAX),
        SECONDS_PER_DAY * (i64::from(u32::MAX) + 1),
        i64::MAX,
        i64::MIN,
    ] {
        let mut bytes = Vec::new();
        put_validity(&mut bytes, seconds);
        assert_eq!(Bytes(&bytes).validity(), Some(seconds), "{seconds}");
    }
}
