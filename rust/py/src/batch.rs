//! Rows of a batch as padded arrays.

use chatspan_core::pad::{Rows, pad};
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::forks::detached;

/// For each of the sets of rows one array `[B, width]`, filled where a row has nothing.
#[pyfunction]
pub fn pad_rows<'py>(
    py: Python<'py>,
    sets: Vec<(Vec<PyReadonlyArray1<'py, i64>>, i64)>,
    width: usize,
    on_left: bool,
) -> PyResult<Vec<Bound<'py, PyArray2<i64>>>> {
    let given = sets.iter().map(|set| read(set, width)).collect::<PyResult<Vec<_>>>()?;
    let arrays = detached(py, || pad(&given, width, on_left));
    let shaped = std::iter::zip(arrays, &given);
    shaped.map(|(array, set)| PyArray1::from_vec(py, array).reshape([set.rows.len(), width])).collect()
}

fn read<'a>((rows, fill): &'a (Vec<PyReadonlyArray1<'_, i64>>, i64), width: usize) -> PyResult<Rows<'a>> {
    let rows = rows.iter().map(|row| row.as_slice().map_err(PyErr::from)).collect::<PyResult<Vec<_>>>()?;
    match rows.iter().position(|row| row.len() > width) {
        None => Ok(Rows { rows, fill: *fill }),
        Some(at) => Err(PyValueError::new_err(format!("row {at} has {} columns, more than {width}", rows[at].len()))),
    }
}
