//! Renders as Python has them (runs that refer to the fields they come from) as the core takes them.

use std::collections::HashMap;

use chatspan_core::attribute::segments::Segments as CoreSegments;
use chatspan_core::attribute::{Attribution, attribute as core_attribute};
use chatspan_core::render::{
    Context, Cut, EndOfTurn, PartType, Region, Render, Role, Root, Run, Start, Way, check_owners, segments_of,
    without_results,
};
use chatspan_core::text::CharIndex;
use numpy::PyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyString, PyTuple, PyType};

use crate::arrays::{copied, to_i64};
use crate::border::{answer, guarded};
use crate::errors::{to_py_err, utf8};
use crate::forks::{detached, working};
use crate::read::{Entries, List, items_of};
use crate::scaffold::{Found, TurnScaffold};
use crate::table::TableRef;

/// The render cut by message and kind, and the region of each message.
#[pyclass(frozen, module = "chatspan._core")]
pub struct Segments {
    pub segments: CoreSegments,
    /// In the order of the messages.
    pub regions: Vec<(i32, Region)>,
    unknown: Vec<Context>,
    undecided: Vec<i32>,
    homeless: Vec<i32>,
}

impl From<Cut> for Segments {
    fn from(cut: Cut) -> Self {
        let Cut { segments, regions, unknown, undecided, homeless } = cut;
        Self { segments, regions: regions.into_iter().collect(), unknown, undecided, homeless }
    }
}

type Arrays<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i32>>, Bound<'py, PyArray1<u8>>);
/// (start, end, end of the header, end of turn, whether it is whole, how the header was found, whether results
/// interrupt it)
type RegionTuple = (usize, usize, Option<usize>, Option<(usize, usize)>, bool, Option<String>, bool);

fn start_from(name: Option<&str>) -> Option<Start> {
    [Start::Exact, Start::AnotherOpening, Start::NoPrompt].into_iter().find(|start| Some(start.name()) == name)
}

#[pymethods]
impl Segments {
    #[new]
    #[pyo3(signature = (edges, message_index, kind, regions=None, homeless=None, leads=None))]
    fn new(
        py: Python<'_>,
        edges: &Bound<'_, PyArray1<i64>>,
        message_index: &Bound<'_, PyArray1<i32>>,
        kind: &Bound<'_, PyArray1<u8>>,
        regions: Option<Entries<i32, RegionTuple>>,
        homeless: Option<List<i32>>,
        leads: Option<List<(usize, usize)>>,
    ) -> PyResult<Self> {
        guarded(|| {
            // A negative edge is one that does not rise.
            let edges = copied(edges)?.into_iter().map(|edge| usize::try_from(edge).unwrap_or(0)).collect();
            let segments = CoreSegments::new(edges, copied(message_index)?, copied(kind)?);
            let mut segments = segments.map_err(|e| to_py_err(py, e))?;
            for (start, end) in leads.map_or_else(Vec::new, |leads| leads.0) {
                segments.lead(start, end);
            }
            let regions = regions.map_or_else(Vec::new, |regions| regions_from(regions.0));
            let homeless = homeless.map_or_else(Vec::new, |homeless| homeless.0);
            Ok(Self { segments, regions, unknown: Vec::new(), undecided: Vec::new(), homeless })
        })
    }

