//! The border to Python: what crosses it is a value or an exception, never a panic.
//!
//! PyO3 makes a panic a `PanicException`, which is no `Exception`: a caller who handles errors does not get it, and a
//! thread of workers ends. So whatever Python calls runs inside of [`guarded`] or [`answer`]. Arguments are of types
//! that PyO3 reads without a panic: no `Vec` and no `HashMap`, see [`crate::read`].

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;

use crate::errors::{Kind, raise};

/// Runs a call. A panic, which is a fault of chatspan's own, becomes an `InternalError`.
pub fn guarded<T>(call: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    // What a panic leaves half done belongs to the call, or is behind a lock of its own.
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|panic| Err(Python::attach(|py| error_of(py, said_by(panic.as_ref())))))
}

/// As [`guarded`], and makes Python's objects of the answer in the same go: for these, too, memory may run out.
pub fn answer<'py, T>(py: Python<'py>, call: impl FnOnce() -> PyResult<T>) -> PyResult<Bound<'py, PyAny>>
where
    T: IntoPyObject<'py>,
{
    guarded(|| call()?.into_bound_py_any(py))
}

fn said_by(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}

/// What PyO3 and numpy say where Python has made no object, for which it has no memory.
const NO_OBJECT: [&str; 2] = ["PyObject pointer is null", "MemoryError"];

fn error_of(py: Python<'_>, said: &str) -> PyErr {
    if NO_OBJECT.iter().any(|words| said.contains(words)) {
        return PyMemoryError::new_err("no memory for what the core found");
    }
    let message = format!("a bug in chatspan: {said}; report it with the call, its arguments and the lines on stderr");
    raise(py, Kind::Internal, &message, &[])
}

/// Panics, as a fault in the core would. For tests of the border.
#[pyfunction]
pub fn _panic(py: Python<'_>, message: String) -> PyResult<Bound<'_, PyAny>> {
    answer(py, || -> PyResult<()> { panic!("{message}") })
}
