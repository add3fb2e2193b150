//! Rows of a batch as padded arrays.

use chatspan_core::pad::{Rows, pad};
use numpy::{PyArray1, PyArrayMethods, PyReadonlyArray1};
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;

use crate::arrays::readable;
use crate::border::answer;
use crate::read::List;

/// Rows, and what stands where one has nothing.
type Set<'py> = (List<Bound<'py, PyArray1<i64>>>, i64);

/// For each of the sets of rows one array `[B, width]`, filled where a row has nothing.
#[pyfunction]
pub fn pad_rows<'py>(
    py: Python<'py>,
    sets: List<Set<'py>>,
    width: usize,
    on_left: bool,
) -> PyResult<Bound<'py, PyAny>> {
    answer(py, || {
        // With the GIL, so that nobody writes to the rows. On one core: one that renders may wait for the GIL itself.
        sets.0.iter().map(|(rows, fill)| padded(py, &rows.0, *fill, width, on_left)).collect::<PyResult<Vec<_>>>()
    })
}

fn padded<'py>(
    py: Python<'py>,
    rows: &[Bound<'py, PyArray1<i64>>],
    fill: i64,
    width: usize,
    on_left: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let count = rows.len();
    let rows = rows.iter().map(readable).collect::<PyResult<Vec<PyReadonlyArray1<'py, i64>>>>()?;
    let rows = rows.iter().map(|row| Ok(row.as_slice()?)).collect::<PyResult<Vec<_>>>()?;
    if let Some(at) = rows.iter().position(|row| row.len() > width) {
        let message = format!("row {at} has {} columns, more than {width}", rows[at].len());
        return Err(PyValueError::new_err(message));
    }
    match pad(&Rows { rows, fill }, width, on_left) {
        Some(array) => Ok(PyArray1::from_vec(py, array).reshape([count, width])?.into_any()),
        None => Err(PyMemoryError::new_err(format!("no memory for {count} rows of {width} columns"))),
    }
}
