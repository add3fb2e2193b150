//! What a template wrote, and where it came from when it is asked.

use std::sync::{Arc, OnceLock};

use chatspan_core::render::{Render, Role, Root, Run, segments_of};
use chatspan_core::template::input::{Key, Places};
use chatspan_core::template::string::{FIRST_DUMP, Origin, Run as ByteRun};
use chatspan_core::template::{Rendered, Style};
use chatspan_core::text::CharCounter;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::render::{Habits, Segments};
use crate::template::TemplateInput;

/// What a template wrote, and where it came from.
#[pyclass(frozen, module = "chatspan._core")]
pub struct NativeRender {
    pub rendered: Rendered,
    pub input: Py<TemplateInput>,
    pub python_text: OnceLock<Py<PyString>>,
}

/// (start, end, origin, start in the origin)
type RunTuple<'py> = (usize, usize, Bound<'py, PyAny>, i64);
/// How a dump was written, for Python.
type DumpStyle<'d> = (bool, Option<&'d str>, Option<(&'d str, &'d str)>, bool);

#[pymethods]
impl NativeRender {
    /// The render.
    #[getter]
    fn text<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        self.python_text.get_or_init(|| PyString::new(py, &self.rendered.root.text).unbind()).bind(py).clone()
    }

    /// What it was made of.
    #[getter]
    fn input(&self, py: Python<'_>) -> Py<TemplateInput> {
        self.input.clone_ref(py)
    }

    /// From which character on which message was being rendered.
    fn owners(&self) -> Vec<(usize, i32)> {
        let root = &self.rendered.root;
        let mut chars = CharCounter::new(&root.text);
        root.owners.iter().map(|(start, owner)| (chars.chars_before(*start as usize), *owner)).collect()
    }

    /// The characters of each generation block.
    fn generation(&self) -> Vec<(usize, usize)> {
        let root = &self.rendered.root;
        let mut chars = CharCounter::new(&root.text);
        let mut place = |byte: u32| chars.chars_before(byte as usize);
        root.generation.iter().map(|(start, end)| (place(*start), place(*end))).collect()
    }

    /// The runs. `find(message_index, path)` gives what stands at a place, `make_dump(container, text, style)` the
    /// origin of a container that was written.
    fn runs<'py>(
        &self,
        py: Python<'py>,
        find: &Bound<'py, PyAny>,
        make_dump: &Bound<'py, PyAny>,
    ) -> PyResult<Vec<RunTuple<'py>>> {
        let places = &self.input.get().places;
        let mut objects: Vec<Option<Bound<'py, PyAny>>> = vec![None; places.len()];
        let mut dumps: Vec<Option<Bound<'py, PyAny>>> = vec![None; self.rendered.dumps.len()];
        let mut chars = CharCounter::new(&self.rendered.root.text);
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
            found.push((start, end, object, char_in(run, text)));
        }
        Ok(found)
    }

    /// The render cut by message and kind.
    fn segments(
        &self,
        py: Python<'_>,
        roles: Vec<Bound<'_, PyString>>,
        owners: Vec<(usize, i32)>,
        habits: &Bound<'_, Habits>,
        prompt_start: Option<usize>,
    ) -> PyResult<Segments> {
        let roles = roles.iter().map(|role| Ok(Role::of_name(&role.to_cow()?))).collect::<PyResult<Vec<_>>>()?;
        let places = &self.input.get().places;
        let habits = &habits.get().0;
        let (segments, regions) = py.detach(|| {
            let (runs, contents) = self.core_runs(places, &roles);
            let contents = contents.iter().map(|content| &**content).collect();
            let text = self.rendered.root.text.as_str();
            segments_of(&Render { text, runs, contents, owners, roles: &roles, prompt_start }, habits)
        });
        Ok(Segments { segments, regions: regions.into_iter().collect() })
    }
}

impl NativeRender {
    /// Runs as the core cuts by them, and the whole texts of contents.
    fn core_runs(&self, places: &Places, roles: &[Role]) -> (Vec<Run>, Vec<Arc<str>>) {
        let mut contents: Vec<(Origin, Arc<str>)> = Vec::new();
        let mut chars = CharCounter::new(&self.rendered.root.text);
        let mut found = Vec::with_capacity(self.rendered.root.runs.len());
        for run in &self.rendered.root.runs {
            let (start, end) = (chars.chars_before(run.start as usize), chars.chars_before(run.end as usize));
            let field = match run.origin.checked_sub(FIRST_DUMP) {
                Some(at) => self.rendered.dumps[at as usize].container,
                None => run.origin,
            };
            let Some(root) = root_of(places, field) else { continue };
            let message_index = places.message(field);
            let of = usize::try_from(message_index).ok().and_then(|index| roles.get(index));
            // A keyword of the template may have any name.
            let root = if of.is_none() && matches!(root, Root::Content | Root::Reasoning | Root::Call) {
                Root::Other
            } else {
                root
            };
            let text = if field == run.origin { places.get(field).and_then(|place| place.text.as_ref()) } else { None };
            let content = match (text, usize::try_from(char_in(run, text.map(|text| &**text)))) {
                (Some(text), Ok(at)) if root == Root::Content && of == Some(&Role::Assistant) => {
                    let known = contents.iter().position(|(origin, _)| *origin == field);
                    let place = known.unwrap_or_else(|| {
                        contents.push((field, Arc::clone(text)));
                        contents.len() - 1
                    });
                    Some((place, at))
                }
                _ => None,
            };
            found.push(Run { start, end, root, message_index, content });
        }
        (found, contents.into_iter().map(|(_, text)| text).collect())
    }
}

/// The character of its origin's text that a run begins at; -1 for one that is no copy.
fn char_in(run: &ByteRun, text: Option<&str>) -> i64 {
    match (usize::try_from(run.at), text) {
        (Ok(at), Some(text)) => i64::try_from(CharCounter::new(text).chars_before(at)).unwrap_or(-1),
        _ => -1,
    }
}

/// What the first key on the way to a field says, or the last one where that is a part of a content.
fn root_of(places: &Places, field: Origin) -> Option<Root> {
    let named = |key: Option<&Key>| match key {
        Some(Key::Name(name)) => Root::of_key(name),
        _ => Some(Root::Other),
    };
    let (first, last) = places.ends(field);
    let root = named(first)?;
    if root == Root::Content && named(last) == Some(Root::Reasoning) {
        return Some(Root::Reasoning);
    }
    Some(root)
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
    let steps = places
        .path(origin)
        .into_iter()
        .map(|key| match key {
            Key::Name(name) => Ok(PyString::new(py, name).into_any()),
            Key::Index(index) => Ok(index.into_pyobject(py)?.into_any()),
        })
        .collect::<PyResult<Vec<_>>>()?;
    let object = find.call1((places.message(origin), PyTuple::new(py, steps)?))?;
    known[at] = Some(object.clone());
    Ok(object)
}
