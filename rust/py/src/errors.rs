//! The core's errors as the exception classes of `chatspan.errors`.

use chatspan_core::error::{Candidate, Error};
use chatspan_core::span::CharSpan;
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyUnicodeEncodeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

/// Which class of `chatspan.errors`.
#[derive(Clone, Copy)]
pub enum Kind {
    Offsets,
    Span,
    Straddle,
    NotFound,
    Ambiguous,
    Alignment,
    Option,
    Text,
    /// A fault of chatspan's own.
    Internal,
    /// A tokenizer that is not made natively.
    #[cfg(feature = "native")]
    Backend,
}

impl Kind {
    const fn class(self) -> &'static str {
        match self {
            Self::Offsets => "OffsetsError",
            Self::Span => "SpanError",
            Self::Straddle => "StraddleError",
            Self::NotFound => "ContentNotFoundError",
            Self::Ambiguous => "AmbiguousContentError",
            Self::Alignment => "AlignmentError",
            Self::Option => "OptionError",
            Self::Text => "TextError",
            Self::Internal => "InternalError",
            #[cfg(feature = "native")]
            Self::Backend => "BackendError",
        }
    }

    /// What an error's index counts.
    pub const fn index_name(self) -> &'static str {
        match self {
            Self::Offsets | Self::Straddle => "token_index",
            Self::Span => "span_index",
            Self::Alignment => "block_index",
            _ => "content_index",
        }
    }
}

/// The exception, with its place as attributes.
pub fn raise(py: Python<'_>, kind: Kind, message: &str, place: &[(&str, Py<PyAny>)]) -> PyErr {
    let build = || -> PyResult<PyErr> {
        let class = py.import("chatspan.errors")?.getattr(kind.class())?;
        let attributes = PyDict::new(py);
        for (name, value) in place {
            attributes.set_item(name, value)?;
        }
        Ok(PyErr::from_value(class.call((message,), Some(&attributes))?))
    };
    build().unwrap_or_else(|error| error)
}

/// The core's error as the exception of its kind.
pub fn to_py_err(py: Python<'_>, error: Error) -> PyErr {
    let message = error.to_string();
    let start_char = match error {
        Error::Straddle { span, .. } => Some(span.start()),
        _ => None,
    };
    let (kind, index, candidates) = match error {
        Error::Offsets { token_index, .. } => (Kind::Offsets, Some(token_index), None),
        Error::Span { span_index, .. } => (Kind::Span, Some(span_index), None),
        Error::Straddle { token_index, .. } => (Kind::Straddle, Some(token_index), None),
        Error::ContentNotFound { content_index, candidates, .. } => {
            (Kind::NotFound, Some(content_index), Some(candidates))
        }
        Error::AmbiguousContent { content_index, candidates, .. } => {
            (Kind::Ambiguous, Some(content_index), Some(candidates))
        }
        Error::AnchorCount { .. } => (Kind::Option, None, None),
        Error::Alignment { block_index, .. } => (Kind::Alignment, Some(block_index), None),
    };
    let place = || -> PyResult<Vec<(&str, Py<PyAny>)>> {
        let mut place = Vec::new();
        if let Some(index) = index {
            place.push((kind.index_name(), index.into_py_any(py)?));
        }
        if let Some(start) = start_char {
            place.push(("start_char", start.into_py_any(py)?));
        }
        if let Some(candidates) = candidates {
            place.push(("candidates", char_ranges(&candidates).into_py_any(py)?));
        }
        Ok(place)
    };
    match place() {
        Ok(place) => raise(py, kind, &message, &place),
        Err(error) => error,
    }
}

fn char_ranges(candidates: &[Candidate]) -> Vec<(usize, usize)> {
    let ends = |span: CharSpan| (span.start(), span.end());
    candidates.iter().map(|c| ends(c.span)).collect()
}

/// The string as UTF-8; a lone surrogate, which no tokenizer takes, is a `TextError` with its place.
pub fn utf8<'a>(string: &'a Bound<'_, PyString>, what: &str, index: Option<usize>) -> PyResult<&'a str> {
    let py = string.py();
    string.to_str().map_err(|error| {
        if !error.is_instance_of::<PyUnicodeEncodeError>(py) {
            return error;
        }
        let at: Option<usize> = error.value(py).getattr("start").and_then(|start| start.extract()).ok();
        let name = index.map_or_else(|| what.to_owned(), |i| format!("{what} {i}"));
        let character = at.map_or_else(String::new, |at| format!(" at character {at}"));
        let message =
            format!("{name} has a lone surrogate{character}: it is not valid Unicode text; repair or drop it");
        let mut place = Vec::new();
        if let Some(value) = at.and_then(|at| at.into_py_any(py).ok()) {
            place.push(("start_char", value));
        }
        if let Some(value) = index.and_then(|i| i.into_py_any(py).ok()) {
            place.push(("content_index", value));
        }
        raise(py, Kind::Text, &message, &place)
    })
}
