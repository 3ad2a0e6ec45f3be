//! Tests of lists: what is published, when they retire, and which indices of lost commits are revoked.

use super::*;

/// A code of partition 0 that expires this many windows after [`EXPIRY`].
fn code_of_window(windows: i64, index: u32) -> CodeRef {
    let kind = CodeKind::new(3).expect("3 is a kind");
    let expiry = EXPIRY.plus_seconds(windows * ListFacts::WINDOW_SECONDS);
    let list = ListId::new(0, kind, expiry, 0).expect("the expiry fits");
    CodeRef {
        status: StatusRef { list, index },
        ..code(index)
    }
}

fn range(list: ListId, first_index: u32, count: u32) -> Event {
    Event::IndexRangeRevoked(IndexRangeRevoked {
        list,
        first_index,
        count,
    })
}

fn saved(writer: &StatusWriter) -> Vec<u8> {
    let mut bytes = Vec::new();
    writer.save(&IDENTITY, &mut bytes).expect("memory takes everything");
    bytes
}

/// The two bits of an index in a published list.
fn bits_at(list: &[u8], index: u32) -> u8 {
    (list[index as usize / 4] >> (index % 4 * 2)) & 3
}

#[test]
fn r30_places_of_blocks_without_codes_are_published_as_invalid() {
    let (mut writer, reader) = projection();
    fold(&mut writer, &[issued(code(BLOCK_LEN * 5), None, Standing::Green)]);
    let list = reader.export_two_bit(list(0));
    assert_eq!(list.len(), BLOCK_LEN as usize * 6 / 4);
    let valid: Vec<u32> = (0..BLOCK_LEN * 6).filter(|index| bits_at(&list, *index) != 1).collect();
    assert_eq!(valid, [BLOCK_LEN * 5]);
    assert_eq!(bits_at(&list, BLOCK_LEN * 5), 0);
}

#[test]
fn r30_an_uncertain_code_is_published_as_suspended_unless_it_is_invalid() {
    let (mut writer, reader) = projection();
    let issues: Vec<_> = (0..8).map(|index| issued(code(index), None, Standing::Green)).collect();
    fold(&mut writer, &issues);
    let other = code_of_window(1, 7);
    fold(&mut writer, &[issued(other, None, Standing::Green)]);
    let revoked = Event::CodeRevoked(CodeRevoked {
        code: code(2),
        reason: Sealed::default(),
    });
    fold(&mut writer, &[revoked]);
    let held = Event::CodeSuspended(CodeSuspended {
        code: code(6),
        reason: Sealed::default(),
    });
    fold(&mut writer, &[held]);
    let past_the_end = StatusRef {
        list: list(0),
        index: BLOCK_LEN,
    };
    let uncertain = [
        code(1).status,
        code(2).status,
        code(5).status,
        code(6).status,
        other.status,
        past_the_end,
    ];
    writer.set_uncertain(uncertain.into());
    let published = reader.export_two_bit(list(0));
    let bits: Vec<u8> = (0..9).map(|index| bits_at(&published, index)).collect();
    assert_eq!(bits, [0, 2, 1, 0, 0, 2, 2, 0, 1]);
    assert_eq!(bits_at(&reader.export_two_bit(other.status.list), 7), 2);
    assert_eq!(published.len(), BLOCK_LEN as usize / 4);
    assert_eq!(status(&reader, 1), GREEN, "only published lists show it");
    writer.set_uncertain(HashSet::new());
    let published = reader.export_two_bit(list(0));
    assert_eq!([1, 2, 5, 6].map(|index| bits_at(&published, index)), [0, 1, 0, 2]);
}

#[test]
fn only_lists_whose_codes_have_expired_retire() {
    let (mut writer, reader) = projection();
    let (early, late) = (code(1), code_of_window(1, 2));
    fold(
        &mut writer,
        &[
            issued(early, None, Standing::Green),
            issued(late, None, Standing::Green),
        ],
    );
    assert_eq!(reader.allocated_places(), 2 * u64::from(BLOCK_LEN));
    assert_eq!(writer.retire(retirement(early.status.list)), [early.status.list]);
    assert!(reader.is_retired(early.status.list) && !reader.is_retired(late.status.list));
    assert_eq!(reader.lists(), [late.status.list]);
    assert_eq!(reader.allocated_places(), u64::from(BLOCK_LEN));
    assert_eq!(reader.lookup(late.status, &digest(2)).status, GREEN);
}

