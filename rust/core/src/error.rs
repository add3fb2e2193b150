//! One error type: what went wrong, and where.

use crate::span::{CharSpan, TokenSpan};
use thiserror::Error;

/// Where a content could stand, with a little text around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The place in the render.
    pub span: CharSpan,
    /// The place and the text around it, cut to a line.
    pub context: String,
}

/// Everything that the core refuses, each with its place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// A token's character range that cannot be.
    #[error("offsets of token {token_index}: {reason}")]
    Offsets {
        /// Which token.
        token_index: usize,
        /// What is wrong with its range.
        reason: String,
    },

    /// A character span that cannot be.
    #[error("span {span_index}: {reason}")]
    Span {
        /// Which span of those given.
        span_index: usize,
        /// What is wrong with it.
        reason: String,
    },

    /// A token with characters on both sides of a span's edge, where the caller allows none.
    #[error(
        "token {token_index} has characters {token} and crosses an edge of the span {span}; \
         use straddle=\"touch\" to include such a token, straddle=\"inside\" to leave it out"
    )]
    Straddle {
        /// Which token.
        token_index: usize,
        /// Its characters.
        token: CharSpan,
        /// The span whose edge it crosses.
        span: CharSpan,
    },

    /// A content that is nowhere it may be.
    #[error(
        "content {content_index} ({excerpt}) is not in the text after character {after_char}, \
         where the contents before it end{}",
        found_elsewhere(candidates)
    )]
    ContentNotFound {
        /// Which content.
        content_index: usize,
        /// The beginning of its text, quoted.
        excerpt: String,
        /// Where the contents before it end at the earliest.
        after_char: usize,
        /// Where its text stands nevertheless, out of order or with other text around it.
        candidates: Vec<Candidate>,
    },

    /// A content that could stand in more than one place.
    #[error("content {content_index} ({excerpt}) may be in more than one place: {}{}", list(candidates), remedy(*blank_edges))]
    AmbiguousContent {
        /// Which content.
        content_index: usize,
        /// The beginning of its text, quoted.
        excerpt: String,
        /// The first few places.
        candidates: Vec<Candidate>,
        /// Whether the places differ only in blanks at the content's edges.
        blank_edges: bool,
    },

    /// `anchors` that do not fit the contents.
    #[error("{anchors} anchors for {contents} contents: pass one (before, after) pair for each content")]
    AnchorCount {
        /// How many anchors came.
        anchors: usize,
        /// How many contents came.
        contents: usize,
    },

    /// A student and a teacher that cannot stand in the same columns.
    #[error("block {block_index} (student tokens {student}, teacher tokens {teacher}): {reason}")]
    Alignment {
        /// Which in-loss block.
        block_index: usize,
        /// Its tokens on the student's side.
        student: TokenSpan,
        /// Its tokens on the teacher's side.
        teacher: TokenSpan,
        /// Why not.
        reason: String,
    },
}

fn list(candidates: &[Candidate]) -> String {
    let places: Vec<String> = candidates.iter().map(|c| format!("characters {} {}", c.span, c.context)).collect();
    places.join(", ")
}

fn found_elsewhere(candidates: &[Candidate]) -> String {
    if candidates.is_empty() {
        "; its text is nowhere in it, so the template changed it or left it out".into()
    } else {
        format!("; elsewhere it is at {}: out of order, or not between its anchors", list(candidates))
    }
}

const fn remedy(blank_edges: bool) -> &'static str {
    if blank_edges {
        "; its blanks may be the content's own or the template's: use blanks=\"kept\" or blanks=\"stripped\", \
         or pass anchors=[(before, after), …], the scaffold around each content"
    } else {
        "; pass anchors=[(before, after), …], the scaffold around each content"
    }
}
