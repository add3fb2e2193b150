//! Chat templates that the core evaluates: what was read of Python's values in, renders out.

use std::sync::OnceLock;

use chatspan_core::parallel::in_parallel;
use chatspan_core::render::{Cut, Findings};
use chatspan_core::template::{Halt, Host, Limits, Program, Rendered, render};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::border::{self, guarded};
use crate::forks::detached;
use crate::native_render::NativeRender;
use crate::read::List;
use crate::render::Segments;
use crate::scaffold::TurnScaffold;
use crate::template_input::TemplateInput;

/// A template, ready to be evaluated.
#[pyclass(frozen, module = "chatspan._core")]
pub struct TemplateProgram(Program);

#[pymethods]
impl TemplateProgram {
    #[new]
    fn new(program: &str) -> PyResult<Self> {
        guarded(|| Program::parse(program).map(Self).map_err(PyValueError::new_err))
    }
}

/// A template, what it is given, whether a generation prompt is wanted; with scaffold the render is cut by message and
/// kind, too; at most so many steps, levels and bytes.
type Job = (Py<TemplateProgram>, Py<TemplateInput>, bool, Option<Py<TurnScaffold>>, (u64, usize, usize));

/// Renders on all cores. What each came to (`"rendered"`, `"raised"`, `"lacking"`, `"limit"`), with the render or what
/// is said.
#[pyfunction]
pub fn render_templates(py: Python<'_>, jobs: List<Job>, answer: Py<PyAny>) -> PyResult<Bound<'_, PyAny>> {
    border::answer(py, || {
        let (jobs, answers) = (jobs.0, Answers(answer));
        let limits = jobs.iter().map(|job| limits_from(job.4)).collect::<PyResult<Vec<_>>>()?;
        let found = detached(py, || {
            in_parallel(jobs.len(), |row| {
                let (program, input, add_generation_prompt, scaffold, _) = &jobs[row];
                let (program, input) = (&program.get().0, input.get());
                let (variables, prompt) = (&input.variables, *add_generation_prompt);
                let rendered = render(program, variables, &input.places, prompt, &answers, limits[row])?;
                let messages = (&*input.roles, &*input.shapes);
                let cut = scaffold.as_ref().map(|scaffold| {
                    rendered.cut(&input.places, messages, &scaffold.get().0, &Findings::default(), None)
                });
                Ok((rendered, cut))
            })
        });
        std::iter::zip(found, jobs).map(|(outcome, job)| said_of(py, outcome, job.1)).collect::<PyResult<Vec<_>>>()
    })
}

fn limits_from((steps, depth, bytes): (u64, usize, usize)) -> PyResult<Limits> {
    Limits::new(steps, depth, bytes).ok_or_else(|| {
        PyValueError::new_err(format!("steps={steps}, depth={depth}, bytes={bytes}: more than a render may take"))
    })
}

fn said_of(
    py: Python<'_>,
    outcome: Result<(Rendered, Option<Cut>), Halt>,
    input: Py<TemplateInput>,
) -> PyResult<(&'static str, Py<PyAny>)> {
    let said = |what: &str| PyString::new(py, what).into_any().unbind();
    Ok(match outcome {
        Ok((rendered, cut)) => {
            let cut = cut.map(|cut| Py::new(py, Segments::from(cut))).transpose()?;
            let render = NativeRender { rendered, input, cut, python_text: OnceLock::new(), blocks: OnceLock::new() };
            ("rendered", Py::new(py, render)?.into_any())
        }
        Err(Halt::Raised(what)) => ("raised", said(&what)),
        Err(Halt::Lacking(what)) => ("lacking", said(&what)),
        Err(Halt::Limit(what)) => ("limit", said(&what)),
    })
}

/// The running Python.
struct Answers(Py<PyAny>);

impl Host for Answers {
    fn ask(&self, question: &str, text: &str) -> Option<String> {
        Python::attach(|py| self.0.bind(py).call1((question, text)).ok()?.extract().ok())
    }
}
