//! Python's values as a template takes them, read once.

use std::sync::Arc;

use chatspan_core::render::PartType;
use chatspan_core::template::Shared;
use chatspan_core::template::input::{Input, Key, Place, Places};
use chatspan_core::template::string::Origin;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::dict::BoundDictIterator;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::read::{entries_of, items_of};

/// Reads Python's values, and numbers the places of those that strings may come from.
///
/// While nothing of Python's code runs, nothing changes. So a reader goes through dicts and lists as they are, and ends
/// at the first value that `prepare` would have to make plain: this one is Python's code, which may change what is being
/// read, or let another thread do so. A careful reader then begins again, and takes all that a container has before it
/// reads any of it.
pub struct Reader<'py> {
    pub places: Places,
    prepare: Option<Bound<'py, PyAny>>,
    depth: usize,
    careful: bool,
    /// Whether it ended at what only `prepare` makes plain.
    pub met_odd: bool,
    /// Keys that were read, held so that none other gets their place in memory: most are the same object everywhere.
    keys: Vec<(Bound<'py, PyAny>, Arc<str>)>,
}

/// Most messages have at most so many values, themselves included.
const PLACES: usize = 4;
/// So many keys are looked for among those that were read.
const KEYS: usize = 16;

/// Containers inside of each other that are read: each takes room on the stack.
const DEPTH: usize = 200;

pub fn lacks<T>(what: &str) -> PyResult<T> {
    Err(PyValueError::new_err(what.to_owned()))
}

/// Texts from this length on are not copied, but borrowed of Python.
const BORROWED: usize = 64;

fn text_of(value: &Bound<'_, PyAny>) -> PyResult<Shared> {
    let string = value.cast::<PyString>()?;
    let Ok(text) = string.to_str() else { return lacks("a lone surrogate in a text") };
    if text.len() < BORROWED {
        return Ok(text.into());
    }
    Ok(Shared::Held(Arc::new(PyBackedStr::try_from(string.clone())?)))
}

/// The place of what is no text, or not known to be one.
pub fn place(parent: Option<Origin>, key: Key, message: i32) -> Place {
    Place { parent, key: Some(key), message, text: None }
}

impl<'py> Reader<'py> {
    pub fn new(messages: usize, prepare: Option<Bound<'py, PyAny>>, careful: bool) -> Self {
        let places = Places::with_capacity(PLACES * messages);
        Self { places, prepare, depth: 0, careful, met_odd: false, keys: Vec::new() }
    }

    fn in_dict(&self, dict: &Bound<'py, PyDict>) -> Parts<BoundDictIterator<'py>> {
        if self.careful { Parts::Taken(entries_of(dict).into_iter()) } else { Parts::There(dict.iter()) }
    }

    /// What `prepare` makes of a value that JSON has no type for.
    fn prepared(&mut self, value: &Bound<'py, PyAny>, what: &str) -> PyResult<Bound<'py, PyAny>> {
        match &self.prepare {
            Some(prepare) if self.careful => prepare.call1((value,)),
            prepare => {
                self.met_odd = prepare.is_some();
                lacks(what)
            }
        }
    }

    pub fn message(
        &mut self,
        message: &Bound<'py, PyAny>,
        index: i32,
        drops_none: bool,
        reasoning_keys: &[String],
    ) -> PyResult<Input> {
        let prepared;
        let dict = match message.cast_exact::<PyDict>() {
            Ok(dict) => dict,
            Err(_) => {
                prepared = self.prepared(message, "a message that is no dict")?;
                prepared.cast_exact::<PyDict>()?
            }
        };
        let origin = self.places.push(Place { parent: None, key: None, message: index, text: None });
        let mut entries = Vec::with_capacity(dict.len() + 2);
        for (key, value) in self.in_dict(dict) {
            if !(drops_none && value.is_none()) {
                entries.push(self.entry(&key, &value, origin, index)?);
            }
        }
        let reasoning =
            reasoning_keys.iter().find_map(|name| get(&entries, name).filter(|value| **value != Input::None));
        if let Some(reasoning) = reasoning.cloned() {
            alias(&mut entries, reasoning);
        }
        Ok(Input::Dict(entries, origin, true))
    }

    fn entry(
        &mut self,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
        parent: Option<Origin>,
        message: i32,
    ) -> PyResult<(Input, Input)> {
        let name = self.key(key)?;
        let value = self.value(value, place(parent, Key::Name(Arc::clone(&name)), message))?;
        Ok((Input::Str(name.into(), None), value))
    }

    fn key(&mut self, key: &Bound<'py, PyAny>) -> PyResult<Arc<str>> {
        if let Some((_, name)) = self.keys.iter().find(|(known, _)| known.is(key)) {
            return Ok(Arc::clone(name));
        }
        if !key.is_exact_instance_of::<PyString>() {
            return lacks("a key that is no string");
        }
        let name: Arc<str> = (&*text_of(key)?).into();
        if self.keys.len() < KEYS {
            self.keys.push((key.clone(), Arc::clone(&name)));
        }
        Ok(name)
    }

    pub fn value(&mut self, value: &Bound<'py, PyAny>, at: Place) -> PyResult<Input> {
        if self.depth == DEPTH {
            return lacks("values nested so deeply");
        }
        self.depth += 1;
        let read = self.at_depth(value, at);
        self.depth -= 1;
        read
    }

    fn at_depth(&mut self, value: &Bound<'py, PyAny>, at: Place) -> PyResult<Input> {
        if value.is_exact_instance_of::<PyString>() {
            let text = text_of(value)?;
            let origin =
                if text.is_empty() { None } else { self.places.push(Place { text: Some(text.clone()), ..at }) };
            return Ok(Input::Str(text, origin));
        }
        if value.is_none() {
            return Ok(Input::None);
        }
        let message = at.message;
        if let Ok(dict) = value.cast_exact::<PyDict>() {
            let origin = self.places.push(at);
            let mut entries = Vec::with_capacity(dict.len());
            for (key, value) in self.in_dict(dict) {
                entries.push(self.entry(&key, &value, origin, message)?);
            }
            if let (Some(origin), Some(Input::Str(own, _))) = (origin, get(&entries, "type"))
                && let Some(part) = PartType::of_name(own)
            {
                self.places.is_part(origin, part);
            }
            return Ok(Input::Dict(entries, origin, false));
        }
        if let Ok(list) = value.cast_exact::<PyList>() {
            let origin = self.places.push(at);
            return Ok(Input::List(self.items(list.iter(), origin, message)?, origin));
        }
        if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            // What it is in is a place, but it has none itself.
            let origin = self.places.push(at);
            return Ok(Input::Tuple(self.items(tuple.iter(), origin, message)?));
        }
        if value.is_exact_instance_of::<PyBool>() {
            return Ok(Input::Bool(value.extract()?));
        }
        if value.is_exact_instance_of::<PyInt>() {
            let Ok(number) = value.extract() else { return lacks("a number of more than 64 bits") };
            return Ok(Input::Int(number, self.places.push(at)));
        }
        if value.is_exact_instance_of::<PyFloat>() {
            return Ok(Input::Float(value.extract()?, self.places.push(at)));
        }
        let prepared = self.prepared(value, "a value that JSON has no type for")?;
        self.value(&prepared, at)
    }

    fn items(
        &mut self,
        items: impl Iterator<Item = Bound<'py, PyAny>>,
        parent: Option<Origin>,
        message: i32,
    ) -> PyResult<Vec<Input>> {
        let items =
            if self.careful { Parts::Taken(items.collect::<Vec<_>>().into_iter()) } else { Parts::There(items) };
        items.enumerate().map(|(index, item)| self.value(&item, place(parent, Key::Index(index), message))).collect()
    }
}

/// What is in a container.
enum Parts<There: Iterator> {
    There(There),
    Taken(std::vec::IntoIter<There::Item>),
}

impl<There: Iterator> Iterator for Parts<There> {
    type Item = There::Item;

