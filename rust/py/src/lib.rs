//! The binding: translates, decides nothing. Numpy in, numpy out, the GIL released while the core works.

mod alignment;
mod arrays;
mod batch;
mod errors;
mod forks;
#[cfg(feature = "native")]
mod native;
mod native_render;
mod render;
mod table;
mod template;
mod template_input;

use arrays::{pairs_from, spans_to_array};
use chatspan_core::attribute::{control_tokens_in as core_control_tokens_in, mask_of_kinds};
use chatspan_core::locate::{Anchor, Blanks};
use chatspan_core::project::{Straddle, check_spans};
use chatspan_core::{locate as core_locate, project};
use errors::{Kind, raise, to_py_err, utf8};
use forks::detached;
use numpy::{PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use pyo3::types::PyString;
use table::{Offsets, TableRef};

fn straddle_from(py: Python<'_>, name: &str) -> PyResult<Straddle> {
    match name {
        "touch" => Ok(Straddle::Touch),
        "inside" => Ok(Straddle::Inside),
        "error" => Ok(Straddle::Error),
        "first" => Ok(Straddle::First),
        _ => {
            let what = format!("straddle={name:?}: say \"first\", \"touch\", \"inside\" or \"error\"");
            Err(raise(py, Kind::Option, &what, &[]))
        }
    }
}

fn blanks_from(py: Python<'_>, name: &str) -> PyResult<Blanks> {
    match name {
        "unknown" => Ok(Blanks::Unknown),
        "kept" => Ok(Blanks::Kept),
        "stripped" => Ok(Blanks::Stripped),
        _ => Err(raise(py, Kind::Option, &format!("blanks={name:?}: say \"unknown\", \"kept\" or \"stripped\""), &[])),
    }
}

fn all_utf8<'a>(strings: &'a [Bound<'_, PyString>], what: &str) -> PyResult<Vec<&'a str>> {
    strings.iter().enumerate().map(|(i, string)| utf8(string, what, Some(i))).collect()
}

fn anchor_from<'a>(
    (before, after): &'a (Bound<'_, PyString>, Bound<'_, PyString>),
    index: usize,
) -> PyResult<Anchor<'a>> {
    Ok(Anchor { before: utf8(before, "anchor", Some(index))?, after: utf8(after, "anchor", Some(index))? })
}

#[pyfunction]
#[pyo3(signature = (offsets, spans, *, straddle="touch"))]
fn token_spans<'py>(
    offsets: &Bound<'py, PyAny>,
    spans: &Bound<'py, PyAny>,
    straddle: &str,
) -> PyResult<Bound<'py, PyArray2<i64>>> {
    let py = offsets.py();
    let straddle = straddle_from(py, straddle)?;
    let table = TableRef::new(offsets)?;
    let pairs = pairs_from(spans, Kind::Span)?;
    let table = table.get();
    let found = detached(py, || {
        let spans = check_spans(pairs, table.text_length())?;
        project::token_spans(table, &spans, straddle)
    });
    spans_to_array(py, &found.map_err(|e| to_py_err(py, e))?)
}

#[pyfunction]
#[pyo3(signature = (offsets, spans, *, straddle="touch"))]
fn token_mask<'py>(
    offsets: &Bound<'py, PyAny>,
    spans: &Bound<'py, PyAny>,
    straddle: &str,
) -> PyResult<Bound<'py, PyArray1<bool>>> {
    let py = offsets.py();
    let straddle = straddle_from(py, straddle)?;
    let table = TableRef::new(offsets)?;
    let pairs = pairs_from(spans, Kind::Span)?;
    let table = table.get();
    let mask = detached(py, || {
        let spans = check_spans(pairs, table.text_length())?;
        project::token_mask(table, &spans, straddle)
    });
    Ok(PyArray1::from_vec(py, mask.map_err(|e| to_py_err(py, e))?))
}

