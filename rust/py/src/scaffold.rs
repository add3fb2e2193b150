//! What is known of a template, and of one render, when that is cut by message and kind.

use chatspan_core::render::{Context, Findings, Opening, Stop, TurnScaffold as CoreTurnScaffold};
use pyo3::prelude::*;

use crate::border::guarded;
use crate::read::{Entries, List};

/// What a template writes around assistants' messages.
#[pyclass(frozen, module = "chatspan._core")]
pub struct TurnScaffold(pub CoreTurnScaffold);

/// (whole, own)
type OpeningTuple = (String, String);

fn opening_from((whole, own): OpeningTuple) -> Opening {
    Opening { whole, own }
}

#[pymethods]
impl TurnScaffold {
    #[new]
    fn new(
        openings: List<(Context, Option<OpeningTuple>)>,
        ends: List<String>,
        open_tag: String,
        close_tag: String,
        control_tokens: List<String>,
        call_ends: List<String>,
    ) -> PyResult<Self> {
        guarded(|| {
            let opening = |(context, opening): (Context, Option<OpeningTuple>)| (context, opening.map(opening_from));
            let openings = openings.0.into_iter().map(opening).collect();
            let (ends, control_tokens, call_ends) = (ends.0, control_tokens.0, call_ends.0);
            Ok(Self(CoreTurnScaffold { openings, ends, open_tag, close_tag, control_tokens, call_ends }))
        })
    }
}

/// What of one render was found out by other renders, from Python.
#[derive(FromPyObject)]
pub struct Found {
    #[pyo3(item)]
    openings: Entries<i32, OpeningTuple>,
    #[pyo3(item)]
    stops: Entries<i32, (usize, bool)>,
    #[pyo3(item)]
    owners: Option<List<(usize, i32)>>,
}

impl Found {
    /// What was found out, and the owners, if they stand in place of the render's.
    pub fn parts(found: Option<Self>) -> (Findings, Option<Owners>) {
        let Some(found) = found else { return (Findings::default(), None) };
        let openings = found.openings.0.into_iter().map(|(owner, opening)| (owner, opening_from(opening))).collect();
        let stops = found.stops.0.into_iter().map(|(owner, (char, is_end))| (owner, Stop { char, is_end })).collect();
        (Findings { openings, stops }, found.owners.map(|owners| owners.0))
    }
}

/// From which character on which message was being rendered.
type Owners = Vec<(usize, i32)>;
