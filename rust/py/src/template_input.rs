//! What a template is given: Python's values, read once.

use std::sync::Arc;

use chatspan_core::render::{PartType, Role, Shape};
use chatspan_core::template::Shared;
use chatspan_core::template::input::{Input, Key, Place, Places};
use chatspan_core::template::string::Origin;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

/// What a template is given: messages and variables, read once.
#[pyclass(frozen, module = "chatspan._core")]
pub struct TemplateInput {
    pub variables: Vec<(Arc<str>, Input)>,
    pub places: Places,
    pub roles: Vec<Role>,
    pub shapes: Vec<Shape>,
}

#[pymethods]
impl TemplateInput {
    /// Reads the messages and the other variables; those in `plain` without places. What JSON has no type for is given
    /// to `prepare` first.
    #[new]
    fn new(
        messages: &Bound<'_, PyAny>,
        variables: &Bound<'_, PyDict>,
        plain: &Bound<'_, PyDict>,
        prepare: Option<Bound<'_, PyAny>>,
        drops_none: bool,
        reasoning_keys: Vec<String>,
    ) -> PyResult<Self> {
        let count = messages.len().unwrap_or(0);
        let mut reader = Reader { places: Places::with_capacity(PLACES * count), prepare, depth: 0, keys: Vec::new() };
        let mut read = Vec::with_capacity(variables.len() + plain.len() + 1);
        let mut items = Vec::with_capacity(count);
        for (index, message) in messages.try_iter()?.enumerate() {
            let index = i32::try_from(index)?;
            items.push(reader.message(&message?, index, drops_none, &reasoning_keys)?);
        }
        let roles = items.iter().map(|message| role_of(message).map_or(Role::Other, Role::of_name)).collect();
        let shapes = shapes_of(&items);
        read.push((Arc::from("messages"), Input::List(items, None)));
        for (name, value) in variables.iter() {
            let name: Arc<str> = name.extract::<&str>()?.into();
            let value = reader.value(&value, place(None, Key::Name(Arc::clone(&name)), -1))?;
            read.push((name, value));
        }
        for (name, value) in plain.iter() {
            read.push((name.extract::<&str>()?.into(), reader.without_place(&value)?));
        }
        Ok(Self { variables: read, places: reader.places, roles, shapes })
    }

    /// The role of each message; none where one is no string.
    fn roles<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let Some((_, Input::List(messages, _))) = self.variables.first() else { return Ok(None) };
        // There are few, which are made once.
        let mut known: Vec<(&str, Bound<'py, PyString>)> = Vec::new();
        let mut string = |role| match known.iter().find(|(own, _)| *own == role) {
            Some((_, string)) => string.clone(),
            None => {
                let string = PyString::intern(py, role);
                known.push((role, string.clone()));
                string
            }
        };
        let roles: Option<Vec<_>> = messages.iter().map(|message| role_of(message).map(&mut string)).collect();
        roles.map(|roles| PyTuple::new(py, roles)).transpose()
    }

    /// The fields of messages that are another one of the same message: index, name, name of the other.
    fn aliases(&self) -> Vec<(usize, String, String)> {
        let Some((_, Input::List(messages, _))) = self.variables.first() else { return Vec::new() };
        let mut found = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            let Input::Dict(entries, ..) = message else { continue };
            for (name, value) in entries {
                let (Input::Str(name, _), Some(origin)) = (name, value.origin()) else { continue };
                if let (Some(Key::Name(own)), _) = self.places.ends(origin)
                    && **own != **name
                {
                    found.push((index, name.to_string(), own.to_string()));
                }
            }
        }
        found
    }

    /// What it was read from, made anew.
    fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let found = PyDict::new(py);
        for (name, value) in &self.variables {
            found.set_item(&**name, to_python(py, value)?)?;
        }
        Ok(found)
    }
}

/// The role of a message, `""` where it has none.
fn role_of(message: &Input) -> Option<&str> {
    let Input::Dict(entries, ..) = message else { return None };
    match get(entries, "role") {
        None => Some(""),
        Some(Input::Str(role, _)) => Some(role),
        Some(_) => None,
    }
}