/// For each token whether it is of one of these messages and kinds, by its first character.
#[pyfunction]
fn token_mask_of_kinds<'py>(
    offsets: &Bound<'py, Offsets>,
    message_index: PyReadonlyArray1<'py, i32>,
    kind: PyReadonlyArray1<'py, u8>,
    messages: Vec<i32>,
    kinds: Vec<u8>,
) -> PyResult<Bound<'py, PyArray1<bool>>> {
    let py = offsets.py();
    let (table, message_index, kind) = (&offsets.get().0, message_index.as_slice()?, kind.as_slice()?);
    let mask = detached(py, || mask_of_kinds(table, message_index, kind, &messages, &kinds));
    Ok(PyArray1::from_vec(py, mask.map_err(|e| to_py_err(py, e))?))
}

/// The control tokens that touch characters of the caller's data.
#[pyfunction]
fn control_tokens_in(
    input_ids: PyReadonlyArray1<'_, i64>,
    offsets: &Bound<'_, Offsets>,
    is_control: PyReadonlyArray1<'_, bool>,
    data: PyReadonlyArray2<'_, i64>,
) -> PyResult<Vec<usize>> {
    // No position of a text is negative.
    let position = |at: i64| u32::try_from(at).unwrap_or(0);
    let data: Vec<_> = data.as_slice()?.chunks_exact(2).map(|pair| (position(pair[0]), position(pair[1]))).collect();
    let ranges = offsets.get().0.ranges();
    Ok(core_control_tokens_in(input_ids.as_slice()?, ranges, is_control.as_slice()?, &data))
}

#[pyfunction]
#[pyo3(signature = (text, contents, *, anchors=None, blanks="unknown"))]
fn locate<'py>(
    text: &Bound<'py, PyString>,
    contents: Vec<Bound<'py, PyString>>,
    anchors: Option<Vec<(Bound<'py, PyString>, Bound<'py, PyString>)>>,
    blanks: &str,
) -> PyResult<Bound<'py, PyArray2<i64>>> {
    let py = text.py();
    let blanks = blanks_from(py, blanks)?;
    let text = utf8(text, "text", None)?;
    let contents = all_utf8(&contents, "content")?;
    let anchors: Option<Vec<Anchor<'_>>> = anchors
        .as_ref()
        .map(|pairs| pairs.iter().enumerate().map(|(i, pair)| anchor_from(pair, i)).collect::<PyResult<_>>())
        .transpose()?;
    let found = detached(py, || core_locate::locate(text, &contents, anchors.as_deref(), blanks));
    spans_to_array(py, &found.map_err(|e| to_py_err(py, e))?)
}

#[cfg(feature = "allocator")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The compiled core of chatspan.
#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<Offsets>()?;
    module.add_function(wrap_pyfunction!(token_spans, module)?)?;
    module.add_function(wrap_pyfunction!(token_mask, module)?)?;
    module.add_function(wrap_pyfunction!(token_mask_of_kinds, module)?)?;
    module.add_function(wrap_pyfunction!(locate, module)?)?;
    module.add_function(wrap_pyfunction!(control_tokens_in, module)?)?;
    module.add_function(wrap_pyfunction!(forks::look_up_numpy, module)?)?;
    module.add_function(wrap_pyfunction!(forks::before_fork, module)?)?;
    module.add_function(wrap_pyfunction!(forks::after_fork_in_parent, module)?)?;
    module.add_function(wrap_pyfunction!(forks::after_fork_in_child, module)?)?;
    #[cfg(feature = "native")]
    module.add_class::<native::NativeTokenizer>()?;
    module.add_class::<render::TurnScaffold>()?;
    module.add_class::<render::Segments>()?;
    module.add_function(wrap_pyfunction!(render::attribute_render, module)?)?;
    module.add_function(wrap_pyfunction!(render::attribute, module)?)?;
    module.add_class::<template::TemplateProgram>()?;
    module.add_class::<template_input::TemplateInput>()?;
    module.add_function(wrap_pyfunction!(template::render_templates, module)?)?;
    module.add_class::<native_render::NativeRender>()?;
    module.add_function(wrap_pyfunction!(batch::pad_rows, module)?)?;
    module.add_function(wrap_pyfunction!(alignment::pair_tokens, module)?)?;
    module.add_function(wrap_pyfunction!(alignment::align_columns, module)?)?;
    Ok(())
}
