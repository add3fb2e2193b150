//! Chat templates that the core evaluates: Python's values in, a render out, with the objects that it came from.

use std::rc::Rc;
use std::sync::Arc;

use chatspan_core::template::string::{FIRST_DUMP, Origin, Text};
use chatspan_core::template::value::{Dict, List, Value};
use chatspan_core::template::{Dump, Halt, Host, Limits, Program, Rendered, Style, render};
use chatspan_core::text::CharCounter;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple, PyType};

/// A template, ready to be evaluated.
#[pyclass(frozen, module = "chatspan._core")]
pub struct TemplateProgram(Program);

/// `(text, runs, owners, generation)`
type Written<'py> = (Bound<'py, PyString>, Bound<'py, PyList>, Vec<(usize, i32)>, Vec<(usize, usize)>);

#[pymethods]
impl TemplateProgram {
    #[new]
    fn new(program: &str) -> PyResult<Self> {
        Program::parse(program).map(Self).map_err(PyValueError::new_err)
    }

    /// Renders traced variables: what it came to (`"rendered"`, `"raised"`, `"lacking"`, `"limit"`), with the render or
    /// what is said.
    #[pyo3(signature = (variables, answer, make_dump, limits=None))]
    fn render<'py>(
        &self,
        variables: &Bound<'py, PyDict>,
        answer: Bound<'py, PyAny>,
        make_dump: &Bound<'py, PyAny>,
        limits: Option<(u64, usize, usize)>,
    ) -> PyResult<(&'static str, Bound<'py, PyAny>)> {
        let py = variables.py();
        let mut reader = Reader { objects: Vec::new(), texts: Vec::new(), messages: Vec::new() };
        let mut values = Vec::with_capacity(variables.len());
        for (name, value) in variables.iter() {
            match reader.read(&value, None)? {
                Ok(value) => values.push((name.extract::<String>()?, value)),
                Err(what) => return Ok(("lacking", PyString::new(py, &what).into_any())),
            }
        }
        let limits = limits.map_or_else(Limits::default, |(steps, depth, bytes)| Limits { steps, depth, bytes });
        let said = |what: &str| PyString::new(py, what).into_any();
        Ok(match render(&self.0, values, &reader.messages, &Answers(answer), limits) {
            Ok(rendered) => ("rendered", reader.written(py, &rendered, make_dump)?.into_pyobject(py)?.into_any()),
            Err(Halt::Raised(what)) => ("raised", said(&what)),
            Err(Halt::Lacking(what)) => ("lacking", said(&what)),
            Err(Halt::Limit(what)) => ("limit", said(&what)),
        })
    }
}

/// The running Python.
struct Answers<'py>(Bound<'py, PyAny>);

impl Host for Answers<'_> {
    fn ask(&self, question: &str, text: &str) -> Option<String> {
        self.0.call1((question, text)).ok()?.extract().ok()
    }
}

/// Reads Python's values, and numbers what they come from.
struct Reader<'py> {
    objects: Vec<Bound<'py, PyAny>>,
    /// Of those that are strings.
    texts: Vec<Option<Arc<str>>>,
    messages: Vec<i32>,
}

struct Types {
    field: Py<PyType>,
    dict: Py<PyType>,
    list: Py<PyType>,
    int: Py<PyType>,
    float: Py<PyType>,
}

fn types(py: Python<'_>) -> PyResult<&Types> {
    static TYPES: PyOnceLock<Types> = PyOnceLock::new();
    TYPES.get_or_try_init(py, || {
        let data = py.import("chatspan.traced_data")?;
        let named = |name: &str| Ok::<_, PyErr>(data.getattr(name)?.cast_into::<PyType>()?.unbind());
        Ok(Types {
            field: named("Field")?,
            dict: named("TracedDict")?,
            list: named("TracedList")?,
            int: named("TracedInt")?,
            float: named("TracedFloat")?,
        })
    })
}

