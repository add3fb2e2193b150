//! Contents → character spans of a given render, for those who have no template. Never guesses.
//!
//! A *placement* gives each content a place so that the places follow each other without overlap. Only where
//! exactly one placement exists is it the answer. Two passes decide that without listing placements: one from the
//! front puts each content as early as it can end, one from the back as late as it can start. A place belongs to
//! some placement if and only if it lies between its neighbours' two bounds.

use crate::error::{Candidate, Error};
use crate::span::{ByteSpan, CharSpan};
use crate::text::{CharIndex, context, count, excerpt, split_blanks, to_char_spans};
use memchr::memmem::{Finder, FinderRev};

/// What the template does with blanks at a content's ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blanks {
    /// Not known: any of them may be gone.
    Unknown,
    /// They are all there.
    Kept,
    /// They are all gone.
    Stripped,
}

/// The scaffold right before and right after a content; empty where it is not known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anchor<'a> {
    /// The text that ends where the content starts.
    pub before: &'a str,
    /// The text that starts where the content ends.
    pub after: &'a str,
}

/// How many places an error names.
const MOST_CANDIDATES: usize = 4;

/// The place of each content in `text`; a blank content has none.
///
/// # Errors
/// [`Error::ContentNotFound`] for the first content that no placement holds, [`Error::AmbiguousContent`] for the
/// first one that has two places, [`Error::AnchorCount`] where `anchors` are not one for each content.
pub fn locate(
    text: &str,
    contents: &[&str],
    anchors: Option<&[Anchor<'_>]>,
    blanks: Blanks,
) -> Result<Vec<Option<CharSpan>>, Error> {
    if let Some(anchors) = anchors
        && anchors.len() != contents.len()
    {
        return Err(Error::AnchorCount { anchors: anchors.len(), contents: contents.len() });
    }
    let needles: Vec<Needle<'_>> = contents
        .iter()
        .enumerate()
        .map(|(index, content)| Needle::new(index, content, anchors.map_or_else(Anchor::default, |a| a[index]), blanks))
        .filter(|needle| !needle.core.is_empty())
        .collect();

    let earliest_ends = forward(text, &needles)?;
    let latest_starts = backward(text, &needles);
    let mut found = vec![None; contents.len()];
    for (i, needle) in needles.iter().enumerate() {
        let from = if i == 0 { 0 } else { earliest_ends[i - 1] };
        let to = latest_starts.get(i + 1).copied().unwrap_or(text.len());
        let places = needle.places(text, from, to, MOST_CANDIDATES);
        match places[..] {
            [only] => found[needle.index] = Some(only),
            _ => return Err(ambiguous(text, needle, &places)),
        }
    }
    Ok(to_char_spans(text, &found))
}

/// For each needle where it ends at the earliest, with all before it in place.
fn forward(text: &str, needles: &[Needle<'_>]) -> Result<Vec<usize>, Error> {
    let mut from = 0;
    let mut ends = Vec::with_capacity(needles.len());
    for needle in needles {
        from = needle.earliest_end(text, from).ok_or_else(|| not_found(text, needle, from))?;
        ends.push(from);
    }
    Ok(ends)
}

/// For each needle where it starts at the latest, with all behind it in place. Only after `forward` found all.
fn backward(text: &str, needles: &[Needle<'_>]) -> Vec<usize> {
    let mut to = text.len();
    let mut starts: Vec<usize> = needles
        .iter()
        .rev()
        .map(|needle| {
            to = needle.latest_start(text, to).unwrap_or(0);
            to
        })
        .collect();
    starts.reverse();
    starts
}

/// A content that is looked for: its text without blanks at the ends, those blanks, and what must surround it.
struct Needle<'a> {
    index: usize,
    content: &'a str,
    lead: &'a str,
    core: &'a str,
    trail: &'a str,
    anchor: Anchor<'a>,
    blanks: Blanks,
}

impl<'a> Needle<'a> {
    fn new(index: usize, content: &'a str, anchor: Anchor<'a>, blanks: Blanks) -> Self {
        let (lead, core, trail) = split_blanks(content);
        Self { index, content, lead, core, trail, anchor, blanks }
    }

    /// Where the content can start if its core stands at `at`, the latest first, not before `from`.
    fn starts(&self, text: &'a str, at: usize, from: usize) -> impl Iterator<Item = usize> {
        let suffixes = self.lead.char_indices().map(|(i, _)| self.lead.len() - i).rev();
        extents(self.blanks, self.lead.len(), suffixes)
            .take_while(move |&n| from + n <= at && text[from..at].ends_with(&self.lead[self.lead.len() - n..]))
            .map(move |n| at - n)
            .filter(move |&start| text[..start].ends_with(self.anchor.before))
    }

    /// Where the content can end if its core ends at `at`, the earliest first, not after `to`.
    fn ends(&self, text: &'a str, at: usize, to: usize) -> impl Iterator<Item = usize> {
        let prefixes = self.trail.char_indices().map(|(i, c)| i + c.len_utf8());
        extents(self.blanks, self.trail.len(), prefixes)
            .take_while(move |&n| at + n <= to && text[at..to].starts_with(&self.trail[..n]))
            .map(move |n| at + n)
            .filter(move |&end| text[end..].starts_with(self.anchor.after))
    }

    /// Where the core stands in `text[from..to]`, overlapping places too.
    fn cores<'t>(&self, text: &'t str, from: usize, to: usize) -> impl Iterator<Item = usize> + use<'t, 'a> {
        let (finder, step) = (Finder::new(self.core), first_char_len(self.core));
        let mut next = from;
        std::iter::from_fn(move || {
            let at = next + finder.find(text.as_bytes().get(next..to)?)?;
            next = at + step;
            Some(at)
        })
    }

    fn earliest_end(&self, text: &str, from: usize) -> Option<usize> {
        self.cores(text, from, text.len()).find_map(|at| {
            self.starts(text, at, from).next()?;
            self.ends(text, at + self.core.len(), text.len()).next()
        })
    }

    fn latest_start(&self, text: &str, to: usize) -> Option<usize> {
        let finder = FinderRev::new(self.core);
        let mut last = to;
        loop {
            let at = finder.rfind(&text.as_bytes()[..last])?;
            if self.ends(text, at + self.core.len(), to).next().is_some()
                && let Some(start) = self.starts(text, at, 0).next()
            {
                return Some(start);
            }
            // The next one to the left may overlap this one, but must end before this one does.
            last = at + self.core.len() - last_char_len(self.core);
        }
    }

    /// The first `most` places within `text[from..to]`.
    fn places(&self, text: &str, from: usize, to: usize, most: usize) -> Vec<ByteSpan> {
        let place = |start, end: usize| ByteSpan::with_len(start, end - start);
        let mut places = Vec::new();
        for at in self.cores(text, from, to) {
            for start in self.starts(text, at, from) {
                let ends = self.ends(text, at + self.core.len(), to);
                places.extend(ends.map(|end| place(start, end)).take(most - places.len()));
            }
            if places.len() >= most {
                break;
            }
        }
        places
    }
}

/// How many bytes of an edge's blanks may be there, the fewest first; `all` are those of the whole edge.
fn extents(blanks: Blanks, all: usize, partial: impl Iterator<Item = usize>) -> impl Iterator<Item = usize> {
    let none = (blanks != Blanks::Kept || all == 0).then_some(0);
    let whole = (blanks == Blanks::Kept && all > 0).then_some(all);
    let some = (blanks == Blanks::Unknown).then_some(partial).into_iter().flatten();
    none.into_iter().chain(some).chain(whole)
}

fn first_char_len(text: &str) -> usize {
    text.chars().next().map_or(1, char::len_utf8)
}

fn last_char_len(text: &str) -> usize {
    text.chars().next_back().map_or(1, char::len_utf8)
}

fn candidates(text: &str, places: &[ByteSpan]) -> Vec<Candidate> {
    let chars = CharIndex::new(text);
    places
        .iter()
        .map(|&place| {
            let start = chars.chars_before(place.start());
            let span = CharSpan::with_len(start, chars.chars_before(place.end()) - start);
            Candidate { span, context: context(text, place) }
        })
        .collect()
}

fn ambiguous(text: &str, needle: &Needle<'_>, places: &[ByteSpan]) -> Error {
    let core_start = |place: &ByteSpan| {
        place.start() + (place.len() - text[place.range()].trim_start_matches(crate::text::is_blank).len())
    };
    let first = places.first().map(core_start);
    Error::AmbiguousContent {
        content_index: needle.index,
        excerpt: excerpt(needle.content),
        candidates: candidates(text, places),
        blank_edges: places.iter().all(|place| Some(core_start(place)) == first),
    }
}

fn not_found(text: &str, needle: &Needle<'_>, from: usize) -> Error {
    let anywhere: Vec<ByteSpan> = needle
        .cores(text, 0, text.len())
        .take(MOST_CANDIDATES)
        .map(|at| ByteSpan::with_len(at, needle.core.len()))
        .collect();
    Error::ContentNotFound {
        content_index: needle.index,
        excerpt: excerpt(needle.content),
        after_char: count(&text[..from]),
        candidates: candidates(text, &anywhere),
    }
}
