//! What a template is given: Python's values, read once.

use std::sync::Arc;

use chatspan_core::render::{Role, Shape};
use chatspan_core::template::input::{Input, Key, Places};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyList, PyString, PyTuple};

use crate::border::{answer, guarded};
use crate::read::{List, entries_of, taken};
use crate::reader::{Reader, get, lacks, place, without_place};

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
        reasoning_keys: List<String>,
    ) -> PyResult<Self> {
        guarded(|| {
            let Some(messages) = taken(messages) else { return lacks("messages of a wrong form") };
            let reasoning_keys = reasoning_keys.0;
            let (variables, plain) = (entries_of(variables), entries_of(plain));
            let given = Given { messages, variables, plain, drops_none, reasoning_keys };
            let mut reader = Reader::new(given.messages.len(), prepare.clone(), false);
            match given.read(&mut reader) {
                Err(_) if reader.met_odd => given.read(&mut Reader::new(given.messages.len(), prepare, true)),
                read => read,
            }
        })
    }

    /// The role of each message; none where one is no string.
    fn roles<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || self.roles_of_messages(py))
    }

    /// The fields of messages that are another one of the same message: index, name, name of the other.
    fn aliases<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || Ok(self.aliased_fields()))
    }

    /// What it was read from, made anew.
    fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || {
            let found = PyDict::new(py);
            for (name, value) in &self.variables {
                found.set_item(&**name, to_python(py, value)?)?;
            }
            Ok(found)
        })
    }
}

/// What is to be read.
struct Given<'py> {
    messages: Vec<Bound<'py, PyAny>>,
    variables: Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>,
    plain: Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>,
    drops_none: bool,
    reasoning_keys: Vec<String>,
}

impl<'py> Given<'py> {
    fn read(&self, reader: &mut Reader<'py>) -> PyResult<TemplateInput> {
        let mut read = Vec::with_capacity(self.variables.len() + self.plain.len() + 1);
        let mut items = Vec::with_capacity(self.messages.len());
        for (index, message) in self.messages.iter().enumerate() {
            items.push(reader.message(message, i32::try_from(index)?, self.drops_none, &self.reasoning_keys)?);
        }
        let roles = items.iter().map(|message| role_of(message).map_or(Role::Other, Role::of_name)).collect();
        let shapes = shapes_of(&items);
        read.push((Arc::from("messages"), Input::List(items, None)));
        for (name, value) in &self.variables {
            let name: Arc<str> = name.extract::<&str>()?.into();
            let value = reader.value(value, place(None, Key::Name(Arc::clone(&name)), -1))?;
            read.push((name, value));
        }
        for (name, value) in &self.plain {
            read.push((name.extract::<&str>()?.into(), without_place(value, 0)?));
        }
        Ok(TemplateInput { variables: read, places: std::mem::take(&mut reader.places), roles, shapes })
    }
}

impl TemplateInput {
    fn roles_of_messages<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
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

    fn aliased_fields(&self) -> Vec<(usize, String, String)> {
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