/// A value, or what of it the machine lacks.
type Read = PyResult<Result<Value, String>>;

macro_rules! known {
    ($read:expr) => {
        match $read {
            Ok(value) => value,
            Err(what) => return Ok(Err(what)),
        }
    };
}

impl<'py> Reader<'py> {
    fn origin(&mut self, object: &Bound<'py, PyAny>, text: Option<Arc<str>>, message: i32) -> Option<Origin> {
        let origin = Origin::try_from(self.objects.len()).ok()?;
        self.objects.push(object.clone());
        self.texts.push(text);
        self.messages.push(message);
        Some(origin)
    }

    /// The value, inside of a message, or of what has none (-1), or in nothing that is traced.
    fn read(&mut self, value: &Bound<'py, PyAny>, message: Option<i32>) -> Read {
        let py = value.py();
        let kind = value.get_type();
        let types = types(py)?;
        let own = |reader: &Self| -> PyResult<i32> {
            let _ = reader;
            match message {
                Some(message) => Ok(message),
                None => value.getattr(intern!(py, "_message_index"))?.extract(),
            }
        };
        if kind.is(&types.field) {
            let Ok(text) = value.cast::<PyString>()?.to_str() else {
                return Ok(Err("a lone surrogate in a text".into()));
            };
            let text: Arc<str> = text.into();
            let message = own(self)?;
            let origin = self.origin(value, Some(Arc::clone(&text)), message);
            return Ok(Ok(Value::Str(match origin {
                Some(origin) => Text::field(text, origin),
                None => Text::plain(text),
            })));
        }
        if kind.is(&types.dict) {
            let index = own(self)?;
            let is_message = message.is_none()
                && value.getattr(intern!(py, "_key"))?.is_none()
                && value.getattr(intern!(py, "_parent"))?.getattr(intern!(py, "_path"))?.is_empty()?;
            let origin = self.origin(value, None, index);
            let entries = known!(self.entries(value.cast::<PyDict>()?, Some(index))?);
            let dict = Dict { entries, origin, message: is_message.then_some(index) };
            return Ok(Ok(Value::Dict(Rc::new(dict))));
        }
        if kind.is(&types.list) {
            let index = own(self)?;
            let origin = self.origin(value, None, index);
            let items = known!(self.items(value.cast::<PyList>()?.iter(), Some(index))?);
            return Ok(Ok(Value::List(Rc::new(List { items, origin }))));
        }
        if kind.is(&types.int) {
            let Ok(number) = value.extract::<i64>() else { return Ok(Err("a number of more than 64 bits".into())) };
            let index = own(self)?;
            return Ok(Ok(Value::Int(number, self.origin(value, None, index))));
        }
        if kind.is(&types.float) {
            let index = own(self)?;
            return Ok(Ok(Value::Float(value.extract()?, self.origin(value, None, index))));
        }
        self.read_plain(value, message)
    }

    fn read_plain(&mut self, value: &Bound<'py, PyAny>, message: Option<i32>) -> Read {
        let py = value.py();
        let kind = value.get_type();
        if value.is_none() {
            return Ok(Ok(Value::None));
        }
        if kind.is(py.get_type::<PyBool>()) {
            return Ok(Ok(Value::Bool(value.extract()?)));
        }
        if kind.is(py.get_type::<PyString>()) {
            return Ok(match value.cast::<PyString>()?.to_str() {
                Ok(text) => Ok(Value::str(text)),
                Err(_) => Err("a lone surrogate in a text".into()),
            });
        }
        if kind.is(py.get_type::<PyInt>()) {
            return Ok(value.extract::<i64>().map(Value::int).map_err(|_| "a number of more than 64 bits".into()));
        }
        if kind.is(py.get_type::<PyFloat>()) {
            return Ok(Ok(Value::Float(value.extract()?, None)));
        }
        if kind.is(py.get_type::<PyList>()) {
            let items = known!(self.items(value.cast::<PyList>()?.iter(), message)?);
            return Ok(Ok(Value::list(items)));
        }
        if kind.is(py.get_type::<PyTuple>()) {
            let items = known!(self.items(value.cast::<PyTuple>()?.iter(), message)?);
            return Ok(Ok(Value::Tuple(items.into())));
        }
        if kind.is(py.get_type::<PyDict>()) {
            let entries = known!(self.entries(value.cast::<PyDict>()?, message)?);
            return Ok(Ok(Value::Dict(Rc::new(Dict { entries, origin: None, message: None }))));
        }
        Ok(Err(format!("a value of type {}", kind.name()?)))
    }

