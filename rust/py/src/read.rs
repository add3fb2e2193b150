//! Python's containers, read so that it does no harm if somebody changes them meanwhile, or if they lie.
//!
//! PyO3's own ways panic: an iterator over a dict that changes, a `Vec` of a sequence whose `__len__` says `2**62`.
//! Lists, tuples and dicts are read here in one go, in which no code of Python's runs, so they are as they were at one
//! time; a length that anything else claims is not believed.

use std::collections::HashMap;
use std::hash::Hash;

use pyo3::exceptions::{PyMemoryError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use pyo3::{Borrowed, FromPyObject, intern};

/// The items of a list or a tuple as they are now; of another sequence those that it gives.
pub fn items_of<'py>(value: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    match taken(value) {
        Some(items) => Ok(items),
        None => given(value, Ok),
    }
}

/// The items of a list or a tuple as they are now.
pub fn taken<'py>(value: &Bound<'py, PyAny>) -> Option<Vec<Bound<'py, PyAny>>> {
    if let Ok(list) = value.cast_exact::<PyList>() {
        return Some(list.iter().collect());
    }
    value.cast_exact::<PyTuple>().ok().map(|tuple| tuple.iter().collect())
}

/// What is read of the items of a sequence of any other kind, which says how many it has and may have others.
fn given<'py, T>(value: &Bound<'py, PyAny>, read: impl Fn(Bound<'py, PyAny>) -> PyResult<T>) -> PyResult<Vec<T>> {
    let said = value.len()?;
    let mut items = Vec::new();
    for item in value.try_iter()? {
        let item = read(item?)?;
        if items.try_reserve(1).is_err() {
            return Err(PyMemoryError::new_err(format!("no memory for more than {} items", items.len())));
        }
        items.push(item);
        if items.len() > said {
            break;
        }
    }
    if items.len() != said {
        let found = if items.len() > said { "more".to_owned() } else { items.len().to_string() };
        let what = format!("{} claims {said} items, but yields {found}", value.get_type().name()?);
        return Err(PyTypeError::new_err(what));
    }
    Ok(items)
}

/// The entries of a dict as they are now.
pub fn entries_of<'py>(dict: &Bound<'py, PyDict>) -> Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    dict.iter().collect()
}

/// An argument that is a sequence, but no text.
pub struct List<T>(pub Vec<T>);

impl<'py, T: for<'a> FromPyObject<'a, 'py>> FromPyObject<'_, 'py> for List<T> {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if !is_sequence(&value)? {
            return Err(PyTypeError::new_err(format!("expected a list, got {}", value.get_type().name()?)));
        }
        let read = |item: Bound<'py, PyAny>| item.extract::<T>().map_err(Into::into);
        match taken(&value) {
            Some(items) => items.into_iter().map(read).collect::<PyResult<_>>().map(Self),
            None => given(&value, read).map(Self),
        }
    }
}

fn is_sequence(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if value.is_exact_instance_of::<PyList>() {
        return Ok(true);
    }
    // A text and a dict have items of another kind.
    let other = value.is_instance_of::<PyString>() || value.is_instance_of::<PyDict>();
    Ok(!other && value.get_type().hasattr(intern!(value.py(), "__getitem__"))?)
}

/// The name of a choice, of which a caller may give anything: what is no valid Unicode is no name that is known.
pub struct Name(pub String);

impl Name {
    /// The one that is taken where none is given.
    pub fn of(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl FromPyObject<'_, '_> for Name {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        Ok(Self(value.cast::<PyString>()?.to_string_lossy().into_owned()))
    }
}

/// Two of a kind.
pub struct Pair<T>(pub T, pub T);

impl<'py, T: for<'a> FromPyObject<'a, 'py>> FromPyObject<'_, 'py> for Pair<T> {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match value.extract::<(T, T)>() {
            Ok((one, other)) => Ok(Self(one, other)),
            Err(_) => Err(PyTypeError::new_err(format!("expected a pair, got {}", value.get_type().name()?))),
        }
    }
}

/// An argument that is a dict.
pub struct Entries<K, V>(pub HashMap<K, V>);

impl<'py, K, V> FromPyObject<'_, 'py> for Entries<K, V>
where
    K: for<'a> FromPyObject<'a, 'py> + Eq + Hash,
    V: for<'a> FromPyObject<'a, 'py>,
{
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let entries = entries_of(&*value.cast::<PyDict>()?);
        let entry = |(key, value): &(Bound<'py, PyAny>, Bound<'py, PyAny>)| {
            Ok((key.extract::<K>().map_err(Into::into)?, value.extract::<V>().map_err(Into::into)?))
        };
        entries.iter().map(entry).collect::<PyResult<_>>().map(Self)
    }
}
