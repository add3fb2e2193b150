//! The binding: translates, decides nothing. Numpy in, numpy out, the GIL released while the core works.

mod alignment;
mod arrays;
mod batch;
mod border;
mod errors;
mod forks;
#[cfg(feature = "native")]
mod json;
mod labelled;
#[cfg(feature = "native")]
mod native;
mod native_render;
mod read;
mod reader;
mod render;
mod scaffold;
mod survey;
mod table;
mod template;
mod template_input;

use arrays::{copied_rows, pairs_from, readable, spans_to_array};
use border::answer;
use chatspan_core::attribute::{control_tokens_in as core_control_tokens_in, mask_of_kinds};
use chatspan_core::locate::{Anchor, Blanks};
use chatspan_core::project::{Straddle, check_spans};
use chatspan_core::{locate as core_locate, project};
use errors::{Kind, raise, to_py_err, utf8};
use forks::detached;
use numpy::{PyArray1, PyArray2};
use pyo3::prelude::*;
use pyo3::types::PyString;
use read::{List, Name, Pair};
use table::{Offsets, TableRef};

fn straddle_from(py: Python<'_>, name: &str) -> PyResult<Straddle> {
    match name {
        "touch" => Ok(Straddle::Touch),
        "inside" => Ok(Straddle::Inside),
        "error" => Ok(Straddle::Error),
        "first" => Ok(Straddle::First),
        _ => {
            let what = format!("straddle={name:?}: use \"first\", \"touch\", \"inside\" or \"error\"");
            Err(raise(py, Kind::Option, &what, &[]))
        }
    }
}

fn blanks_from(py: Python<'_>, name: &str) -> PyResult<Blanks> {
    match name {
        "unknown" => Ok(Blanks::Unknown),
        "kept" => Ok(Blanks::Kept),
        "stripped" => Ok(Blanks::Stripped),
        _ => Err(raise(py, Kind::Option, &format!("blanks={name:?}: use \"unknown\", \"kept\" or \"stripped\""), &[])),
    }
}

fn all_utf8<'a>(strings: &'a [Bound<'_, PyString>], what: &str) -> PyResult<Vec<&'a str>> {
    strings.iter().enumerate().map(|(i, string)| utf8(string, what, Some(i))).collect()
}

fn anchor_from<'a>(Pair(before, after): &'a Pair<Bound<'_, PyString>>, index: usize) -> PyResult<Anchor<'a>> {
    Ok(Anchor { before: utf8(before, "anchor", Some(index))?, after: utf8(after, "anchor", Some(index))? })
}

#[pyfunction]
#[pyo3(
    signature = (offsets, spans, *, straddle=Name::of("touch")),
    text_signature = "(offsets, spans, *, straddle='touch')"
)]
fn token_spans<'py>(
    offsets: &Bound<'py, PyAny>,
    spans: &Bound<'py, PyAny>,
    straddle: Name,
) -> PyResult<Bound<'py, PyAny>> {
    let py = offsets.py();
    answer(py, || {
        let straddle = straddle_from(py, &straddle.0)?;
        let table = TableRef::new(offsets)?;
        let pairs = pairs_from(spans, Kind::Span)?;
        let table = table.get();
        let found = detached(py, || {
            let spans = check_spans(pairs, table.text_length())?;
            project::token_spans(table, &spans, straddle)
        });
        spans_to_array(py, &found.map_err(|e| to_py_err(py, e))?)
    })
}

#[pyfunction]
#[pyo3(
    signature = (offsets, spans, *, straddle=Name::of("touch")),
    text_signature = "(offsets, spans, *, straddle='touch')"
)]
fn token_mask<'py>(
    offsets: &Bound<'py, PyAny>,
    spans: &Bound<'py, PyAny>,
    straddle: Name,
) -> PyResult<Bound<'py, PyAny>> {
    let py = offsets.py();
    answer(py, || {
        let straddle = straddle_from(py, &straddle.0)?;
        let table = TableRef::new(offsets)?;
        let pairs = pairs_from(spans, Kind::Span)?;
        let table = table.get();
        let mask = detached(py, || {
            let spans = check_spans(pairs, table.text_length())?;
            project::token_mask(table, &spans, straddle)
        });
        Ok(PyArray1::from_vec(py, mask.map_err(|e| to_py_err(py, e))?))
    })
}

