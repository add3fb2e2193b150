//! Tokens of rows → which of them are trained; rows with their labels → the arrays of a batch.

use std::iter::zip;
use std::mem::take;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::attribute::Attribution;
use crate::offsets::Offsets;
use crate::parallel::in_parallel;
use crate::project::{Straddle, check_spans, token_mask};

/// The label of a token that is not trained.
pub const IGNORED: i64 = -100;

/// Where a row that is too long is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Its first tokens are cut off.
    Left,
    /// Its last ones.
    Right,
}

/// How many tokens a row may have, and where longer ones are cut; none: they are refused.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// At most so many.
    pub most: usize,
    /// Where longer rows are cut.
    pub cut: Option<Side>,
}

/// A row's tokens, and which of them are trained.
#[derive(Clone, Debug)]
pub struct Row {
    ids: Vec<u32>,
    trained: Vec<bool>,
    whose: Option<Attribution>,
    kept: Range<usize>,
    trained_count: usize,
}

impl Row {
    /// The row whose tokens are trained that begin in one of `turns`, in characters; the first token of a row never is,
    /// since nothing in front predicts it. None: it is too long, or a turn is none of this text's.
    pub fn new(
        ids: Vec<u32>,
        offsets: &Offsets,
        turns: &[(usize, usize)],
        whose: Option<Attribution>,
        limit: Option<Limit>,
    ) -> Option<Self> {
        let kept = kept(ids.len(), limit)?;
        let position = |at: usize| i64::try_from(at).unwrap_or(i64::MAX);
        let pairs = turns.iter().map(|&(start, end)| (position(start), position(end)));
        let spans = check_spans(pairs, offsets.text_length()).ok()?;
        let mut trained = token_mask(offsets, &spans, Straddle::First).ok()?;
        if trained.len() != ids.len() {
            return None;
        }
        if let Some(first) = trained[kept.clone()].first_mut() {
            *first = false;
        }
        let trained_count = trained[kept.clone()].iter().filter(|&&each| each).count();
        Some(Self { ids, trained, whose, kept, trained_count })
    }

    /// How many tokens are kept of it.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// How many were cut off.
    pub fn truncated(&self) -> usize {
        self.ids.len() - self.kept.len()
    }

    /// How many are trained.
    pub const fn trained_count(&self) -> usize {
        self.trained_count
    }

    fn ids(&self) -> impl Iterator<Item = i64> {
        self.ids[self.kept.clone()].iter().map(|&id| i64::from(id))
    }

    fn labels(&self) -> impl Iterator<Item = i64> {
        let trained = &self.trained[self.kept.clone()];
        zip(self.ids(), trained).map(|(id, &trained)| if trained { id } else { IGNORED })
    }
}

fn kept(count: usize, limit: Option<Limit>) -> Option<Range<usize>> {
    match limit {
        Some(Limit { most, cut }) if count > most => cut.map(|side| match side {
            Side::Left => count - most..count,
            Side::Right => 0..most,
        }),
        _ => Some(0..count),
    }
}

/// Rows as arrays `[B, width]`, one after the other: ids, 1 where there is a token, labels. None where there is no memory
/// for so many columns. No row is longer than `width`.
pub fn padded(rows: &[&Row], width: usize, on_left: bool, pad_id: i64) -> Option<[Vec<i64>; 3]> {
    let count = rows.len().checked_mul(width)?;
    let mut arrays = [const { Vec::new() }; 3];
    for array in &mut arrays {
        array.try_reserve_exact(count).ok()?;
    }
    let [ids, mask, labels] = &mut arrays;
    for (at, row) in rows.iter().enumerate() {
        let end = (at + 1) * width;
        let start = if on_left { end - row.len() } else { at * width };
        ids.resize(start, pad_id);
        ids.extend(row.ids());
        ids.resize(end, pad_id);
        mask.resize(start, 0);
        mask.resize(start + row.len(), 1);
        mask.resize(end, 0);
        labels.resize(start, IGNORED);
        labels.extend(row.labels());
        labels.resize(end, IGNORED);
    }
    Some(arrays)
}

/// Arrays `[B, width]`, all 0, that rows are written to.
#[derive(Debug)]
pub struct Padded<'a> {
    /// Of the ids.
    pub input_ids: &'a mut [i64],
    /// 1 where there is a token.
    pub attention_mask: &'a mut [i64],
    /// Of the labels.
    pub labels: &'a mut [i64],
}

/// Writes rows to padded arrays, side by side. No row is longer than `width`.
pub fn pad(rows: &[&Row], width: usize, on_left: bool, pad_id: i64, into: Padded<'_>) {
    if width == 0 {
        return;
    }
    let ids = into.input_ids.chunks_exact_mut(width);
    let others = zip(into.attention_mask.chunks_exact_mut(width), into.labels.chunks_exact_mut(width));
    let places: Vec<_> = zip(ids, others).map(Mutex::new).collect();
    let count = places.len().min(rows.len());
    in_parallel(count, |at| {
        let mut place = places[at].lock().unwrap_or_else(PoisonError::into_inner);
        let (ids, (mask, labels)) = &mut *place;
        let (row, rest) = (rows[at], width.saturating_sub(rows[at].len()));
        let start = if on_left { rest } else { 0 };
        let of_row = start..(start + row.len()).min(width);
        for (array, fill) in [(&mut **ids, pad_id), (&mut **labels, IGNORED)] {
            array[..of_row.start].fill(fill);
            array[of_row.end..].fill(fill);
        }
        mask[of_row.clone()].fill(1);
        copy(row.ids(), &mut ids[of_row.clone()]);
        copy(row.labels(), &mut labels[of_row]);
    });
}