    /// For pickle.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let (py, own) = (slf.py(), slf.get());
        answer(py, || {
            let (edges, message_index, kind) = own.as_arrays(py);
            let (homeless, leads) = (own.homeless.clone(), own.segments.leads().to_vec());
            Ok((slf.get_type(), (edges, message_index, kind, own.regions_of_messages(py)?, homeless, leads)))
        })
    }

    fn __len__(&self) -> PyResult<usize> {
        guarded(|| Ok(self.segments.len()))
    }

    fn to_arrays<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || Ok(self.as_arrays(py)))
    }

    /// The turns of messages, by their regions: (start, end), without what a runtime wrote. None where the header or the
    /// end of one cannot be told.
    fn turns<'py>(&self, py: Python<'py>, messages: List<i32>, end_of_turn: &str) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || Ok(EndOfTurn::of_name(end_of_turn).and_then(|end| self.turns_of(&messages.0, end))))
    }

    /// A range without what a runtime wrote in it.
    fn without_results<'py>(&self, py: Python<'py>, start: usize, end: usize) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || Ok(without_results(&self.segments, (start, end))))
    }

    /// What stands before turns whose opening is not known yet.
    #[getter]
    fn unknown<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || Ok(self.unknown.clone()))
    }

    /// The messages that only the row's own prompts tell the opening of.
    #[getter]
    fn undecided<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || Ok(self.undecided.clone()))
    }

    /// The assistants' messages that have text in the render and no part of it.
    #[getter]
    fn homeless<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || Ok(self.homeless.clone()))
    }

    /// Whether nothing has to be found out by other renders.
    #[getter]
    fn is_settled(&self) -> PyResult<bool> {
        guarded(|| {
            let interrupted = |(_, region): &(i32, Region)| region.interrupted;
            let asked = [self.unknown.is_empty(), self.undecided.is_empty(), self.homeless.is_empty()];
            Ok(asked == [true; 3] && !self.regions.iter().any(interrupted))
        })
    }

    fn regions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || self.regions_of_messages(py))
    }

    /// The region of one message; None if it was not rendered.
    fn region<'py>(&self, py: Python<'py>, message_index: i32) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || {
            let found = self.regions.iter().find(|(owner, _)| *owner == message_index);
            Ok(found.map(|(_, region)| region_tuple(region)))
        })
    }
}

fn region_tuple(region: &Region) -> RegionTuple {
    let found = region.found.map(|found| found.name().to_owned());
    let (header_end, end_of_turn) = (region.header_end, region.end_of_turn);
    (region.start, region.end, header_end, end_of_turn, region.whole, found, region.interrupted)
}

fn regions_from(regions: HashMap<i32, RegionTuple>) -> Vec<(i32, Region)> {
    let region = |(owner, (start, end, header_end, end_of_turn, whole, found, interrupted)): (i32, RegionTuple)| {
        let found = start_from(found.as_deref());
        (owner, Region { start, end, header_end, end_of_turn, whole, found, interrupted })
    };
    let mut regions: Vec<_> = regions.into_iter().map(region).collect();
    regions.sort_by_key(|(owner, _)| *owner);
    regions
}

impl Segments {
    fn as_arrays<'py>(&self, py: Python<'py>) -> Arrays<'py> {
        (
            PyArray1::from_iter(py, self.segments.edges().iter().map(|&edge| to_i64(edge))),
            PyArray1::from_slice(py, self.segments.message_index()),
            PyArray1::from_slice(py, self.segments.kind()),
        )
    }

    /// The turns of messages; see `turns` of Python's.
    pub fn turns_of(&self, messages: &[i32], end_of_turn: EndOfTurn) -> Option<Vec<(usize, usize)>> {
        if messages.iter().any(|message| self.homeless.contains(message)) {
            return None;
        }
        // Few are asked for that are not there, and regions are in the order of messages.
        let region = |message: &i32| self.regions.binary_search_by_key(message, |(owner, _)| *owner).ok();
        let mut found = Vec::with_capacity(messages.len());
        for region in messages.iter().filter_map(region).map(|at| self.regions[at].1) {
            let turn = region.turn(end_of_turn)?;
            if region.interrupted {
                found.extend(without_results(&self.segments, turn));
            } else {
                found.push(turn);
            }
        }
        Some(found)
    }

    fn regions_of_messages<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let regions = PyDict::new(py);
        for (owner, region) in &self.regions {
            regions.set_item(owner, region_tuple(region))?;
        }
        Ok(regions)
    }
}

