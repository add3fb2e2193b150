//! The token → character table of one render.

use chatspan_core::offsets::Offsets as Table;
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;

use crate::arrays::pairs_from;
use crate::errors::{Kind, to_py_err};

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
        let table = py.detach(|| Table::new(pairs, text_length));
        table.map(Self).map_err(|e| to_py_err(py, e))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn to_array<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<i32>>> {
        let position = |at: usize| i32::try_from(at).unwrap_or(i32::MAX);
        let flat = self.0.tokens().iter().flat_map(|token| [position(token.start()), position(token.end())]);
        PyArray1::from_iter(py, flat).reshape([self.0.len(), 2])
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
