//! A student's and a teacher's tokens: which are the same, and in which columns they stand.

use chatspan_core::pairs::columns::align_columns as core_align_columns;
use chatspan_core::pairs::{FieldRun, Side, pair};
use chatspan_core::span::TokenSpan;
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arrays::{copied, copied_rows, to_i64};
use crate::border::answer;
use crate::errors::{Kind, raise, to_py_err};
use crate::read::List;
use crate::render::Segments;
use crate::table::Offsets;

/// (ids, offsets, segments, runs: start, end, field, character of the field)
type SideTuple<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, Offsets>, Bound<'py, Segments>, Bound<'py, PyArray2<i64>>);

#[pyfunction]
pub fn pair_tokens<'py>(
    py: Python<'py>,
    student: SideTuple<'py>,
    teacher: SideTuple<'py>,
    message_map: &Bound<'py, PyArray1<i32>>,
) -> PyResult<Bound<'py, PyAny>> {
    answer(py, || {
        let (student_own, teacher_own) = (own_of(py, &student)?, own_of(py, &teacher)?);
        let (student, teacher) = (side(&student, &student_own), side(&teacher, &teacher_own));
        let message_map = copied(message_map)?;
        let pairs = py.detach(|| pair(&student, &teacher, &message_map));
        let flat = pairs.iter().flat_map(|pair| [to_i64(pair.0), to_i64(pair.1)]);
        PyArray1::from_iter(py, flat).reshape([pairs.len(), 2])
    })
}

/// What of a side numpy holds, copied.
type Own = (Vec<i64>, Vec<FieldRun>);

fn own_of(py: Python<'_>, side: &SideTuple<'_>) -> PyResult<Own> {
    let (ids, offsets) = (copied(&side.0)?, &side.1.get().0);
    if ids.len() != offsets.len() {
        let message = format!("{} ids, but offsets of {} tokens", ids.len(), offsets.len());
        return Err(raise(py, Kind::Offsets, &message, &[]));
    }
    // No position of a text is negative.
    let position = |at: i64| usize::try_from(at).unwrap_or(0);
    let run = |&[start, end, field, at]: &[i64; 4]| FieldRun {
        start: position(start),
        end: position(end),
        field,
        at: position(at),
    };
    Ok((ids, copied_rows(&side.3)?.iter().map(run).collect()))
}

fn side<'a>(side: &'a SideTuple<'_>, (ids, runs): &'a Own) -> Side<'a> {
    Side { ids, offsets: &side.1.get().0, segments: &side.2.get().segments, runs }
}

#[pyfunction]
pub fn align_columns<'py>(
    py: Python<'py>,
    student: &Bound<'py, PyArray1<i64>>,
    teacher: &Bound<'py, PyArray1<i64>>,
    student_blocks: List<(usize, usize)>,
    teacher_blocks: List<(usize, usize)>,
) -> PyResult<Bound<'py, PyAny>> {
    answer(py, || {
        let (on_student, on_teacher) = (student_blocks.0, teacher_blocks.0);
        if on_student.len() != on_teacher.len() {
            let message = format!("{} blocks of the student, {} of the teacher", on_student.len(), on_teacher.len());
            return Err(PyValueError::new_err(message));
        }
        let token_span = |(start, end): (usize, usize)| TokenSpan::with_len(start, end.saturating_sub(start));
        let blocks: Vec<_> = std::iter::zip(on_student, on_teacher)
            .map(|(on_student, on_teacher)| (token_span(on_student), token_span(on_teacher)))
            .collect();
        let (student, teacher) = (copied(student)?, copied(teacher)?);
        let columns = py.detach(|| core_align_columns(&student, &teacher, &blocks)).map_err(|e| to_py_err(py, e))?;
        let array = |at: Vec<usize>| PyArray1::from_iter(py, at.into_iter().map(to_i64));
        Ok((array(columns.student), array(columns.teacher), columns.width))
    })
}