    fn items(
        &mut self,
        items: impl Iterator<Item = Bound<'py, PyAny>>,
        message: Option<i32>,
    ) -> PyResult<Result<Vec<Value>, String>> {
        let mut found = Vec::new();
        for item in items {
            found.push(known!(self.read(&item, message)?));
        }
        Ok(Ok(found))
    }

    fn entries(
        &mut self,
        dict: &Bound<'py, PyDict>,
        message: Option<i32>,
    ) -> PyResult<Result<Vec<(Value, Value)>, String>> {
        let mut found = Vec::with_capacity(dict.len());
        for (key, value) in dict.iter() {
            let key = known!(self.read_plain(&key, message)?);
            let value = known!(self.read(&value, message)?);
            found.push((key, value));
        }
        Ok(Ok(found))
    }

    /// The render in characters, with the objects that it came from.
    fn written(
        &self,
        py: Python<'py>,
        rendered: &Rendered,
        make_dump: &Bound<'py, PyAny>,
    ) -> PyResult<Written<'py>> {
        let root = &rendered.root;
        let mut dumps: Vec<Option<Bound<'py, PyAny>>> = vec![None; rendered.dumps.len()];
        let mut chars = CharCounter::new(&root.text);
        let mut place = |byte: u32| chars.chars_before(byte as usize);
        let runs = PyList::empty(py);
        for run in &root.runs {
            let (origin, text) = match run.origin.checked_sub(FIRST_DUMP) {
                None => {
                    let at = run.origin as usize;
                    (self.objects[at].clone(), self.texts[at].as_deref())
                }
                Some(at) => {
                    let at = at as usize;
                    let dump = &rendered.dumps[at];
                    if dumps[at].is_none() {
                        dumps[at] = Some(self.dump(dump, make_dump)?);
                    }
                    (dumps[at].clone().unwrap_or_else(|| py.None().into_bound(py)), Some(&*dump.text))
                }
            };
            let start_in_origin = match (usize::try_from(run.at), text) {
                (Ok(at), Some(text)) => i64::try_from(CharCounter::new(text).chars_before(at)).unwrap_or(-1),
                _ => -1,
            };
            runs.append((place(run.start), place(run.end), origin, start_in_origin))?;
        }
        let mut chars = CharCounter::new(&root.text);
        let owners = root.owners.iter().map(|(start, owner)| (chars.chars_before(*start as usize), *owner)).collect();
        let mut chars = CharCounter::new(&root.text);
        let mut place = |byte: u32| chars.chars_before(byte as usize);
        let generation = root.generation.iter().map(|(start, end)| (place(*start), place(*end))).collect();
        Ok((PyString::new(py, &root.text), runs, owners, generation))
    }

    fn dump(&self, dump: &Dump, make_dump: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let container = &self.objects[dump.container as usize];
        match &dump.style {
            Style::Repr => make_dump.call1((container, &*dump.text, make_dump.py().None())),
            Style::Json { ensure_ascii, indent, separators, sort_keys } => {
                let style = (*ensure_ascii, indent.as_deref(), separators.clone(), *sort_keys);
                make_dump.call1((container, &*dump.text, style))
            }
        }
    }
}