#[test]
fn a_revoked_range_takes_exactly_the_blocks_of_its_places() {
    let (mut writer, reader) = projection();
    let first = 3 * BLOCK_LEN + 7;
    assert_eq!(fold(&mut writer, &[range(list(0), first, BLOCK_LEN)]), []);
    assert_eq!(reader.allocated_places(), 2 * u64::from(BLOCK_LEN));
    let revoked = issued_status(Life::Dead(Death::Revoked), Standing::Green);
    for (index, expected) in [
        (first - 1, Status::NeverIssued),
        (first, revoked),
        (first + BLOCK_LEN - 1, revoked),
        (first + BLOCK_LEN, Status::NeverIssued),
    ] {
        assert_eq!(
            reader.lookup(code(index).status, &digest(0)).status,
            expected,
            "place {index}"
        );
    }
    // A range that ends with its block does not touch the next one.
    assert_eq!(fold(&mut writer, &[range(list(0), 0, BLOCK_LEN)]), []);
    assert_eq!(reader.allocated_places(), 3 * u64::from(BLOCK_LEN));
    let past = range(list(0), MAX_LIST_LEN - 1, 2);
    let at = StatusRef {
        list: list(0),
        index: MAX_LIST_LEN - 1,
    };
    assert_eq!(fold(&mut writer, &[past]), [Alarm::IndexOutOfRange(at)]);
}

#[test]
fn an_event_about_a_place_without_a_code_is_an_alarm_also_in_a_list_with_codes() {
    let (mut writer, reader) = projection();
    fold(&mut writer, &[issued(code(1), None, Standing::Green)]);
    let lost = Event::CodeReportedLost(CodeReportedLost {
        code: code(2),
        acting_guardian: None,
    });
    assert_eq!(fold(&mut writer, &[lost]), [Alarm::CodeNeverIssued(code(2).status)]);
    assert_eq!(status(&reader, 2), Status::NeverIssued);
}

#[test]
fn further_blocks_of_a_list_are_leased_without_an_alarm() {
    let (mut writer, _) = projection();
    let named = ListId::from_number(0x0A5_1234).expect("28 bits");
    for block in 0..3 {
        let lease = IndexBlockLeased {
            first_index: block * BLOCK_LEN,
            ..lease(named, 0)
        };
        assert_eq!(fold(&mut writer, &[Event::IndexBlockLeased(lease)]), []);
    }
}

#[test]
fn the_name_of_a_version_1_list_says_what_it_contains_whatever_its_lease_says() {
    let (mut writer, reader) = projection();
    let named = lease(list(0), 0);
    let contradiction = IndexBlockLeased {
        facts: ListFacts {
            retires_at: EXPIRY.plus_seconds(90 * 86_400),
            ..named.facts
        },
        ..named
    };
    fold(&mut writer, &[Event::IndexBlockLeased(contradiction)]);
    assert_eq!(reader.facts(list(0)), Some(named.facts));
    fold(&mut writer, &[issued(code(1), None, Standing::Green)]);
    assert_eq!(reader.facts(list(0)), Some(named.facts));
}

#[test]
fn a_list_of_a_partition_that_the_log_does_not_have_is_unknown() {
    let (_, reader) = projection();
    for partition in [2, 3, 255] {
        let status = StatusRef {
            list: list(partition),
            index: 0,
        };
        assert_eq!(reader.facts(status.list), None);
        assert_eq!(reader.lookup(status, &digest(0)).partition, None);
    }
    assert!(reader.facts(list(1)).is_some());
}

