//! Strings that remember which characters are copies of which field, through all that a template does to them.
//!
//! Positions are bytes here; the binding makes characters of them. What cannot be told character for character is one
//! *derived* run of its source, never none.

use std::borrow::Cow;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use super::shared::Shared;
use crate::text::{count, is_blank};

/// A field, a container or a dump: its number among those of a render.
pub type Origin = u32;

/// Origins from here on are dumps.
pub const FIRST_DUMP: Origin = 1 << 31;

/// A run that is no copy begins nowhere in its origin.
pub const DERIVED: i32 = -1;

/// Bytes of a string that come from an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
    /// What they come from.
    pub origin: Origin,
    /// The byte of the origin's text that `start` is, or [`DERIVED`].
    pub at: i32,
}

/// What a mark says of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The message that was being rendered, -1 for none.
    Owner(i32),
    /// A generation block wrote them.
    Generation,
}

/// Marked bytes of a string.
pub type Marked = (u32, u32, Mark);

/// The runs of a string: most have none, or one.
#[derive(Clone, Debug)]
pub enum Runs {
    /// The template's own text.
    None,
    /// All of it is a copy of a part of a field, or derived from one origin.
    Whole(Origin, i32),
    /// Several.
    Many(Arc<[Run]>),
}

/// A string. A value holds many, and hands them on more often than it makes them.
#[derive(Clone, Debug)]
pub struct Text(Rc<Inner>);

/// What a string is.
#[derive(Clone, Debug)]
pub struct Inner {
    buffer: Shared,
    start: u32,
    end: u32,
    runs: Runs,
    marks: Option<Arc<[Marked]>>,
    /// What `safe` and `escape` give: it escapes what is added to it.
    pub markup: bool,
}

