//! Tokenizers made in Rust.

use chatspan_core::attribute::{Attribution, attribute};
use chatspan_core::error::Error;
use chatspan_core::offsets::Offsets as CoreOffsets;
use chatspan_core::parallel::in_parallel;
use chatspan_core::tokenize::NativeTokenizer as Core;
use numpy::PyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyDict;

use crate::border::{answer, guarded};
use crate::errors::{Kind, raise, to_py_err};
use crate::forks::detached;
use crate::labelled::{How, LabelledRows};
use crate::native_render::NativeRender;
use crate::read::{List, Name};
use crate::render::{Attributed, Segments, to_arrays};
use crate::table::Offsets;

/// A tokenizer with the ids and offsets of HF's.
#[pyclass(frozen, weakref, module = "chatspan._core")]
pub struct NativeTokenizer(Core);

/// A text, or a render, of whose text Python needs not know.
#[derive(FromPyObject)]
enum Text {
    Render(Py<NativeRender>),
    Str(PyBackedStr),
}

impl Text {
    fn as_str(&self) -> &str {
        match self {
            Self::Render(render) => render.get().as_str(),
            Self::Str(text) => text,
        }
    }
}

/// Ids as Python has them, their offsets, and whose they are.
type Encoded = (Vec<i64>, CoreOffsets, Option<Result<Attribution, Error>>);
/// (ids, offsets, whose they are if segments were given); none for a text that is HF's to encode
type Row<'py> = Option<(Bound<'py, PyArray1<i64>>, Offsets, Option<Attributed<'py>>)>;

#[pymethods]
impl NativeTokenizer {
    #[new]
    #[pyo3(signature = (json, *, cache_bytes))]
    fn new(py: Python<'_>, json: PyBackedStr, cache_bytes: usize) -> PyResult<Self> {
        guarded(|| {
            let made = detached(py, || Core::new(&json, cache_bytes));
            made.map(Self).map_err(|refusal| raise(py, Kind::Backend, &refusal.to_string(), &[]))
        })
    }

    /// Whether this `tokenizer.json` would make the same one.
    fn is_of<'py>(&self, py: Python<'py>, json: PyBackedStr) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || Ok(detached(py, || self.0.is_of(&json))))
    }

    /// Whether its pattern is one that nobody has compared: it encodes nothing until `set_alike`.
    fn is_unproven<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || Ok(self.0.is_unproven()))
    }

    /// The classes of characters in its patterns.
    fn classes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || Ok(self.0.classes().to_vec()))
    }

    /// Says which characters it cuts as HF does.
    fn set_alike<'py>(&self, py: Python<'py>, characters: PyBackedStr) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || {
            self.0.set_alike(&characters);
            Ok(())
        })
    }

    /// The byte behind each word of a text.
    fn cut<'py>(&self, py: Python<'py>, text: PyBackedStr) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || Ok(detached(py, || self.0.cut(&text)).map(|ends| PyArray1::from_vec(py, ends))))
    }

    fn encode_batch<'py>(
        &self,
        py: Python<'py>,
        texts: List<Text>,
        segments: Option<List<Bound<'py, Segments>>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || {
            let texts = texts.0;
            let segments: Option<Vec<_>> =
                segments.as_ref().map(|all| all.0.iter().map(|each| &each.get().segments).collect());
            let found = detached(py, || {
                in_parallel(texts.len(), |row| {
                    let tokens = self.0.encode(texts[row].as_str())?;
                    let of = segments.as_ref().and_then(|segments| segments.get(row));
                    let attributed = of.map(|segments| attribute(&tokens.offsets, segments));
                    Some((tokens.ids.into_iter().map(i64::from).collect(), tokens.offsets, attributed))
                })
            });
            found.into_iter().map(|row| to_row(py, row)).collect::<PyResult<Vec<_>>>()
        })
    }

    /// Encodes rows and labels the turns of some messages of each, side by side.
    #[pyo3(signature = (texts, segments, messages, *, end_of_turn, max_length=None, cut=None, with_whose=false))]
    #[expect(clippy::too_many_arguments, reason = "what a row is made of, and how")]
    fn label_batch<'py>(
        &self,
        py: Python<'py>,
        texts: List<Text>,
        segments: List<Bound<'py, Segments>>,
        messages: List<List<i32>>,
        end_of_turn: Name,
        max_length: Option<usize>,
        cut: Option<Name>,
        with_whose: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || {
            let (texts, messages) = (texts.0, messages.0);
            let segments: Vec<_> = segments.0.iter().map(|each| each.get()).collect();
            if [segments.len(), messages.len()] != [texts.len(); 2] {
                return Err(PyValueError::new_err("expected as many segments and lists of messages as texts"));
            }
            let how = How::new(py, &end_of_turn, max_length, cut.as_ref(), with_whose)?;
            let rows = detached(py, || {
                in_parallel(texts.len(), |row| {
                    let tokens = self.0.encode(texts[row].as_str())?;
                    how.labelled(tokens, segments[row], &messages[row].0)
                })
            });
            Ok(LabelledRows::new(rows))
        })
    }

    fn encode_plain<'py>(&self, py: Python<'py>, text: PyBackedStr) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || Ok(detached(py, || self.0.encode_plain(&text))))
    }

    fn token<'py>(&self, py: Python<'py>, id: u32) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || Ok(self.0.token(id)))
    }

    fn cache_stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        answer(py, || {
            let stats = self.0.cache_stats();
            let found = PyDict::new(py);
            found.set_item("hits", stats.hits)?;
            found.set_item("misses", stats.misses)?;
            found.set_item("bytes", stats.bytes)?;
            found.set_item("entries", stats.entries)?;
            Ok(found)
        })
    }
}

fn to_row(py: Python<'_>, row: Option<Encoded>) -> PyResult<Row<'_>> {
    let Some((ids, offsets, attributed)) = row else { return Ok(None) };
    let attributed = attributed.transpose().map_err(|e| to_py_err(py, e))?;
    Ok(Some((PyArray1::from_vec(py, ids), Offsets(offsets), attributed.map(|found| to_arrays(py, found)))))
}
