//! The token → character table of one render.

use chatspan_core::offsets::Offsets as Table;
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict};

use crate::arrays::pairs_from;
use crate::border::{answer, guarded};
use crate::errors::{Kind, raise, to_py_err};
use crate::forks::detached;

/// The token → character table of one render, checked once when it is made.
#[pyclass(frozen, module = "chatspan")]
pub struct Offsets(pub Table);

impl Offsets {
    fn read(offsets: &Bound<'_, PyAny>, text_length: Option<usize>) -> PyResult<Self> {
        let py = offsets.py();
        let pairs = pairs_from(offsets, Kind::Offsets)?;
        let table = detached(py, || Table::new(pairs, text_length));
        table.map(Self).map_err(|e| to_py_err(py, e))
    }

    fn as_array<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<i32>>> {
        let position = |at: u32| i32::try_from(at).unwrap_or(i32::MAX);
        let flat: Vec<i32> =
            self.0.ranges().iter().flat_map(|&(start, end)| [position(start), position(end)]).collect();
        PyArray1::from_vec(py, flat).reshape([self.0.len(), 2])
    }
}

#[pymethods]
impl Offsets {
    #[new]
    #[pyo3(signature = (offsets, *, text_length=None))]
    fn new(offsets: &Bound<'_, PyAny>, text_length: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        guarded(|| Self::read(offsets, text_length.map(length_from).transpose()?))
    }

    /// For pickle: what makes a table, and its argument.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let (py, own) = (slf.py(), slf.get());
        answer(py, || {
            let keywords = PyDict::new(py);
            keywords.set_item("text_length", own.0.text_length())?;
            let make = py.import("functools")?.getattr("partial")?.call((slf.get_type(),), Some(&keywords))?;
            Ok((make, (own.as_array(py)?,)))
        })
    }

    fn __len__(&self) -> PyResult<usize> {
        guarded(|| Ok(self.0.len()))
    }

    fn to_array<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || self.as_array(py))
    }

    fn __repr__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || {
            Ok(match self.0.text_length() {
                Some(length) => format!("Offsets({} tokens over {length} characters)", self.0.len()),
                None => format!("Offsets({} tokens)", self.0.len()),
            })
        })
    }
}

/// How long a text is said to be.
fn length_from(length: &Bound<'_, PyAny>) -> PyResult<usize> {
    let known = if length.is_instance_of::<PyBool>() { None } else { length.extract().ok() };
    known.ok_or_else(|| {
        let shown = length.repr().map_or_else(|_| "?".into(), |shown| shown.to_string());
        let message = format!("text_length={shown:.60}: expected the number of characters of the text, or None");
        raise(length.py(), Kind::Option, &message, &[])
    })
}

/// `offsets` as a table: the one it is, or one made and checked now.
pub enum TableRef<'py> {
    Made(Table),
    Given(PyRef<'py, Offsets>),
}

impl<'py> TableRef<'py> {
    /// From an `Offsets`, or from what makes one.
    pub fn new(offsets: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(given) = offsets.cast::<Offsets>() {
            return Ok(Self::Given(given.borrow()));
        }
        Offsets::read(offsets, None).map(|made| Self::Made(made.0))
    }

    /// The table.
    pub fn get(&self) -> &Table {
        match self {
            Self::Made(table) => table,
            Self::Given(offsets) => &offsets.0,
        }
    }
}