/// For each token whether it is of one of these messages and kinds, by its first character.
#[pyfunction]
fn token_mask_of_kinds<'py>(
    offsets: &Bound<'py, Offsets>,
    message_index: &Bound<'py, PyArray1<i32>>,
    kind: &Bound<'py, PyArray1<u8>>,
    messages: List<i32>,
    kinds: List<u8>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = offsets.py();
    answer(py, || {
        let (message_index, kind) = (readable(message_index)?, readable(kind)?);
        // With the GIL, so that nobody writes to the arrays.
        let mask = mask_of_kinds(&offsets.get().0, message_index.as_slice()?, kind.as_slice()?, &messages.0, &kinds.0);
        Ok(PyArray1::from_vec(py, mask.map_err(|e| to_py_err(py, e))?))
    })
}

/// The control tokens that touch characters of the caller's data.
#[pyfunction]
fn control_tokens_in<'py>(
    input_ids: &Bound<'py, PyArray1<i64>>,
    offsets: &Bound<'py, Offsets>,
    is_control: &Bound<'py, PyArray1<bool>>,
    data: &Bound<'py, PyArray2<i64>>,
) -> PyResult<Bound<'py, PyAny>> {
    answer(offsets.py(), || {
        // No position of a text is negative.
        let position = |at: i64| u32::try_from(at).unwrap_or(0);
        let data: Vec<_> = copied_rows(data)?.iter().map(|&[start, end]| (position(start), position(end))).collect();
        let (ids, is_control) = (readable(input_ids)?, readable(is_control)?);
        Ok(core_control_tokens_in(ids.as_slice()?, offsets.get().0.ranges(), is_control.as_slice()?, &data))
    })
}

#[pyfunction]
#[pyo3(
    signature = (text, contents, *, anchors=None, blanks=Name::of("unknown")),
    text_signature = "(text, contents, *, anchors=None, blanks='unknown')"
)]
fn locate<'py>(
    text: &Bound<'py, PyString>,
    contents: List<Bound<'py, PyString>>,
    anchors: Option<List<Pair<Bound<'py, PyString>>>>,
    blanks: Name,
) -> PyResult<Bound<'py, PyAny>> {
    let py = text.py();
    answer(py, || {
        let blanks = blanks_from(py, &blanks.0)?;
        let text = utf8(text, "text", None)?;
        let contents = all_utf8(&contents.0, "content")?;
        let anchors: Option<Vec<Anchor<'_>>> = anchors
            .as_ref()
            .map(|pairs| pairs.0.iter().enumerate().map(|(i, pair)| anchor_from(pair, i)).collect::<PyResult<_>>())
            .transpose()?;
        let found = detached(py, || core_locate::locate(text, &contents, anchors.as_deref(), blanks));
        spans_to_array(py, &found.map_err(|e| to_py_err(py, e))?)
    })
}

#[cfg(feature = "allocator")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(Py_GIL_DISABLED)]
compile_error!(
    "chatspan does not support free-threaded Python (3.13t, 3.14t): what it reads of Python's objects may not change \
     meanwhile, which the GIL sees to. Install it for the ordinary build of the same version, such as python3.14."
);

/// The compiled core of chatspan.
// Said aloud, since PyO3 takes `false` for granted: reading relies on the GIL.
#[pymodule(gil_used = true)]
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
    #[cfg(feature = "native")]
    module.add_class::<labelled::LabelledRows>()?;
    module.add_class::<scaffold::TurnScaffold>()?;
    module.add_class::<render::Segments>()?;
    module.add_function(wrap_pyfunction!(render::attribute_render, module)?)?;
    module.add_function(wrap_pyfunction!(render::attribute, module)?)?;
    module.add_class::<template::TemplateProgram>()?;
    module.add_class::<template_input::TemplateInput>()?;
    module.add_function(wrap_pyfunction!(template::render_templates, module)?)?;
    module.add_class::<native_render::NativeRender>()?;
    module.add_function(wrap_pyfunction!(border::_panic, module)?)?;
    module.add_function(wrap_pyfunction!(batch::pad_rows, module)?)?;
    module.add_function(wrap_pyfunction!(json::read_json, module)?)?;
    module.add_function(wrap_pyfunction!(survey::survey, module)?)?;
    module.add_function(wrap_pyfunction!(survey::survey_messages, module)?)?;
    module.add_function(wrap_pyfunction!(alignment::pair_tokens, module)?)?;
    module.add_function(wrap_pyfunction!(alignment::align_columns, module)?)?;
    Ok(())
}
