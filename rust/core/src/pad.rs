//! Rows of a batch → padded arrays, on all cores.

use std::sync::{Mutex, PoisonError};

use crate::parallel::in_parallel;

/// Rows of different lengths, and what stands where a row has nothing.
#[derive(Clone, Debug)]
pub struct Rows<'r> {
    /// The rows.
    pub rows: Vec<&'r [i64]>,
    /// What the rest of their width is filled with.
    pub fill: i64,
}

/// For each of the sets of rows one array `[B, width]`, row by row. No row is longer.
pub fn pad(sets: &[Rows<'_>], width: usize, on_left: bool) -> Vec<Vec<i64>> {
    let mut arrays: Vec<Vec<i64>> = sets.iter().map(|set| vec![0; set.rows.len() * width]).collect();
    if width > 0 {
        // Whoever fills a row has it alone, so no lock is waited for.
        let mut slots = Vec::new();
        for (array, set) in std::iter::zip(&mut arrays, sets) {
            let rows = std::iter::zip(array.chunks_exact_mut(width), &set.rows);
            slots.extend(rows.map(|(slot, row)| Mutex::new((slot, *row, set.fill))));
        }
        in_parallel(slots.len(), |at| {
            let mut slot = slots[at].lock().unwrap_or_else(PoisonError::into_inner);
            let (slot, row, fill) = &mut *slot;
            fill_row(slot, row, *fill, on_left);
        });
    }
    arrays
}

fn fill_row(slot: &mut [i64], row: &[i64], fill: i64, on_left: bool) {
    let before = if on_left { slot.len() - row.len() } else { 0 };
    let (first, others) = slot.split_at_mut(before);
    let (middle, last) = others.split_at_mut(row.len());
    first.fill(fill);
    middle.copy_from_slice(row);
    last.fill(fill);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_filled_on_either_side() {
        let sets =
            || vec![Rows { rows: vec![&[1, 2, 3], &[4], &[]], fill: 9 }, Rows { rows: vec![&[7, 8]], fill: -100 }];
        assert_eq!(pad(&sets(), 3, false), [vec![1, 2, 3, 4, 9, 9, 9, 9, 9], vec![7, 8, -100]]);
        assert_eq!(pad(&sets(), 3, true), [vec![1, 2, 3, 9, 9, 4, 9, 9, 9], vec![-100, 7, 8]]);
        assert_eq!(pad(&sets(), 0, true), [vec![0; 0], vec![]]);
    }
}
