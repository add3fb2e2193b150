//! What runs without the GIL, and forks of the process: no thread does while another one forks.
//!
//! Whoever waits for another here does so without the GIL, which the other may need.

use std::time::Duration;

use chatspan_core::forks::{self, Working, enter, try_enter};
use numpy::{PyArray1, PyArrayMethods};
use pyo3::prelude::*;

use crate::border::guarded;

/// Releases the GIL while something is done, which no fork cuts short.
pub fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    py.detach(|| {
        let _working = enter();
        work()
    })
}

/// No fork until this is dropped. For what takes locks with the GIL released in between, as [`pyo3::intern`] does.
pub fn working(py: Python<'_>) -> Working {
    loop {
        if let Some(working) = try_enter() {
            return working;
        }
        py.detach(forks::wait_until_forked);
    }
}

/// Has numpy's functions looked up now, which is done once: a fork could cut it short in another thread.
#[pyfunction]
pub fn look_up_numpy(py: Python<'_>) -> PyResult<()> {
    guarded(|| {
        PyArray1::<i64>::zeros(py, 0, false).readonly();
        Ok(())
    })
}

/// Before a fork: waits until no other thread works, but no longer than `patience` (seconds).
#[pyfunction]
pub fn before_fork(py: Python<'_>, patience: f64) -> PyResult<()> {
    guarded(|| {
        py.detach(|| forks::before(Duration::try_from_secs_f64(patience).unwrap_or(Duration::MAX)));
        Ok(())
    })
}

/// After a fork, in the process that forked.
#[pyfunction]
pub fn after_fork_in_parent() -> PyResult<()> {
    guarded(|| {
        forks::after_in_parent();
        Ok(())
    })
}

/// After a fork, in the child. False: some lock of the native tokenizer may be held for ever.
#[pyfunction]
pub fn after_fork_in_child() -> PyResult<bool> {
    guarded(|| Ok(forks::after_in_child()))
}
