//! A look at the values of a row: what of the ways of reading one it does not need.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString};

use crate::border::answer;

/// Containers inside of each other that are looked into: each takes room on the stack.
const DEPTH: usize = 200;
/// So many different keys of messages, and roles, are told apart.
const KEYS: usize = 64;
const ROLES: usize = 16;

/// Whether a dict somewhere in the columns' values has a null that is no `content`; none where a value is not plain:
/// what only Python's own reading of it tells.
#[pyfunction]
pub fn survey<'py>(columns: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
    answer(columns.py(), || {
        let mut has_nulls = false;
        // No code of Python's runs here, so nothing changes.
        let are_plain = columns.iter().all(|(_, value)| value.is_none() || is_plain(&value, 0, &mut has_nulls));
        Ok(are_plain.then_some(has_nulls))
    })
}

fn is_plain(value: &Bound<'_, PyAny>, depth: usize, has_nulls: &mut bool) -> bool {
    if value.is_exact_instance_of::<PyString>() || value.is_exact_instance_of::<PyBool>() {
        return true;
    }
    if depth == DEPTH {
        return false;
    }
    if let Ok(dict) = value.cast_exact::<PyDict>() {
        return dict.iter().all(|(key, part)| {
            let Ok(key) = key.cast_exact::<PyString>() else { return false };
            if part.is_none() {
                *has_nulls = *has_nulls || !is_named(key, "content");
                return true;
            }
            is_plain(&part, depth + 1, has_nulls)
        });
    }
    if let Ok(list) = value.cast_exact::<PyList>() {
        return list.iter().all(|part| part.is_none() || is_plain(&part, depth + 1, has_nulls));
    }
    if let Ok(float) = value.cast_exact::<PyFloat>() {
        return !float.value().is_nan();
    }
    value.is_exact_instance_of::<PyInt>() && value.extract::<i64>().is_ok()
}

fn is_named(key: &Bound<'_, PyString>, name: &str) -> bool {
    key.to_str().is_ok_and(|key| key == name)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Role,
    Content,
    Other,
}

/// What the messages of a list have.
#[derive(Default)]
struct Seen<'py> {
    /// By their places in memory: most are the same object everywhere.
    keys: Vec<(Bound<'py, PyString>, Key)>,
    roles: Vec<Bound<'py, PyString>>,
    not_all_texts: bool,
    has_parts: bool,
    has_nulls: bool,
}

/// keys, roles, whether each content is a text, whether one is neither text nor null, whether another field is null
type Answer<'py> = (Vec<Bound<'py, PyString>>, Vec<Bound<'py, PyString>>, bool, bool, bool);

/// What the messages have, if they are dicts with texts as keys and a text as role: their keys, some perhaps twice; their
/// roles; whether each has a content that is a text; whether one is neither text nor null; whether another field is null.
#[pyfunction]
pub fn survey_messages<'py>(messages: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyAny>> {
    answer(messages.py(), || {
        let mut seen = Seen::default();
        let are_usual = messages.iter().all(|message| seen.add(&message).is_some());
        let Seen { keys, roles, not_all_texts, has_parts, has_nulls } = seen;
        let keys = keys.into_iter().map(|(key, _)| key).collect();
        let found: Answer<'py> = (keys, roles, !not_all_texts, has_parts, has_nulls);
        Ok(are_usual.then_some(found))
    })
}

impl<'py> Seen<'py> {
    /// A message; none where it is not as usual.
    fn add(&mut self, message: &Bound<'py, PyAny>) -> Option<()> {
        let message = message.cast_exact::<PyDict>().ok()?;
        let (mut has_role, mut has_text) = (false, false);
        for (key, value) in message.iter() {
            match self.key(key)? {
                Key::Role => {
                    self.role(value.cast_into_exact::<PyString>().ok()?)?;
                    has_role = true;
                }
                Key::Content => {
                    has_text = value.is_exact_instance_of::<PyString>();
                    self.has_parts = self.has_parts || !(has_text || value.is_none());
                }
                Key::Other => self.has_nulls = self.has_nulls || value.is_none(),
            }
        }
        self.not_all_texts = self.not_all_texts || !has_text;
        has_role.then_some(())
    }

    fn key(&mut self, key: Bound<'py, PyAny>) -> Option<Key> {
        if let Some((_, known)) = self.keys.iter().find(|(other, _)| other.is(&key)) {
            return Some(*known);
        }
        let key = key.cast_into_exact::<PyString>().ok().filter(|_| self.keys.len() < KEYS)?;
        let kind = match key.to_str() {
            Ok("role") => Key::Role,
            Ok("content") => Key::Content,
            _ => Key::Other,
        };
        self.keys.push((key, kind));
        Some(kind)
    }

    fn role(&mut self, role: Bound<'py, PyString>) -> Option<()> {
        let text = role.to_str().ok()?;
        let is_known = |other: &Bound<'py, PyString>| other.is(&role) || is_named(other, text);
        if !self.roles.iter().any(is_known) {
            if self.roles.len() == ROLES {
                return None;
            }
            self.roles.push(role.clone());
        }
        Some(())
    }
}