/// The shape of each message; the same ones are made once.
fn shapes_of(messages: &[Input]) -> Vec<Shape> {
    let mut known: Vec<Shape> = Vec::new();
    let mut own = String::new();
    let shape = |message: &Input| {
        own.clear();
        own.push_str(role_of(message).unwrap_or_default());
        if let Input::Dict(entries, ..) = message {
            let holds = |value: &Input| match value {
                Input::List(items, _) | Input::Tuple(items) => !items.is_empty(),
                Input::Dict(entries, ..) => !entries.is_empty(),
                _ => false,
            };
            let mut keys: Vec<&str> = Vec::new();
            for (key, value) in entries {
                if let Input::Str(key, _) = key
                    && **key != *"content"
                    && holds(value)
                {
                    keys.push(key);
                }
            }
            keys.sort_unstable();
            for key in keys {
                own.push('+');
                own.push_str(key);
            }
        }
        if let Some(shape) = known.iter().find(|shape| ***shape == *own) {
            return Arc::clone(shape);
        }
        known.push(Arc::from(own.as_str()));
        known[known.len() - 1].clone()
    };
    messages.iter().map(shape).collect()
}

/// Reads Python's values, and numbers the places of those that strings may come from.
struct Reader<'py> {
    places: Places,
    prepare: Option<Bound<'py, PyAny>>,
    depth: usize,
    /// Keys that were read, held so that none other gets their place in memory: most are the same object everywhere.
    keys: Vec<(Bound<'py, PyAny>, Arc<str>)>,
}

/// Most messages have at most so many values, themselves included.
const PLACES: usize = 4;
/// So many keys are looked for among those that were read.
const KEYS: usize = 16;

/// Containers inside of each other that are read: each takes room on the stack.
const DEPTH: usize = 200;

fn lacks<T>(what: &str) -> PyResult<T> {
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
fn place(parent: Option<Origin>, key: Key, message: i32) -> Place {
    Place { parent, key: Some(key), message, text: None }
}

impl<'py> Reader<'py> {
    fn message(
        &mut self,
        message: &Bound<'py, PyAny>,
        index: i32,
        drops_none: bool,
        reasoning_keys: &[String],
    ) -> PyResult<Input> {
        let prepared;
        let dict = match (message.cast_exact::<PyDict>(), &self.prepare) {
            (Ok(dict), _) => dict,
            (Err(_), Some(prepare)) => {
                prepared = prepare.call1((message,))?;
                prepared.cast_exact::<PyDict>()?
            }
            (Err(_), None) => return lacks("a message that is no dict"),
        };
        let origin = self.places.push(Place { parent: None, key: None, message: index, text: None });
        let mut entries = Vec::with_capacity(dict.len() + 2);
        for (key, value) in dict.iter() {
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

    fn value(&mut self, value: &Bound<'py, PyAny>, at: Place) -> PyResult<Input> {
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
            let entries: Vec<_> =
                dict.iter().map(|(key, value)| self.entry(&key, &value, origin, message)).collect::<PyResult<_>>()?;
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
        let Some(prepare) = &self.prepare else { return lacks("a value that JSON has no type for") };
        let prepared = prepare.call1((value,))?;
        self.value(&prepared, at)
    }

    fn items(
        &mut self,
        items: impl Iterator<Item = Bound<'py, PyAny>>,
        parent: Option<Origin>,
        message: i32,
    ) -> PyResult<Vec<Input>> {
        items.enumerate().map(|(index, item)| self.value(&item, place(parent, Key::Index(index), message))).collect()
    }

    /// A value of the template's own: a key, or a special token.
    fn without_place(&self, value: &Bound<'py, PyAny>) -> PyResult<Input> {
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
        } else if let Ok(list) = value.cast_exact::<PyList>() {
            Input::List(list.iter().map(|item| self.without_place(&item)).collect::<PyResult<_>>()?, None)
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            Input::Tuple(tuple.iter().map(|item| self.without_place(&item)).collect::<PyResult<_>>()?)
        } else {
            return lacks("such a key or special token");
        })
    }
}

fn get<'e>(entries: &'e [(Input, Input)], name: &str) -> Option<&'e Input> {
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

fn to_python<'py>(py: Python<'py>, value: &Input) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Input::None => py.None().into_bound(py),
        Input::Bool(b) => PyBool::new(py, *b).to_owned().into_any(),
        Input::Int(i, _) => i.into_pyobject(py)?.into_any(),
        Input::Float(f, _) => PyFloat::new(py, *f).into_any(),
        Input::Str(text, _) => PyString::new(py, text).into_any(),
        Input::List(items, _) => {
            let items = items.iter().map(|item| to_python(py, item)).collect::<PyResult<Vec<_>>>()?;
            PyList::new(py, items)?.into_any()
        }
        Input::Tuple(items) => {
            let items = items.iter().map(|item| to_python(py, item)).collect::<PyResult<Vec<_>>>()?;
            PyTuple::new(py, items)?.into_any()
        }
        Input::Dict(entries, ..) => {
            let dict = PyDict::new(py);
            for (key, value) in entries {
                dict.set_item(to_python(py, key)?, to_python(py, value)?)?;
            }
            dict.into_any()
        }
    })
}
