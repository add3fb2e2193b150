//! Pairs of integers from what callers have (lists of pairs, numpy of any integer type), and numpy back.

use crate::errors::{Kind, raise};
use chatspan_core::span::{Span, Unit};
use numpy::{
    Element, PyArray2, PyArrayDescrMethods, PyArrayMethods, PyReadonlyArray2, PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList, PyTuple};

/// (start, end) pairs from a list of pairs or an integer array of shape `[N, 2]`.
pub fn pairs_from(value: &Bound<'_, PyAny>, kind: Kind) -> PyResult<Vec<(i64, i64)>> {
    if let Ok(array) = value.cast::<PyUntypedArray>() {
        return from_array(array, kind);
    }
    if let Ok(list) = value.cast::<PyList>() {
        return from_items(list.iter(), kind);
    }
    if let Ok(tuple) = value.cast::<PyTuple>() {
        return from_items(tuple.iter(), kind);
    }
    // Torch tensors and the like say themselves how they become numpy.
    if value.hasattr("__array__")? {
        let array = value.py().import("numpy")?.call_method1("asarray", (value,))?;
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
    macro_rules! try_types {
        ($($integer:ty),*) => {
            $(if let Ok(typed) = array.cast::<PyArray2<$integer>>() {
                return from_typed(&typed.try_readonly()?, kind);
            })*
        };
    }
    try_types!(i64, i32, u32, i16, u16, i8, u8, u64);
    // What is left is in another byte order.
    let native = dtype.call_method1("newbyteorder", ("=",))?;
    from_array(array.call_method1("astype", (native,))?.cast::<PyUntypedArray>()?, kind)
}

fn from_typed<T: Element + Copy + TryInto<i64>>(
    array: &PyReadonlyArray2<'_, T>,
    kind: Kind,
) -> PyResult<Vec<(i64, i64)>> {
    let py = array.py();
    let rows = array.as_array();
    let rows = rows.rows().into_iter().enumerate();
    rows.map(|(i, row)| match (row[0].try_into(), row[1].try_into()) {
        (Ok(start), Ok(end)) => Ok((start, end)),
        _ => Err(at(py, kind, i, "a number beyond 64 bits with a sign")),
    })
    .collect()
}

fn from_items<'py>(items: impl ExactSizeIterator<Item = Bound<'py, PyAny>>, kind: Kind) -> PyResult<Vec<(i64, i64)>> {
    let mut pairs = Vec::with_capacity(items.len());
    for (i, item) in items.enumerate() {
        pairs.push(pair_from(&item).map_err(|_| {
            let shown = item.repr().map_or_else(|_| "?".into(), |r| r.to_string());
            at(item.py(), kind, i, &format!("expected a pair of whole numbers (start, end), got {shown:.60}"))
        })?);
    }
    Ok(pairs)
}

/// One pair. The tuples that HF's tokenizers give take the short way.
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
        if n.is_instance_of::<pyo3::types::PyBool>() {
            return Err(pyo3::exceptions::PyTypeError::new_err("bool"));
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
    numpy::PyArray1::from_iter(py, flat).reshape([spans.len(), 2])
}

/// A position as numpy holds it; no text is so long that it would not fit.
pub fn to_i64(position: usize) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}