/// Arrays `[T]` of all rows' tokens, one row behind the other.
#[derive(Debug, Default)]
pub struct Flat<'a> {
    /// Of the ids.
    pub input_ids: &'a mut [i32],
    /// Of the labels.
    pub labels: &'a mut [i32],
    /// The message of each token.
    pub message_index: &'a mut [i32],
    /// Its kind.
    pub kind: &'a mut [u8],
}

/// Writes rows to arrays that have room for all of them, side by side.
pub fn flatten(rows: &[&Row], mut into: Flat<'_>) {
    let places: Vec<_> = rows.iter().map(|row| Mutex::new(split(&mut into, row.len()))).collect();
    let small = |id: i64| i32::try_from(id).unwrap_or(-1);
    in_parallel(rows.len(), |at| {
        let mut place = places[at].lock().unwrap_or_else(PoisonError::into_inner);
        let row = rows[at];
        copy(row.ids().map(small), place.input_ids);
        copy(row.labels().map(small), place.labels);
        if let Some(whose) = &row.whose {
            copy(whose.message_index[row.kept.clone()].iter().copied(), place.message_index);
            copy(whose.kind[row.kept.clone()].iter().copied(), place.kind);
        }
    });
}

/// The first items of the arrays; the others are left.
fn split<'a>(from: &mut Flat<'a>, count: usize) -> Flat<'a> {
    fn first<'a, T>(items: &mut &'a mut [T], count: usize) -> &'a mut [T] {
        let count = count.min(items.len());
        let (first, rest) = take(items).split_at_mut(count);
        *items = rest;
        first
    }
    Flat {
        input_ids: first(&mut from.input_ids, count),
        labels: first(&mut from.labels, count),
        message_index: first(&mut from.message_index, count),
        kind: first(&mut from.kind, count),
    }
}

fn copy<T>(values: impl Iterator<Item = T>, into: &mut [T]) {
    for (place, value) in zip(into, values) {
        *place = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(turns: &[(usize, usize)], limit: Option<Limit>) -> Option<Row> {
        let offsets = Offsets::new([(0, 2), (2, 4), (4, 5), (5, 6), (6, 9)], Some(9)).unwrap();
        let whose = Attribution { message_index: vec![0, 0, 1, 1, 1], kind: vec![1, 0, 0, 1, 2], straddling: vec![] };
        Row::new(vec![10, 11, 12, 13, 14], &offsets, turns, Some(whose), limit)
    }

    fn both(rows: &[&Row], width: usize, on_left: bool) -> [Vec<i64>; 3] {
        let mut arrays = [(); 3].map(|()| vec![0; rows.len() * width]);
        let [input_ids, attention_mask, labels] = &mut arrays;
        pad(rows, width, on_left, 9, Padded { input_ids, attention_mask, labels });
        assert_eq!(padded(rows, width, on_left, 9).as_ref(), Some(&arrays));
        arrays
    }

    #[test]
    fn tokens_that_begin_in_a_turn_are_trained_but_the_first_of_the_row() {
        let row = row(&[(0, 3), (5, 9)], None).unwrap();
        assert_eq!(row.labels().collect::<Vec<_>>(), [-100, 11, -100, 13, 14]);
        assert_eq!((row.len(), row.trained_count(), row.truncated()), (5, 3, 0));
    }

    #[test]
    fn rows_are_cut_on_a_side_or_refused() {
        let limit = |cut| Some(Limit { most: 2, cut });
        let left = row(&[(5, 9)], limit(Some(Side::Left))).unwrap();
        assert_eq!((left.ids().collect(), left.labels().collect()), (vec![13, 14], vec![-100, 14]));
        let right = row(&[(0, 9)], limit(Some(Side::Right))).unwrap();
        assert_eq!((right.labels().collect::<Vec<_>>(), right.truncated()), (vec![-100, 11], 3));
        assert!(row(&[(0, 9)], limit(None)).is_none());
        assert!(row(&[(0, 99)], None).is_none());
    }

    #[test]
    fn rows_are_padded_on_either_side() {
        let (short, long) = (row(&[(2, 4)], Some(Limit { most: 2, cut: Some(Side::Right) })), row(&[(6, 9)], None));
        let rows = [&short.unwrap(), &long.unwrap()];
        let [ids, mask, labels] = both(&rows, 6, false);
        assert_eq!(ids, [10, 11, 9, 9, 9, 9, 10, 11, 12, 13, 14, 9]);
        assert_eq!(mask, [1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0]);
        assert_eq!(labels, [-100, 11, -100, -100, -100, -100, -100, -100, -100, -100, 14, -100]);
        let [ids, mask, labels] = both(&rows[..1], 3, true);
        assert_eq!((ids, mask, labels), (vec![9, 10, 11], vec![0, 1, 1], vec![-100, -100, 11]));
    }

    #[test]
    fn rows_are_written_one_behind_the_other() {
        let cut = row(&[(5, 9)], Some(Limit { most: 2, cut: Some(Side::Left) })).unwrap();
        let whole = row(&[(2, 4)], None).unwrap();
        let (mut ids, mut labels, mut message_index, mut kind) = ([0; 7], [0; 7], [0; 7], [0; 7]);
        let into =
            Flat { input_ids: &mut ids, labels: &mut labels, message_index: &mut message_index, kind: &mut kind };
        flatten(&[&cut, &whole], into);
        assert_eq!(ids, [13, 14, 10, 11, 12, 13, 14]);
        assert_eq!(labels, [-100, 14, -100, 11, -100, -100, -100]);
        assert_eq!((message_index, kind), ([1, 1, 0, 0, 1, 1, 1], [1, 2, 1, 0, 0, 1, 2]));
    }
}
