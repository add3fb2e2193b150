//! Numbers from what callers have (lists of pairs, numpy of any integer type), and numpy back.
//!
//! Numpy's memory may be written to, or freed by `resize`, as soon as other code of Python's runs. So it is copied, or
//! looked at only while the GIL is held and nothing of Python's is called.

use crate::errors::{Kind, raise};
use crate::read::items_of;
use chatspan_core::span::{Span, Unit};
use numpy::{
    Element, PyArray1, PyArray2, PyArrayDescrMethods, PyArrayMethods, PyReadonlyArray1, PyUntypedArray,
    PyUntypedArrayMethods,
};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyException, PyMemoryError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt, PyList, PyTuple};

/// The numbers of an array, copied.
pub fn copied<T: Element + Copy>(array: &Bound<'_, PyArray1<T>>) -> PyResult<Vec<T>> {
    let array = array.try_readonly()?;
    let numbers = array.as_slice()?;
    let mut own = with_room(numbers.len())?;
    own.extend_from_slice(numbers);
    Ok(own)
}

/// The rows of an int64 array `[N, COLUMNS]`, copied.
pub fn copied_rows<const COLUMNS: usize>(array: &Bound<'_, PyArray2<i64>>) -> PyResult<Vec<[i64; COLUMNS]>> {
    if array.shape()[1] != COLUMNS || !array.is_c_contiguous() {
        let message = format!("expected an array [N, {COLUMNS}] without gaps, got {:?}", array.shape());
        return Err(PyTypeError::new_err(message));
    }
    let array = array.try_readonly()?;
    let (rows, _) = array.as_slice()?.as_chunks();
    let mut own = with_room(rows.len())?;
    own.extend_from_slice(rows);
    Ok(own)
}

/// An empty list with room for as many items as a caller's own data have.
pub fn with_room<T>(count: usize) -> PyResult<Vec<T>> {
    let mut list = Vec::new();
    match list.try_reserve_exact(count) {
        Ok(()) => Ok(list),
        Err(_) => Err(PyMemoryError::new_err(format!("no memory for {count} items of {} bytes", size_of::<T>()))),
    }
}

/// An array that is read while nothing of Python's runs.
pub fn readable<'py, T: Element>(array: &Bound<'py, PyArray1<T>>) -> PyResult<PyReadonlyArray1<'py, T>> {
    Ok(array.try_readonly()?)
}

/// (start, end) pairs from a list of pairs or an integer array of shape `[N, 2]`.
pub fn pairs_from(value: &Bound<'_, PyAny>, kind: Kind) -> PyResult<Vec<(i64, i64)>> {
    if let Ok(array) = value.cast::<PyUntypedArray>() {
        return from_array(array, kind);
    }
    if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        return from_items(value, kind);
    }
    // Torch tensors and the like say themselves how they become numpy.
    if value.hasattr("__array__")? {
        let array = value.py().import("numpy")?.call_method1("asarray", (value,));
        let array = array.map_err(|error| unreadable(value, "an array", kind, error))?;
        return from_array(array.cast::<PyUntypedArray>()?, kind);
    }
    let message =
        format!("expected a list of (start, end) pairs or an integer array [N, 2], got {}", value.get_type().name()?);
    Err(raise(value.py(), kind, &message, &[]))
}

fn from_array(array: &Bound<'_, PyUntypedArray>, kind: Kind) -> PyResult<Vec<(i64, i64)>> {
    let py = array.py();
    if array.ndim() != 2 || array.shape()[1] != 2 {
        let message = format!("wrong shape {:?}: expected [N, 2], a (start, end) pair a row", array.shape());
        return Err(raise(py, kind, &message, &[]));
    }
    let dtype = array.dtype();
    if !matches!(dtype.kind(), b'i' | b'u') {
        return Err(raise(py, kind, &format!("wrong dtype {dtype}: expected an integer type"), &[]));
    }
    if let Some(pairs) = from_plain(array, kind) {
        return pairs;
    }
    // Another byte order, gaps between the numbers, or numbers at odd addresses.
    let native = dtype.call_method1("newbyteorder", ("=",))?;
    let plain = py.import("numpy")?.call_method1("ascontiguousarray", (array, native))?;
    let plain = plain.cast::<PyUntypedArray>()?;
    from_plain(plain, kind).unwrap_or_else(|| Err(PyTypeError::new_err(format!("cannot read an array of {dtype}"))))
}