    #[inline]
    fn next(&mut self) -> Option<There::Item> {
        match self {
            Self::There(there) => there.next(),
            Self::Taken(taken) => taken.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::There(there) => there.size_hint(),
            Self::Taken(taken) => taken.size_hint(),
        }
    }
}

/// A value of the template's own: a key, or a special token.
pub fn without_place(value: &Bound<'_, PyAny>, depth: usize) -> PyResult<Input> {
    if depth == DEPTH {
        return lacks("values nested so deeply");
    }
    let items = || items_of(value)?.iter().map(|item| without_place(item, depth + 1)).collect::<PyResult<_>>();
    Ok(if value.is_exact_instance_of::<PyString>() {
        Input::Str(text_of(value)?, None)
    } else if value.is_none() {
        Input::None
    } else if value.is_exact_instance_of::<PyBool>() {
        Input::Bool(value.extract()?)
    } else if value.is_exact_instance_of::<PyInt>() {
        let Ok(number) = value.extract() else { return lacks("a number of more than 64 bits") };
        Input::Int(number, None)
    } else if value.is_exact_instance_of::<PyFloat>() {
        Input::Float(value.extract()?, None)
    } else if value.is_exact_instance_of::<PyList>() {
        Input::List(items()?, None)
    } else if value.is_exact_instance_of::<PyTuple>() {
        Input::Tuple(items()?)
    } else {
        return lacks("such a key or special token");
    })
}

pub fn get<'e>(entries: &'e [(Input, Input)], name: &str) -> Option<&'e Input> {
    entries.iter().find(|(key, _)| matches!(key, Input::Str(own, _) if **own == *name)).map(|(_, value)| value)
}

/// A message's reasoning under the names that templates know, as transformers gives it.
fn alias(entries: &mut Vec<(Input, Input)>, reasoning: Input) {
    let name = |name: &str| Input::Str(name.into(), None);
    let is = |key: &Input, name: &str| matches!(key, Input::Str(own, _) if **own == *name);
    match entries.iter().position(|(key, _)| is(key, "thinking")) {
        // Its value stays, its place is the first.
        Some(at) => {
            let own = entries.remove(at);
            entries.insert(0, own);
        }
        None => entries.insert(0, (name("thinking"), reasoning.clone())),
    }
    match entries.iter_mut().find(|(key, _)| is(key, "reasoning_content")) {
        Some((_, value)) => *value = reasoning,
        None => entries.push((name("reasoning_content"), reasoning)),
    }
}
