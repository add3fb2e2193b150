//! What a template wrote, and where it came from when it is asked.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::OnceLock;

use chatspan_core::render::{Role, Root, check_owners};
use chatspan_core::template::input::{Key, Places};
use chatspan_core::template::string::{FIRST_DUMP, Origin};
use chatspan_core::template::{Rendered, Style, char_in};
use chatspan_core::text::CharIndex;
use numpy::{PyArray1, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyString, PyTuple};

use crate::arrays::to_i64;
use crate::border::{answer, guarded};
use crate::errors::to_py_err;
use crate::forks::detached;
use crate::read::List;
use crate::render::Segments;
use crate::scaffold::{Found, TurnScaffold};
use crate::template_input::TemplateInput;

/// What a template wrote, and where it came from.
#[pyclass(frozen, module = "chatspan._core")]
pub struct NativeRender {
    pub rendered: Rendered,
    pub input: Py<TemplateInput>,
    /// By message and kind, where it was cut when it was made.
    pub cut: Option<Py<Segments>>,
    pub python_text: OnceLock<Py<PyString>>,
    /// Of the index of its characters, once it was asked for.
    pub blocks: OnceLock<Vec<u32>>,
}

/// (start, end, origin, start in the origin)
type RunTuple<'py> = (usize, usize, Bound<'py, PyAny>, i64);
/// (start, end, message index, path, character of the field)
type FieldTuple<'py> = (usize, usize, i32, Bound<'py, PyTuple>, i64);
/// How a dump was written, for Python.
type DumpStyle<'d> = (bool, Option<&'d str>, Option<(&'d str, &'d str)>, bool);

#[pymethods]
impl NativeRender {
    /// The render.
    #[getter]
    fn text<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let make = || PyString::new(py, self.as_str()).unbind();
        answer(py, || Ok(self.python_text.get_or_init(make).bind(py).clone()))
    }

    /// How many characters it has.
    #[getter]
    fn length(&self) -> PyResult<usize> {
        guarded(|| Ok(self.chars().chars_before(self.as_str().len())))
    }

    /// The render from a character on; nothing of the front is made into a text of Python.
    fn text_from<'py>(&self, py: Python<'py>, start_char: usize) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || Ok(PyString::new(py, self.chars().slice(start_char, usize::MAX))))
    }

    /// Whether it begins with all of another.
    fn starts_with(&self, other: &Bound<'_, Self>) -> PyResult<bool> {
        guarded(|| Ok(self.as_str().starts_with(other.get().as_str())))
    }

    /// What it was made of.
    #[getter]
    fn input(&self, py: Python<'_>) -> PyResult<Py<TemplateInput>> {
        guarded(|| Ok(self.input.clone_ref(py)))
    }

    /// Where the generation prompt begins; -1 if there is none.
    #[getter]
    fn prompt_start_char(&self) -> PyResult<i64> {
        let start = self.rendered.prompt_start;
        guarded(|| Ok(start.map_or(-1, |start| to_i64(self.chars().chars_before(start as usize)))))
    }

    /// From which character on which message was being rendered.
    fn owners<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || Ok(self.rendered.owners(&self.chars())))
    }

    /// The characters of each generation block.
    fn generation<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || {
            let chars = self.chars();
            let place = |byte: u32| chars.chars_before(byte as usize);
            let blocks = self.rendered.root.generation.iter();
            Ok(blocks.map(|(start, end)| (place(*start), place(*end))).collect::<Vec<_>>())
        })
    }

    /// The runs of messages' contents, without what a runtime wrote into an assistant's: (message index, start, end), in
    /// characters.
    fn contents<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || Ok(self.runs_of_contents()))
    }

    /// The characters that the caller's data contributed, in order: int64 `[N, 2]`.
    fn data<'py>(&self, py: Python<'py>, structural_roles: List<PyBackedStr>) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || {
            let ranges = self.rendered.data(&self.input.get().places, &structural_roles.0);
            let flat = ranges.iter().flat_map(|&(start, end)| [i64::from(start), i64::from(end)]);
            PyArray1::from_iter(py, flat).reshape([ranges.len(), 2])
        })
    }

    /// The runs, each with its field: (start, end, message index, path, character of the field, -1 for no copy). None
    /// where a container was written, whose text has fields of its own.
    fn fields<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || self.fields_of_runs(py))
    }

    /// The runs that end behind a character, as in `fields`. A container that was written is one field.
    fn fields_behind<'py>(&self, py: Python<'py>, start_char: usize) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || self.fields_of_runs_behind(py, start_char))
    }

    /// The runs. `find(message_index, path)` gives what stands at a place, `make_dump(container, text, style)` the
    /// origin of a container that was written.
    fn runs<'py>(
        &self,
        py: Python<'py>,
        find: &Bound<'py, PyAny>,
        make_dump: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || self.runs_with_origins(py, find, make_dump))
    }

    /// The render cut by message and kind: as it was when it was made; now, if it was not, or more was found out since.
    #[pyo3(signature = (scaffold, found=None, *, again=false))]
    fn segments(
        &self,
        py: Python<'_>,
        scaffold: &Bound<'_, TurnScaffold>,
        found: Option<Found>,
        again: bool,
    ) -> PyResult<Py<Segments>> {
        guarded(|| {
            if let (Some(cut), None, false) = (&self.cut, &found, again) {
                return Ok(cut.clone_ref(py));
            }
            let (input, scaffold) = (self.input.get(), &scaffold.get().0);
            let (findings, owners) = Found::parts(found);
            let messages = (&*input.roles, &*input.shapes);
            if let Some(owners) = &owners {
                check_owners(owners, messages.0, messages.1).map_err(|e| to_py_err(py, e))?;
            }
            let cut = detached(py, || self.rendered.cut(&input.places, messages, scaffold, &findings, owners));
            Py::new(py, Segments::from(cut))
        })
    }
}

