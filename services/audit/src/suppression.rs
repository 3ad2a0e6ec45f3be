//! Which counts of a table are not shown, because they may single out a person.

/// Smaller counts are suppressed; zero is shown, because it counts nobody.
pub(crate) const SMALLEST_SHOWN: u64 = 10;

/// A count that stands alone, or the total of a table; `None` if it is small.
pub(crate) fn shown(count: u64) -> Option<u64> {
    (count == 0 || count >= SMALLEST_SHOWN).then_some(count)
}

/// The counts of one table whose total is known to the reader, in their order; `None` for each that is suppressed.
///
/// The small counts are suppressed, and with them the smallest of the others until at least two are suppressed and
/// together are no small count, because the total would reveal them. A table with a further dimension whose totals are
/// shown too needs this for each row and each column.
pub(crate) fn shown_of_table(counts: &[u64]) -> Vec<Option<u64>> {
    let mut shown: Vec<Option<u64>> = counts.iter().copied().map(Some).collect();
    suppress(counts, &mut shown);
    shown
}

/// The counts of several tables where the reader may know the total of each table, and that of all tables together.
pub(crate) fn shown_of_tables(tables: &[Vec<u64>]) -> Vec<Vec<Option<u64>>> {
    let mut all: Vec<Option<u64>> = tables.iter().flat_map(|counts| shown_of_table(counts)).collect();
    suppress(&tables.concat(), &mut all);
    let mut all = all.into_iter();
    let table = |counts: &Vec<u64>| all.by_ref().take(counts.len()).collect();
    tables.iter().map(table).collect()
}

/// Suppresses the small counts, and further ones while those that are suppressed follow from the total.
fn suppress(counts: &[u64], shown: &mut [Option<u64>]) {
    let (mut suppressed, mut sum) = (0, 0);
    let mut ascending: Vec<usize> = Vec::new();
    for (number, count) in counts.iter().enumerate() {
        if shown[number].is_none() {
            (suppressed, sum) = (suppressed + 1, sum + count);
        } else if *count > 0 {
            ascending.push(number);
        }
    }
    ascending.sort_by_key(|number| counts[*number]);
    for number in ascending {
        let is_small = counts[number] < SMALLEST_SHOWN;
        let reveals = suppressed > 0 && (suppressed < 2 || sum < SMALLEST_SHOWN);
        if !is_small && !reveals {
            break;
        }
        shown[number] = None;
        (suppressed, sum) = (suppressed + 1, sum + counts[number]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of the counts that are suppressed.
    fn suppressed(counts: &[u64]) -> Vec<usize> {
        let table = shown_of_table(counts);
        assert_eq!(table.len(), counts.len());
        let shown = table
            .iter()
            .zip(counts)
            .all(|(shown, count)| shown.is_none_or(|shown| shown == *count));
        assert!(shown, "{table:?} of {counts:?}");
        (0..table.len()).filter(|number| table[*number].is_none()).collect()
    }

    #[test]
    fn small_counts_are_suppressed_and_with_a_single_one_the_second_smallest() {
        assert!(suppressed(&[]).is_empty());
        assert!(suppressed(&[10, 11]).is_empty());
        assert_eq!(suppressed(&[9, 30, 20]), [0, 2]);
        assert_eq!(suppressed(&[9, 3, 20]), [0, 1]);
        assert_eq!(suppressed(&[1, 1, 20]), [0, 1, 2], "both would be 1");
        assert_eq!(suppressed(&[5]), [0]);
    }

    #[test]
    fn zero_is_shown_and_hides_no_other_count() {
        assert!(suppressed(&[0, 0, 10]).is_empty());
        assert_eq!(suppressed(&[0, 4, 30, 20]), [1, 3]);
    }

    #[test]
    fn a_small_count_alone_in_its_table_is_not_revealed_by_the_total_of_all_tables() {
        let tables = [vec![5], vec![40, 30], vec![0]];
        assert_eq!(
            shown_of_tables(&tables),
            [vec![None], vec![Some(40), None], vec![Some(0)]]
        );
        let tables = [vec![5, 90], vec![40, 30]];
        assert_eq!(shown_of_tables(&tables), [vec![None, None], vec![Some(40), Some(30)]]);
    }

    #[test]
    fn a_count_that_stands_alone_is_shown_from_ten() {
        assert_eq!([0, 1, 9, 10].map(shown), [Some(0), None, None, Some(10)]);
    }
}