/// Lengths of texts, which fit: the machine's output is bounded.
pub fn size(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn signed(byte: u32) -> i32 {
    i32::try_from(byte).unwrap_or(i32::MAX)
}

impl Deref for Text {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Text {
    fn new(buffer: Shared, runs: Runs, marks: Option<Arc<[Marked]>>) -> Self {
        let end = size(buffer.len());
        Self(Rc::new(Inner { buffer, start: 0, end, runs, marks, markup: false }))
    }

    /// The template's own text.
    pub fn plain(text: impl Into<Shared>) -> Self {
        Self::new(text.into(), Runs::None, None)
    }

    /// A field, whole.
    pub fn field(text: Shared, origin: Origin) -> Self {
        Self::new(text, Runs::Whole(origin, 0), None)
    }

    /// A text that was made of an origin in a way that says nothing of its single characters.
    pub fn derived_from(text: impl Into<Shared>, origin: Option<Origin>) -> Self {
        let buffer = text.into();
        let runs = origin.filter(|_| !buffer.is_empty()).map_or(Runs::None, |origin| Runs::Whole(origin, DERIVED));
        Self::new(buffer, runs, None)
    }

    /// A text with runs.
    pub fn with_runs(text: impl Into<Shared>, runs: Vec<Run>, marks: Vec<Marked>) -> Self {
        let buffer = text.into();
        let runs = match runs.as_slice() {
            [] => Runs::None,
            [one] if one.start == 0 && one.end == size(buffer.len()) => Runs::Whole(one.origin, one.at),
            _ => Runs::Many(runs.into()),
        };
        let marks = if marks.is_empty() { None } else { Some(marks.into()) };
        Self::new(buffer, runs, marks)
    }

    /// The characters.
    pub fn as_str(&self) -> &str {
        &self.buffer[self.start as usize..self.end as usize]
    }

    /// Its characters, to be kept.
    pub fn whole(&self) -> Shared {
        if self.len() == self.buffer.len() { self.buffer.clone() } else { self.as_str().into() }
    }

    /// Its bytes.
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether it remembers anything, which a string of the template's own does not.
    pub fn is_traced(&self) -> bool {
        self.markup || self.marks.is_some() || !matches!(self.runs, Runs::None)
    }

    /// How many characters.
    pub fn count(&self) -> usize {
        count(self.as_str())
    }

    /// The byte of a character; the end for those behind it.
    pub fn byte_of(&self, char: usize) -> usize {
        let text = self.as_str();
        if text.is_ascii() {
            return char.min(text.len());
        }
        text.char_indices().nth(char).map_or(text.len(), |(byte, _)| byte)
    }

    /// Its runs.
    pub fn runs(&self) -> Cow<'_, [Run]> {
        match &self.runs {
            Runs::None => Cow::Borrowed(&[]),
            Runs::Whole(origin, at) if !self.is_empty() => {
                Cow::Owned(vec![Run { start: 0, end: self.end - self.start, origin: *origin, at: *at }])
            }
            Runs::Whole(..) => Cow::Borrowed(&[]),
            Runs::Many(runs) => Cow::Borrowed(runs),
        }
    }

    /// How many runs it has.
    pub fn run_count(&self) -> usize {
        match &self.runs {
            Runs::None => 0,
            Runs::Whole(..) => 1,
            Runs::Many(runs) => runs.len(),
        }
    }

    /// Its marks.
    pub fn marks(&self) -> &[Marked] {
        self.marks.as_deref().unwrap_or(&[])
    }

    /// The first origin of it.
    pub fn origin(&self) -> Option<Origin> {
        match &self.runs {
            Runs::None => None,
            Runs::Whole(origin, _) => Some(*origin),
            Runs::Many(runs) => runs.first().map(|run| run.origin),
        }
    }

    /// The same characters, of which nothing is remembered that a plain `str` would not.
    pub fn without_markup(self) -> Self {
        self.with(|inner| inner.markup = false)
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Rc::make_mut(&mut self.0));
        self
    }

    /// The same characters, as those of a field.
    pub fn renamed(self, origin: Origin) -> Self {
        self.with(|inner| (inner.runs, inner.marks, inner.markup) = (Runs::Whole(origin, 0), None, false))
    }

    /// Marked as safe.
    pub fn into_markup(self) -> Self {
        self.with(|inner| inner.markup = true)
    }

    /// With one more mark over all of it.
    pub fn with_mark(self, mark: Mark) -> Self {
        let mut marks = self.marks().to_vec();
        marks.push((0, self.end - self.start, mark));
        self.with(|inner| inner.marks = Some(marks.into()))
    }

    /// The bytes `[start, end)`, which are on the borders of characters.
    pub fn cut(&self, start: usize, end: usize) -> Self {
        let (start, end) = (size(start), size(end.max(start)));
        if end - start == self.end - self.start {
            return self.clone();
        }
        let cut = |from: u32, to: u32| (from.max(start) - start, to.min(end).max(start) - start);
        let runs = match &self.runs {
            Runs::None => Runs::None,
            Runs::Whole(origin, DERIVED) => Runs::Whole(*origin, DERIVED),
            Runs::Whole(origin, at) => Runs::Whole(*origin, at + signed(start)),
            Runs::Many(runs) => {
                let first = runs.partition_point(|run| run.end <= start);
                let kept: Vec<Run> = runs[first..]
                    .iter()
                    .take_while(|run| run.start < end)
                    .map(|run| {
                        let (from, to) = cut(run.start, run.end);
                        let ahead = signed(run.start.max(start) - run.start);
                        let at = if run.at < 0 { DERIVED } else { run.at + ahead };
                        Run { start: from, end: to, origin: run.origin, at }
                    })
                    .collect();
                if kept.is_empty() { Runs::None } else { Runs::Many(kept.into()) }
            }
        };
        let marks: Vec<Marked> = self
            .marks()
            .iter()
            .filter(|(from, to, _)| *from < end && *to > start)
            .map(|(from, to, mark)| {
                let (from, to) = cut(*from, *to);
                (from, to, *mark)
            })
            .collect();
        let marks = if marks.is_empty() { None } else { Some(marks.into()) };
        let empty = start == end;
        let runs = if empty { Runs::None } else { runs };
        let marks = if empty { None } else { marks };
        // What remembers nothing is a plain string again, safe or not.
        let markup = self.markup && (marks.is_some() || !matches!(runs, Runs::None));
        let (first, last) = (self.start + start, self.start + end);
        Self(Rc::new(Inner { buffer: self.buffer.clone(), start: first, end: last, runs, marks, markup }))
    }

    /// A part of it, as `as_str` gave it.
    pub fn part(&self, part: &str) -> Self {
        let start = part.as_ptr() as usize - self.as_str().as_ptr() as usize;
        self.cut(start, start + part.len())
    }

    /// Its characters, one by one.
    pub fn chars(&self) -> Vec<Self> {
        let text = self.as_str();
        text.char_indices().map(|(byte, c)| self.cut(byte, byte + c.len_utf8())).collect()
    }

    /// Without the characters at its ends that go, at those that are said.
    pub fn strip(&self, goes: impl Fn(char) -> bool, left: bool, right: bool) -> Self {
        let text = self.as_str();
        let text = if left { text.trim_start_matches(&goes) } else { text };
        let text = if right { text.trim_end_matches(&goes) } else { text };
        if text.is_empty() { self.cut(0, 0) } else { self.part(text) }
    }

    /// As `str.split(separator, most)`.
    pub fn split(&self, separator: &str, most: Option<usize>) -> Vec<Self> {
        let text = self.as_str();
        most.map_or_else(
            || text.split(separator).map(|part| self.part(part)).collect(),
            |most| text.splitn(most + 1, separator).map(|part| self.part(part)).collect(),
        )
    }

    /// As `str.rsplit(separator, most)`.
    pub fn rsplit(&self, separator: &str, most: usize) -> Vec<Self> {
        let mut parts: Vec<Self> = self.as_str().rsplitn(most + 1, separator).map(|part| self.part(part)).collect();
        parts.reverse();
        parts
    }

    /// As `str.split(None, most)`.
    pub fn split_blanks(&self, most: Option<usize>) -> Vec<Self> {
        let mut rest = self.as_str().trim_start_matches(is_blank);
        let mut parts = Vec::new();
        while !rest.is_empty() {
            if most.is_some_and(|most| parts.len() == most) {
                parts.push(self.part(rest));
                break;
            }
            let end = rest.find(is_blank).unwrap_or(rest.len());
            parts.push(self.part(&rest[..end]));
            rest = rest[end..].trim_start_matches(is_blank);
        }
        parts
    }

    /// As `str.splitlines()`.
    pub fn lines(&self, keep_ends: bool) -> Vec<Self> {
        let text = self.as_str();
        let mut lines = Vec::new();
        let mut start = 0;
        let mut chars = text.char_indices().peekable();
        while let Some((byte, c)) = chars.next() {
            if !breaks_line(c) {
                continue;
            }
            let mut next = byte + c.len_utf8();
            if c == '\r' && chars.peek().is_some_and(|(_, c)| *c == '\n') {
                chars.next();
                next += 1;
            }
            lines.push(self.cut(start, if keep_ends { next } else { byte }));
            start = next;
        }
        if start < text.len() {
            lines.push(self.cut(start, text.len()));
        }
        lines
    }
}

/// Whether `str.splitlines` breaks lines at a character.
pub const fn breaks_line(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// A text that was made of strings, as Python's traced strings have it: one of them where it came out the same.
pub fn derived(text: String, sources: &[&Text]) -> Text {
    if text.is_empty() {
        return Text::plain(text);
    }
    for source in sources {
        if source.is_traced() && source.as_str() == text {
            return (*source).clone();
        }
    }
    let origin = sources.iter().find_map(|source| source.origin());
    Text::derived_from(text, origin)
}