/// Cuts a render by message and kind.
#[pyfunction]
#[pyo3(signature = (text, runs, owners, roles, shapes, scaffold, prompt_start, found=None))]
#[expect(clippy::too_many_arguments, reason = "a render as Python has it, part by part")]
pub fn attribute_render(
    text: &Bound<'_, PyString>,
    runs: &Bound<'_, PyList>,
    owners: List<(usize, i32)>,
    roles: List<Bound<'_, PyString>>,
    shapes: List<String>,
    scaffold: &Bound<'_, TurnScaffold>,
    prompt_start: Option<usize>,
    found: Option<Found>,
) -> PyResult<Segments> {
    let py = text.py();
    guarded(|| {
        // Names and a type are looked up once, by whoever is first.
        let _working = working(py);
        let roles = roles.0.iter().map(|role| Ok(Role::of_name(&role.to_cow()?))).collect::<PyResult<Vec<_>>>()?;
        let shapes: Vec<_> = shapes.0.iter().map(|shape| shape.as_str().into()).collect();
        let mut reader = RunReader { roles: &roles, contents: Vec::new(), known: HashMap::new() };
        let runs = items_of(runs)?;
        let mut read = Vec::with_capacity(runs.len());
        for run in &runs {
            read.extend(reader.read(run.cast::<PyTuple>()?)?);
        }
        let contents = reader.contents.iter().map(|content| content.to_str()).collect::<PyResult<Vec<_>>>()?;
        let (text, scaffold) = (utf8(text, "the render", None)?, &scaffold.get().0);
        let (findings, own) = Found::parts(found);
        let owners = own.unwrap_or(owners.0);
        check_owners(&owners, &roles, &shapes).map_err(|e| to_py_err(py, e))?;
        let cut = detached(py, || {
            let text = &CharIndex::new(text);
            let render = Render { text, runs: read, contents, owners, roles: &roles, shapes: &shapes, prompt_start };
            segments_of(&render, scaffold, &findings)
        });
        Ok(cut.into())
    })
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
        let Some(root) = root_of(&field, of.copied())? else { return Ok(None) };
        let at: i64 = run.get_borrowed_item(3)?.extract()?;
        let content = match (text, usize::try_from(at)) {
            (Some(text), Ok(at)) if root == Root::Content && of == Some(&Role::Assistant) => {
                self.content(text).map(|content| (content, at))
            }
            _ => None,
        };
        // What a call's name or id is written for, a call or its result, depends on whether it was written before.
        let field = if root == Root::Call { field.getattr(intern!(py, "_path"))?.hash()?.cast_unsigned() } else { 0 };
        Ok(Some(Run { start, end, root, message_index, field: u64::try_from(field)?, content }))
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

/// No field is inside of so many others: Python's own recursion ends before.
const DEEPEST: usize = 100_000;

/// Which field a Python object is, in a message of this role.
fn root_of(field: &Bound<'_, PyAny>, role: Option<Role>) -> PyResult<Option<Root>> {
    static ROOT: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = field.py();
    let root_type = ROOT.import(py, "chatspan.render.origins", "Root")?;
    let mut at = field.clone();
    let part = |at: &Bound<'_, PyAny>| -> PyResult<Option<PartType>> {
        let Ok(dict) = at.cast::<PyDict>() else { return Ok(None) };
        let own = dict.get_item("type")?;
        let own = own.as_ref().and_then(|own| own.cast::<PyString>().ok());
        Ok(own.map(|own| own.to_cow()).transpose()?.and_then(|own| PartType::of_name(&own)))
    };
    // From the field outwards; none for a place in a list.
    let mut keys: Vec<Option<String>> = Vec::new();
    let (mut innermost, mut steps) = (None, 0);
    while !at.get_type().is(root_type) {
        steps += 1;
        if steps > DEEPEST {
            return Err(PyValueError::new_err("a field whose root is not found"));
        }
        let key = at.getattr(intern!(py, "_key"))?;
        if !key.is_none() {
            innermost = innermost.or(part(&at)?);
            keys.push(name_of(&key)?);
        }
        at = at.getattr(intern!(py, "_parent"))?;
    }
    let path = at.getattr(intern!(py, "_path"))?;
    if let Some(first) = path.cast::<PyTuple>()?.iter().next() {
        keys.push(name_of(&first)?);
    }
    let mut way = Way::default();
    way.inside_of(innermost);
    for key in &keys {
        way.outwards(key.as_deref());
    }
    Ok(Root::of_way(&way, role))
}

fn name_of(key: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    match key.cast::<PyString>() {
        Ok(name) => Ok(Some(name.to_cow()?.into_owned())),
        Err(_) => Ok(None),
    }
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
pub fn attribute<'py>(offsets: &Bound<'py, PyAny>, segments: &Bound<'py, Segments>) -> PyResult<Bound<'py, PyAny>> {
    let py = offsets.py();
    answer(py, || {
        let table = TableRef::new(offsets)?;
        let (table, segments) = (table.get(), &segments.get().segments);
        let found = detached(py, || core_attribute(table, segments)).map_err(|e| to_py_err(py, e))?;
        Ok(to_arrays(py, found))
    })
}