#[test]
fn lists_codes_and_standings_survive_a_restart() {
    let (mut writer, reader) = projection();
    let names = [0x0A5_1234, 0x0B5_1234].map(|number| ListId::from_number(number).expect("28 bits"));
    let codes: Vec<CodeRef> = names
        .into_iter()
        .zip(10..)
        .map(|(list, index)| CodeRef {
            status: StatusRef { list, index },
            ..code(index)
        })
        .chain([code(1), code_of_window(1, 2), code(3 * BLOCK_LEN)])
        .collect();
    fold(&mut writer, &names.map(|name| Event::IndexBlockLeased(lease(name, 0))));
    for code in &codes {
        assert_eq!(fold(&mut writer, &[issued(*code, None, Standing::Green)]), []);
    }
    let red = |standing| {
        [Event::StandingChanged(StandingChanged {
            standing,
            codes: Vec::new(),
            reason: Sealed::default(),
        })]
    };
    let (second, third) = (HolderId([4; 16]), HolderId([5; 16]));
    for (holder, standing) in [
        (HOLDER, Standing::Red),
        (second, Standing::Yellow),
        (third, Standing::Red),
    ] {
        let events = red(standing);
        let next = writer.point(0).expect("partition 0 is there").sequence + 1;
        let mut commit = commit(next, &events);
        commit.holder = Some(holder);
        assert_eq!(writer.apply(&commit), Ok(vec![]));
    }
    let bytes = saved(&writer);
    let (loaded, loaded_reader) = load(&IDENTITY, &bytes[..]).expect("just saved");
    for (writer, reader) in [(&writer, &reader), (&loaded, &loaded_reader)] {
        for code in &codes {
            assert_eq!(
                reader.lookup(code.status, &digest(code.status.index)).status,
                GREEN,
                "{code:?}"
            );
        }
        let standings = [HOLDER, second, third, HolderId([6; 16])].map(|holder| writer.standing_of(holder));
        let expected = [Standing::Red, Standing::Yellow, Standing::Red, Standing::Green];
        assert_eq!(standings, expected);
        assert_eq!(reader.allocated_places(), 5 * u64::from(BLOCK_LEN));
    }
    assert_eq!(saved(&loaded), bytes);
}

/// The bytes with these four instead of the first occurrence of others, and a valid checksum.
fn with_list(bytes: &[u8], from: ListId, to: ListId) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    let at = changed
        .windows(4)
        .position(|four| four == from.0.to_le_bytes())
        .expect("it is there");
    changed[at..at + 4].copy_from_slice(&to.0.to_le_bytes());
    let body = changed.len() - 32;
    let checksum = blake3::hash(&changed[..body]);
    changed[body..].copy_from_slice(checksum.as_bytes());
    changed
}

#[test]
fn a_saved_list_of_a_partition_that_the_log_does_not_have_is_refused() {
    let (mut writer, _) = projection();
    fold(&mut writer, &[issued(code(1), None, Standing::Green)]);
    let bytes = saved(&writer);
    assert!(load(&IDENTITY, &with_list(&bytes, list(0), list(1))[..]).is_ok());
    for partition in [2, 3] {
        let changed = with_list(&bytes, list(0), list(partition));
        let refused = load(&IDENTITY, &changed[..]);
        assert!(
            matches!(refused, Err(crate::LoadError::Damaged(_))),
            "partition {partition}"
        );
    }
}

#[test]
fn saved_facts_are_of_version_2_lists_in_partitions_of_the_log() {
    let (mut writer, _) = projection();
    let named = ListId::from_number(0x0A5_1234).expect("28 bits");
    fold(&mut writer, &[Event::IndexBlockLeased(lease(named, 0))]);
    let bytes = saved(&writer);
    let other = ListId::from_number(0x0B5_1234).expect("28 bits");
    assert!(load(&IDENTITY, &with_list(&bytes, named, other)[..]).is_ok());
    let refused = |bytes: &[u8]| matches!(load(&IDENTITY, bytes), Err(crate::LoadError::Damaged(_)));
    assert!(
        refused(&with_list(&bytes, named, list(0))),
        "the name says what it contains"
    );
    let partition = bytes
        .windows(4)
        .position(|four| four == named.0.to_le_bytes())
        .expect("it is there")
        + 4;
    let mut of_partition_2 = bytes;
    of_partition_2[partition] = 2;
    assert!(refused(&with_list(&of_partition_2, named, named)));
}