impl NativeRender {
    pub fn as_str(&self) -> &str {
        &self.rendered.root.text
    }

    fn runs_of_contents(&self) -> Vec<(i32, usize, usize)> {
        let input = self.input.get();
        let (places, chars) = (&input.places, self.chars());
        let assistant = |field: Origin| {
            let index = usize::try_from(places.message(field)).ok();
            index.and_then(|index| input.roles.get(index)) == Some(&Role::Assistant)
        };
        let is_content = |field: Origin| {
            let way = places.way(field);
            let result = || Root::of_way(&way, Some(Role::Assistant)) == Some(Root::Result);
            way.first == Some("content") && !(assistant(field) && result())
        };
        let runs = self.rendered.root.runs.iter().filter_map(|run| {
            let field = self.rendered.field(run);
            let message_index = places.message(field);
            let place = |byte: u32| chars.chars_before(byte as usize);
            (message_index >= 0 && is_content(field)).then(|| (message_index, place(run.start), place(run.end)))
        });
        runs.collect()
    }

    fn fields_of_runs<'py>(&self, py: Python<'py>) -> PyResult<Option<Vec<FieldTuple<'py>>>> {
        let places = &self.input.get().places;
        let chars = self.chars();
        let mut paths: HashMap<Origin, Bound<'py, PyTuple>> = HashMap::new();
        let mut found = Vec::with_capacity(self.rendered.root.runs.len());
        for run in &self.rendered.root.runs {
            if run.origin >= FIRST_DUMP {
                return Ok(None);
            }
            let text = places.get(run.origin).and_then(|place| place.text.as_deref());
            let at = text.and_then(|text| char_in(run, text)).map_or(-1, to_i64);
            let path = match paths.entry(run.origin) {
                Entry::Occupied(known) => known.get().clone(),
                Entry::Vacant(new) => new.insert(path_of(py, places, run.origin)?).clone(),
            };
            let (start, end) = (chars.chars_before(run.start as usize), chars.chars_before(run.end as usize));
            found.push((start, end, places.message(run.origin), path, at));
        }
        Ok(Some(found))
    }

    fn fields_of_runs_behind<'py>(&self, py: Python<'py>, start_char: usize) -> PyResult<Vec<FieldTuple<'py>>> {
        let places = &self.input.get().places;
        let chars = self.chars();
        let mut found = Vec::new();
        for run in &self.rendered.root.runs {
            let end = chars.chars_before(run.end as usize);
            if end <= start_char {
                continue;
            }
            let (origin, text) = match run.origin.checked_sub(FIRST_DUMP) {
                None => (run.origin, places.get(run.origin).and_then(|place| place.text.as_deref())),
                Some(at) => (self.rendered.dumps[at as usize].container, None),
            };
            let at = text.and_then(|text| char_in(run, text)).map_or(-1, to_i64);
            let start = chars.chars_before(run.start as usize);
            found.push((start, end, places.message(origin), path_of(py, places, origin)?, at));
        }
        Ok(found)
    }

    fn runs_with_origins<'py>(
        &self,
        py: Python<'py>,
        find: &Bound<'py, PyAny>,
        make_dump: &Bound<'py, PyAny>,
    ) -> PyResult<Vec<RunTuple<'py>>> {
        let places = &self.input.get().places;
        let mut objects: Vec<Option<Bound<'py, PyAny>>> = vec![None; places.len()];
        let mut dumps: Vec<Option<Bound<'py, PyAny>>> = vec![None; self.rendered.dumps.len()];
        let chars = self.chars();
        let mut found = Vec::with_capacity(self.rendered.root.runs.len());
        for run in &self.rendered.root.runs {
            let (object, text) = match run.origin.checked_sub(FIRST_DUMP) {
                None => {
                    let text = places.get(run.origin).and_then(|place| place.text.as_deref());
                    (object(py, places, &mut objects, run.origin, find)?, text)
                }
                Some(at) => {
                    let dump = &self.rendered.dumps[at as usize];
                    let known = &mut dumps[at as usize];
                    if known.is_none() {
                        let container = object(py, places, &mut objects, dump.container, find)?;
                        let style: Option<DumpStyle<'_>> = match &dump.style {
                            Style::Repr => None,
                            Style::Json { ensure_ascii, indent, separators, sort_keys } => {
                                let separators = separators.as_ref().map(|(item, key)| (item.as_str(), key.as_str()));
                                Some((*ensure_ascii, indent.as_deref(), separators, *sort_keys))
                            }
                        };
                        *known = Some(make_dump.call1((container, &*dump.text, style))?);
                    }
                    (known.clone().unwrap_or_else(|| py.None().into_bound(py)), Some(&*dump.text))
                }
            };
            let (start, end) = (chars.chars_before(run.start as usize), chars.chars_before(run.end as usize));
            found.push((start, end, object, text.and_then(|text| char_in(run, text)).map_or(-1, to_i64)));
        }
        Ok(found)
    }

    fn chars(&self) -> CharIndex<'_> {
        let blocks = self.blocks.get_or_init(|| CharIndex::new(self.as_str()).into_blocks());
        CharIndex::known(self.as_str(), blocks)
    }
}

/// The Python object at a place.
fn object<'py>(
    py: Python<'py>,
    places: &Places,
    known: &mut [Option<Bound<'py, PyAny>>],
    origin: Origin,
    find: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let at = origin as usize;
    if let Some(object) = &known[at] {
        return Ok(object.clone());
    }
    let object = find.call1((places.message(origin), path_of(py, places, origin)?))?;
    known[at] = Some(object.clone());
    Ok(object)
}

/// The path of a place, as Python has it.
fn path_of<'py>(py: Python<'py>, places: &Places, origin: Origin) -> PyResult<Bound<'py, PyTuple>> {
    let steps = places.path(origin).into_iter().map(|key| match key {
        Key::Name(name) => Ok(PyString::intern(py, name).into_any()),
        Key::Index(index) => Ok(index.into_pyobject(py)?.into_any()),
    });
    PyTuple::new(py, steps.collect::<PyResult<Vec<_>>>()?)
}
