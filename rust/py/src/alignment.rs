//! A student's and a teacher's tokens: which are the same, and in which columns they stand.

use chatspan_core::pairs::columns::align_columns as core_align_columns;
use chatspan_core::pairs::{FieldRun, Side, pair};
use chatspan_core::span::TokenSpan;
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;

use crate::arrays::to_i64;
use crate::errors::{Kind, raise, to_py_err};
use crate::forks::detached;
use crate::render::Segments;
use crate::table::Offsets;

/// (ids, offsets, segments, runs: start, end, field, character of the field)
type SideTuple<'py> =
    (PyReadonlyArray1<'py, i64>, PyRef<'py, Offsets>, PyRef<'py, Segments>, PyReadonlyArray2<'py, i64>);

#[pyfunction]
pub fn pair_tokens<'py>(
    py: Python<'py>,
    student: SideTuple<'py>,
    teacher: SideTuple<'py>,
    message_map: PyReadonlyArray1<'py, i32>,
) -> PyResult<Bound<'py, PyArray2<i64>>> {
    let (student_runs, teacher_runs) = (field_runs(&student)?, field_runs(&teacher)?);
    let (student, teacher) = (side(py, &student, &student_runs)?, side(py, &teacher, &teacher_runs)?);
    let message_map = message_map.as_slice()?;
    let pairs = detached(py, || pair(&student, &teacher, message_map));
    PyArray1::from_iter(py, pairs.iter().flat_map(|pair| [to_i64(pair.0), to_i64(pair.1)])).reshape([pairs.len(), 2])
}

fn side<'a>(py: Python<'_>, side: &'a SideTuple<'_>, runs: &'a [FieldRun]) -> PyResult<Side<'a>> {
    let (ids, offsets) = (side.0.as_slice()?, &side.1.0);
    if ids.len() != offsets.len() {
        let message = format!("{} ids, but offsets of {} tokens", ids.len(), offsets.len());
        return Err(raise(py, Kind::Offsets, &message, &[]));
    }
    Ok(Side { ids, offsets, segments: &side.2.segments, runs })
}

fn field_runs(side: &SideTuple<'_>) -> PyResult<Vec<FieldRun>> {
    // No position of a text is negative.
    let position = |at: i64| usize::try_from(at).unwrap_or(0);
    let rows = side.3.as_slice()?.chunks_exact(4);
    Ok(rows
        .map(|row| FieldRun { start: position(row[0]), end: position(row[1]), field: row[2], at: position(row[3]) })
        .collect())
}

/// (columns of the student's tokens, columns of the teacher's tokens, width)
type Columns<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i64>>, usize);

#[pyfunction]
pub fn align_columns<'py>(
    py: Python<'py>,
    student: PyReadonlyArray1<'py, i64>,
    teacher: PyReadonlyArray1<'py, i64>,
    student_blocks: Vec<(usize, usize)>,
    teacher_blocks: Vec<(usize, usize)>,
) -> PyResult<Columns<'py>> {
    let token_span = |(start, end): (usize, usize)| TokenSpan::with_len(start, end.saturating_sub(start));
    let blocks: Vec<_> = std::iter::zip(student_blocks, teacher_blocks)
        .map(|(on_student, on_teacher)| (token_span(on_student), token_span(on_teacher)))
        .collect();
    let (student, teacher) = (student.as_slice()?, teacher.as_slice()?);
    let columns = detached(py, || core_align_columns(student, teacher, &blocks)).map_err(|e| to_py_err(py, e))?;
    let array = |at: Vec<usize>| PyArray1::from_iter(py, at.into_iter().map(to_i64));
    Ok((array(columns.student), array(columns.teacher), columns.width))
}
