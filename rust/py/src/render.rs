//! Renders as Python has them (runs that refer to the fields they come from) as the core takes them.

use std::collections::HashMap;

use chatspan_core::attribute::segments::Segments as CoreSegments;
use chatspan_core::attribute::{Attribution, attribute as core_attribute};
use chatspan_core::render::{
    EndOfTurn, Region, Render, Role, Root, Run, TurnScaffold as CoreTurnScaffold, segments_of,
};
use chatspan_core::text::CharIndex;
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyString, PyTuple, PyType};

use crate::arrays::to_i64;
use crate::errors::{to_py_err, utf8};
use crate::table::TableRef;

/// What a template writes around assistants' messages.
#[pyclass(frozen, module = "chatspan._core")]
pub struct TurnScaffold(pub CoreTurnScaffold);

#[pymethods]
impl TurnScaffold {
    #[new]
    fn new(
        header: Option<String>,
        header_after_tool: Option<String>,
        ends: Vec<String>,
        open_tag: String,
        close_tag: String,
        control_tokens: Vec<String>,
    ) -> Self {
        Self(CoreTurnScaffold { header, header_after_tool, ends, open_tag, close_tag, control_tokens })
    }
}

/// The render cut by message and kind, and the region of each message.
#[pyclass(frozen, module = "chatspan._core")]
pub struct Segments {
    pub segments: CoreSegments,
    /// In the order of the messages.
    pub regions: Vec<(i32, Region)>,
}

type Arrays<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i32>>, Bound<'py, PyArray1<u8>>);
/// The arguments of `Segments`.
type Pickled<'py> =
    (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i32>>, Bound<'py, PyArray1<u8>>, Bound<'py, PyDict>);
/// (start, end, end of the header, end of turn, whether it is whole)
type RegionTuple = (usize, usize, Option<usize>, Option<(usize, usize)>, bool);

#[pymethods]
impl Segments {
    #[new]
    #[pyo3(signature = (edges, message_index, kind, regions=HashMap::new()))]
    fn new(
        py: Python<'_>,
        edges: PyReadonlyArray1<'_, i64>,
        message_index: PyReadonlyArray1<'_, i32>,
        kind: PyReadonlyArray1<'_, u8>,
        regions: HashMap<i32, RegionTuple>,
    ) -> PyResult<Self> {
        // A negative edge is one that does not rise.
        let edges = edges.as_slice()?.iter().map(|&edge| usize::try_from(edge).unwrap_or(0)).collect();
        let segments = CoreSegments::new(edges, message_index.as_slice()?.to_vec(), kind.as_slice()?.to_vec());
        let mut regions: Vec<_> = regions
            .into_iter()
            .map(|(owner, (start, end, header_end, end_of_turn, whole))| {
                (owner, Region { start, end, header_end, end_of_turn, whole })
            })
            .collect();
        regions.sort_by_key(|(owner, _)| *owner);
        Ok(Self { segments: segments.map_err(|e| to_py_err(py, e))?, regions })
    }

    /// For pickle.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyType>, Pickled<'py>)> {
        let (py, own) = (slf.py(), slf.get());
        let (edges, message_index, kind) = own.to_arrays(py);
        Ok((slf.get_type(), (edges, message_index, kind, own.regions(py)?)))
    }

    fn __len__(&self) -> usize {
        self.segments.len()
    }

    fn to_arrays<'py>(&self, py: Python<'py>) -> Arrays<'py> {
        (
            PyArray1::from_iter(py, self.segments.edges().iter().map(|&edge| to_i64(edge))),
            PyArray1::from_slice(py, self.segments.message_index()),
            PyArray1::from_slice(py, self.segments.kind()),
        )
    }

    /// The turns of messages, by their regions: (start, end). None where the header or the end of one cannot be told.
    fn turns(&self, messages: Vec<i32>, end_of_turn: &str) -> Option<Vec<(usize, usize)>> {
        let end_of_turn = EndOfTurn::of_name(end_of_turn)?;
        // Few are asked for that are not there, and regions are in the order of messages.
        let region = |message: &i32| self.regions.binary_search_by_key(message, |(owner, _)| *owner).ok();
        let found = messages.iter().filter_map(region);
        found.map(|at| self.regions[at].1.turn(end_of_turn)).collect()
    }

    fn regions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let regions = PyDict::new(py);
        for (owner, region) in &self.regions {
            let tuple: RegionTuple = (region.start, region.end, region.header_end, region.end_of_turn, region.whole);
            regions.set_item(owner, tuple)?;
        }
        Ok(regions)
    }
}