/// The pairs of an array whose numbers stand one behind the other as this machine writes them; none of another.
fn from_plain(array: &Bound<'_, PyUntypedArray>, kind: Kind) -> Option<PyResult<Vec<(i64, i64)>>> {
    if !array.is_c_contiguous() || !array.is_aligned() {
        return None;
    }
    macro_rules! try_types {
        ($($integer:ty),*) => {
            $(if let Ok(typed) = array.cast::<PyArray2<$integer>>() {
                return Some(from_typed(typed, kind));
            })*
        };
    }
    try_types!(i64, i32, u32, i16, u16, i8, u8, u64);
    None
}

fn from_typed<T: Element + Copy + TryInto<i64>>(
    array: &Bound<'_, PyArray2<T>>,
    kind: Kind,
) -> PyResult<Vec<(i64, i64)>> {
    let array = array.try_readonly()?;
    let (rows, _) = array.as_slice()?.as_chunks();
    let mut pairs = with_room(rows.len())?;
    for (i, &[start, end]) in rows.iter().enumerate() {
        match (start.try_into(), end.try_into()) {
            (Ok(start), Ok(end)) => pairs.push((start, end)),
            _ => return Err(at(array.py(), kind, i, "a number beyond 64 bits with a sign")),
        }
    }
    Ok(pairs)
}

fn from_items(value: &Bound<'_, PyAny>, kind: Kind) -> PyResult<Vec<(i64, i64)>> {
    let items = items_of(value).map_err(|error| unreadable(value, "a list", kind, error))?;
    let mut pairs = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        pairs.push(pair_from(item).map_err(|error| {
            if !error.is_instance_of::<PyException>(item.py()) {
                return error;
            }
            let shown = item.repr().map_or_else(|_| "?".into(), |r| r.to_string());
            at(item.py(), kind, i, &format!("expected a pair of whole numbers (start, end), got {shown:.60}"))
        })?);
    }
    Ok(pairs)
}

/// What an object of a caller's own class raises, or how it lies.
fn unreadable(value: &Bound<'_, PyAny>, what: &str, kind: Kind, error: PyErr) -> PyErr {
    let py = value.py();
    if !error.is_instance_of::<PyException>(py) || error.is_instance_of::<PyMemoryError>(py) {
        return error;
    }
    raise(py, kind, &format!("{what} that cannot be read: {error}"), &[])
}

fn pair_from(item: &Bound<'_, PyAny>) -> PyResult<(i64, i64)> {
    if let Ok(tuple) = item.cast_exact::<PyTuple>()
        && tuple.len() == 2
    {
        let (start, end) = (tuple.get_borrowed_item(0)?, tuple.get_borrowed_item(1)?);
        if start.is_exact_instance_of::<PyInt>() && end.is_exact_instance_of::<PyInt>() {
            return Ok((start.extract()?, end.extract()?));
        }
    }
    let [start, end]: [Bound<'_, PyAny>; 2] = item.extract()?;
    // `__index__` takes numpy's integers and refuses floats; a bool is no position.
    let whole = |n: &Bound<'_, PyAny>| -> PyResult<i64> {
        if n.is_instance_of::<PyBool>() {
            return Err(PyTypeError::new_err("bool"));
        }
        n.extract()
    };
    Ok((whole(&start)?, whole(&end)?))
}

fn at(py: Python<'_>, kind: Kind, index: usize, message: &str) -> PyErr {
    let name = kind.index_name();
    let noun = if matches!(kind, Kind::Offsets) { "offsets of token" } else { "span" };
    let place: Vec<_> = index.into_py_any(py).ok().map(|value| (name, value)).into_iter().collect();
    raise(py, kind, &format!("{noun} {index}: {message}"), &place)
}

/// int64 `[N, 2]`, `(-1, -1)` for an absent span.
pub fn spans_to_array<'py, U: Unit>(py: Python<'py>, spans: &[Option<Span<U>>]) -> PyResult<Bound<'py, PyArray2<i64>>> {
    let flat = spans.iter().flat_map(|span| span.map_or([-1, -1], |s| [to_i64(s.start()), to_i64(s.end())]));
    PyArray1::from_iter(py, flat).reshape([spans.len(), 2])
}

/// A position as numpy holds it; no text is so long that it would not fit.
pub fn to_i64(position: usize) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}
