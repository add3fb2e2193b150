//! Rows with their labels, as the arrays of a batch.

use chatspan_core::attribute::attribute;
use chatspan_core::labels::{Flat, Limit, Padded, Row, Side, flatten, pad, padded as core_padded};
use chatspan_core::render::EndOfTurn;
use chatspan_core::tokenize::Tokens;
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::exceptions::{PyIndexError, PyMemoryError, PyValueError};
use pyo3::prelude::*;

use crate::arrays::with_room;
use crate::border::answer;
use crate::errors::{Kind, raise};
use crate::forks::detached;
use crate::read::{List, Name};
use crate::render::Segments;

/// How rows are labelled.
pub struct How {
    /// None: one that needs to know what follows a turn.
    end_of_turn: Option<EndOfTurn>,
    limit: Option<Limit>,
    with_whose: bool,
}

impl How {
    pub fn new(
        py: Python<'_>,
        end_of_turn: &Name,
        max_length: Option<usize>,
        cut: Option<&Name>,
        with_whose: bool,
    ) -> PyResult<Self> {
        let cut = cut.map(|side| match side.0.as_str() {
            "left" => Ok(Side::Left),
            "right" => Ok(Side::Right),
            name => Err(raise(py, Kind::Option, &format!("cut={name:?}: use \"left\" or \"right\""), &[])),
        });
        let cut = cut.transpose()?;
        let end_of_turn = EndOfTurn::of_name(&end_of_turn.0);
        Ok(Self { end_of_turn, limit: max_length.map(|most| Limit { most, cut }), with_whose })
    }

    /// A row; none where its turns cannot be told, or it is too long.
    pub fn labelled(&self, tokens: Tokens, segments: &Segments, messages: &[i32]) -> Option<Row> {
        let turns = segments.turns_of(messages, self.end_of_turn?)?;
        let whose = self.with_whose.then(|| attribute(&tokens.offsets, &segments.segments).ok());
        let whose = if self.with_whose { Some(whose??) } else { None };
        Row::new(tokens.ids, &tokens.offsets, &turns, whose, self.limit)
    }
}

/// Rows with their labels.
#[pyclass(frozen, module = "chatspan._core")]
pub struct LabelledRows(Vec<Option<Row>>);

impl LabelledRows {
    pub fn new(rows: Vec<Option<Row>>) -> Self {
        Self(rows)
    }

    fn chosen(&self, rows: &[usize]) -> PyResult<Vec<&Row>> {
        let row = |&at: &usize| self.0.get(at).and_then(Option::as_ref);
        let missing = |at: &usize| PyIndexError::new_err(format!("there is no row {at} with labels"));
        rows.iter().map(|at| row(at).ok_or_else(|| missing(at))).collect()
    }
}

/// ids, mask, labels: `[B, width]`
type Arrays<'py> = [Bound<'py, PyArray2<i64>>; 3];
/// edges of rows, ids, labels, message of each token, its kind
type Columns<'py> = (
    Bound<'py, PyArray1<i32>>,
    Bound<'py, PyArray1<i32>>,
    Bound<'py, PyArray1<i32>>,
    Bound<'py, PyArray1<i32>>,
    Bound<'py, PyArray1<u8>>,
);

#[pymethods]
impl LabelledRows {
    /// For each row how many tokens are kept, how many are trained, and how many were cut off; none for one that has no
    /// labels: its turns cannot be told, it is too long, or its text is for another tokenizer.
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let counts = |row: &Row| (row.len(), row.trained_count(), row.truncated());
        answer(py, || Ok(self.0.iter().map(|row| row.as_ref().map(counts)).collect::<Vec<_>>()))
    }

    /// Some of the rows as int64 `[B, width]`: ids, 1 where there is a token, labels.
    fn padded<'py>(
        &self,
        py: Python<'py>,
        rows: List<usize>,
        width: usize,
        pad_id: i64,
        on_left: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || {
            let rows = self.chosen(&rows.0)?;
            if let Some(long) = rows.iter().find(|row| row.len() > width) {
                let message = format!("a row of {} tokens is longer than {width} columns", long.len());
                return Err(PyValueError::new_err(message));
            }
            padded(py, &rows, width, pad_id, on_left)
        })
    }

    /// Some of the rows, one behind the other: where each begins and the last ends (int32), ids, labels, messages
    /// (int32) and kinds (uint8) of tokens. None where they have more tokens than int32 counts.
    fn columns<'py>(&self, py: Python<'py>, rows: List<usize>) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || columns(py, &self.chosen(&rows.0)?))
    }
}

/// From so many columns on, rows are written side by side.
const SIDE_BY_SIDE: usize = 1 << 17;

fn padded<'py>(py: Python<'py>, rows: &[&Row], width: usize, pad_id: i64, on_left: bool) -> PyResult<Arrays<'py>> {
    let no_memory = || PyMemoryError::new_err(format!("no memory for {} rows of {width} columns", rows.len()));
    let count = rows.len().checked_mul(width).ok_or_else(no_memory)?;
    if rows.len() < 2 || count < SIDE_BY_SIDE {
        let [ids, mask, labels] = core_padded(rows, width, on_left, pad_id).ok_or_else(no_memory)?;
        let shaped = |array| PyArray1::from_vec(py, array).reshape([rows.len(), width]);
        return Ok([shaped(ids)?, shaped(mask)?, shaped(labels)?]);
    }
    // What numpy has no room for is no shape of an array.
    if count.checked_mul(size_of::<i64>()).is_none_or(|bytes| isize::try_from(bytes).is_err()) {
        return Err(no_memory());
    }
    let arrays = [(); 3].map(|()| PyArray2::<i64>::zeros(py, [rows.len(), width], false));
    let mut writable = [arrays[0].try_readwrite()?, arrays[1].try_readwrite()?, arrays[2].try_readwrite()?];
    let [ids, mask, labels] = &mut writable;
    let into =
        Padded { input_ids: ids.as_slice_mut()?, attention_mask: mask.as_slice_mut()?, labels: labels.as_slice_mut()? };
    // Nobody else has them yet.
    detached(py, || pad(rows, width, on_left, pad_id, into));
    drop(writable);
    Ok(arrays)
}

fn columns<'py>(py: Python<'py>, rows: &[&Row]) -> PyResult<Option<Columns<'py>>> {
    let mut edges = Vec::with_capacity(rows.len() + 1);
    let mut count = 0;
    edges.push(0);
    for row in rows {
        count += row.len();
        let Ok(edge) = i32::try_from(count) else { return Ok(None) };
        edges.push(edge);
    }
    let [mut ids, mut labels, mut message_index] = [zeros(count)?, zeros(count)?, zeros(count)?];
    let mut kind = zeros(count)?;
    let into = Flat { input_ids: &mut ids, labels: &mut labels, message_index: &mut message_index, kind: &mut kind };
    detached(py, || flatten(rows, into));
    let [ids, labels, message_index] = [ids, labels, message_index].map(|array| PyArray1::from_vec(py, array));
    Ok(Some((PyArray1::from_vec(py, edges), ids, labels, message_index, PyArray1::from_vec(py, kind))))
}

/// In memory that was there before, where some is: a batch of rows comes after another.
fn zeros<T: Clone + Default>(count: usize) -> PyResult<Vec<T>> {
    let mut items = with_room(count)?;
    items.resize(count, T::default());
    Ok(items)
}