/// Cuts a render by message and kind.
#[pyfunction]
pub fn attribute_render(
    text: &Bound<'_, PyString>,
    runs: &Bound<'_, PyList>,
    owners: Vec<(usize, i32)>,
    roles: Vec<Bound<'_, PyString>>,
    scaffold: &Bound<'_, TurnScaffold>,
    prompt_start: Option<usize>,
) -> PyResult<Segments> {
    let py = text.py();
    let roles = roles.iter().map(|role| Ok(Role::of_name(&role.to_cow()?))).collect::<PyResult<Vec<_>>>()?;
    let mut reader = RunReader { roles: &roles, contents: Vec::new(), known: HashMap::new() };
    let mut read = Vec::with_capacity(runs.len());
    for run in runs.iter() {
        read.extend(reader.read(run.cast::<PyTuple>()?)?);
    }
    let contents = reader.contents.iter().map(|content| content.to_str()).collect::<PyResult<Vec<_>>>()?;
    let (text, scaffold) = (utf8(text, "the render", None)?, &scaffold.get().0);
    let (segments, regions) = py.detach(|| {
        let text = &CharIndex::new(text);
        segments_of(&Render { text, runs: read, contents, owners, roles: &roles, prompt_start }, scaffold)
    });
    Ok(Segments { segments, regions: regions.into_iter().collect() })
}

struct RunReader<'r, 'py> {
    roles: &'r [Role],
    contents: Vec<Bound<'py, PyString>>,
    /// The place in `contents` of those that are there, by identity.
    known: HashMap<usize, usize>,
}

impl<'py> RunReader<'_, 'py> {
    /// The run of `(start, end, origin, origin_start)`; none for the name of a role.
    fn read(&mut self, run: &Bound<'py, PyTuple>) -> PyResult<Option<Run>> {
        let py = run.py();
        let (start, end) = (run.get_borrowed_item(0)?.extract()?, run.get_borrowed_item(1)?.extract()?);
        let origin = run.get_item(2)?;
        let text = origin.cast::<PyString>().ok();
        // What is no string is a container, or the dump of one.
        let field = if text.is_none()
            && let Some(container) = origin.getattr_opt(intern!(py, "container"))?
        {
            container
        } else {
            origin.clone()
        };
        let message_index: i32 = origin.getattr(intern!(py, "_message_index"))?.extract()?;
        let of = usize::try_from(message_index).ok().and_then(|index| self.roles.get(index));
        let (first, last) = ends_of(&field)?;
        let Some(root) = Root::of_ends(first.as_deref(), last.as_deref(), of.is_some()) else { return Ok(None) };
        let at: i64 = run.get_borrowed_item(3)?.extract()?;
        let content = match (text, usize::try_from(at)) {
            (Some(text), Ok(at)) if root == Root::Content && of == Some(&Role::Assistant) => {
                self.content(text).map(|content| (content, at))
            }
            _ => None,
        };
        Ok(Some(Run { start, end, root, message_index, content }))
    }

    /// The place of a content among the contents; none if it is no valid Unicode, which no tag is found in.
    fn content(&mut self, text: &Bound<'py, PyString>) -> Option<usize> {
        let id = text.as_ptr() as usize;
        if let Some(&place) = self.known.get(&id) {
            return Some(place);
        }
        text.to_str().ok()?;
        self.contents.push(text.clone());
        self.known.insert(id, self.contents.len() - 1);
        Some(self.contents.len() - 1)
    }
}

/// The first and the last key on the way to a field; none for one that is no name.
fn ends_of(field: &Bound<'_, PyAny>) -> PyResult<(Option<String>, Option<String>)> {
    static ROOT: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = field.py();
    let root_type = ROOT.import(py, "chatspan.render.origins", "Root")?;
    let mut at = field.clone();
    let mut key = None;
    let mut leaf = None;
    while !at.get_type().is(root_type) {
        let own = at.getattr(intern!(py, "_key"))?;
        if !own.is_none() {
            leaf.get_or_insert_with(|| own.clone());
            key = Some(own);
        }
        at = at.getattr(intern!(py, "_parent"))?;
    }
    let path = at.getattr(intern!(py, "_path"))?;
    let path = path.cast::<PyTuple>()?;
    if !path.is_empty() {
        key = Some(path.get_item(0)?);
    }
    let name = |key: Option<Bound<'_, PyAny>>| match key.as_ref().and_then(|key| key.cast::<PyString>().ok()) {
        Some(name) => Ok::<_, PyErr>(Some(name.to_cow()?.into_owned())),
        None => Ok(None),
    };
    Ok((name(key)?, name(leaf)?))
}

/// (message index of each token, its kind, the tokens that straddle)
pub type Attributed<'py> = (Bound<'py, PyArray1<i32>>, Bound<'py, PyArray1<u8>>, Bound<'py, PyArray1<i64>>);

/// The arrays of an attribution.
pub fn to_arrays(py: Python<'_>, found: Attribution) -> Attributed<'_> {
    (
        PyArray1::from_vec(py, found.message_index),
        PyArray1::from_vec(py, found.kind),
        PyArray1::from_vec(py, found.straddling),
    )
}

/// Attributes each token.
#[pyfunction]
pub fn attribute<'py>(offsets: &Bound<'py, PyAny>, segments: &Bound<'py, Segments>) -> PyResult<Attributed<'py>> {
    let py = offsets.py();
    let table = TableRef::new(offsets)?;
    let (table, segments) = (table.get(), &segments.get().segments);
    let found = py.detach(|| core_attribute(table, segments)).map_err(|e| to_py_err(py, e))?;
    Ok(to_arrays(py, found))
}
