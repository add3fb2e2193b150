//! The token → character table of one render.

use chatspan_core::offsets::Offsets as Table;
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::pairs_from;
use crate::errors::{Kind, to_py_err};
use crate::forks::detached;

/// What makes a table, and its argument.
type Pickled<'py> = (Bound<'py, PyAny>, (Bound<'py, PyArray2<i32>>,));

/// The token → character table of one render, checked once when it is made.
#[pyclass(frozen, module = "chatspan")]
pub struct Offsets(pub Table);

#[pymethods]
impl Offsets {
    #[new]
    #[pyo3(signature = (offsets, *, text_length=None))]
    fn new(offsets: &Bound<'_, PyAny>, text_length: Option<usize>) -> PyResult<Self> {
        let py = offsets.py();
        let pairs = pairs_from(offsets, Kind::Offsets)?;
        let table = detached(py, || Table::new(pairs, text_length));
        table.map(Self).map_err(|e| to_py_err(py, e))
    }

    /// For pickle.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Pickled<'py>> {
        let (py, own) = (slf.py(), slf.get());
        let keywords = PyDict::new(py);
        keywords.set_item("text_length", own.0.text_length())?;
        let make = py.import("functools")?.getattr("partial")?.call((slf.get_type(),), Some(&keywords))?;
        Ok((make, (own.to_array(py)?,)))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn to_array<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<i32>>> {
        let position = |at: u32| i32::try_from(at).unwrap_or(i32::MAX);
        let flat: Vec<i32> =
            self.0.ranges().iter().flat_map(|&(start, end)| [position(start), position(end)]).collect();
        PyArray1::from_vec(py, flat).reshape([self.0.len(), 2])
    }

    fn __repr__(&self) -> String {
        match self.0.text_length() {
            Some(length) => format!("Offsets({} tokens over {length} characters)", self.0.len()),
            None => format!("Offsets({} tokens)", self.0.len()),
        }
    }
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
        Offsets::new(offsets, None).map(|made| Self::Made(made.0))
    }

    /// The table.
    pub fn get(&self) -> &Table {
        match self {
            Self::Made(table) => table,
            Self::Given(offsets) => &offsets.0,
        }
    }
}
