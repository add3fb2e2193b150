//! JSON → Python's objects, as Python's own `json` reads it.

use jiter::{PythonParse, StringCacheMode};
use pyo3::prelude::*;

use crate::border::answer;

/// Keys are the same ones from row to row, texts are not.
const HOW: PythonParse = PythonParse {
    // Python's `json` takes them, in words that are no JSON: what has one is for it to read.
    allow_inf_nan: false,
    cache_mode: StringCacheMode::Keys,
    partial_mode: jiter::PartialMode::Off,
    catch_duplicate_keys: false,
    float_mode: jiter::FloatMode::Float,
};

/// The value of a JSON text in UTF-8. None where it is null, or where it is for Python's `json` to read, or to say what is
/// wrong with it.
#[pyfunction]
pub fn read_json<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    answer(py, || Ok(HOW.python_parse(py, data).ok()))
}
