//! The render cut by message and kind.

use crate::error::Error;

/// What rendered characters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The template's own; a token without characters is of this kind, too.
    Scaffold = 0,
    /// Of a message's content.
    Content = 1,
    /// Of a message's reasoning, with its tags.
    Reasoning = 2,
    /// Of a message's tool calls, with their wrappers.
    ToolCall = 3,
    /// What ends a message.
    EndOfTurn = 4,
    /// What opens the message to come.
    GenerationPrompt = 5,
    /// Of the tools.
    Tools = 6,
    /// Of the documents.
    Documents = 7,
    /// Of another field.
    OtherField = 8,
    /// What a runtime wrote: a tool's result, wherever it stands, and what announces it inside of an assistant's message.
    ToolResult = 9,
}

/// The render cut into segments without gaps, each one message's (-1: none's) and of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments {
    /// Rising, from 0 to the text's length: segment `s` is `[edges[s], edges[s + 1])`.
    edges: Vec<usize>,
    message_index: Vec<i32>,
    kind: Vec<u8>,
    /// Blanks in front of a word, half-open: a token that begins in them and goes on into the word is the word's.
    leads: Vec<(usize, usize)>,
}

impl Default for Segments {
    fn default() -> Self {
        Self { edges: vec![0], message_index: Vec::new(), kind: Vec::new(), leads: Vec::new() }
    }
}

impl Segments {
    /// Checks the segments.
    ///
    /// # Errors
    /// [`Error::Span`] with the index of the first segment that is empty, backwards or without a message or a kind.
    pub fn new(edges: Vec<usize>, message_index: Vec<i32>, kind: Vec<u8>) -> Result<Self, Error> {
        let count = edges.len().saturating_sub(1);
        let wrong = |span_index: usize, reason: String| Err(Error::Span { span_index, reason });
        if message_index.len() != count || kind.len() != count {
            let reason = format!(
                "{count} segments, but {} message indices and {} kinds: expected one for each",
                message_index.len(),
                kind.len()
            );
            return wrong(count.min(message_index.len()).min(kind.len()), reason);
        }
        if edges.first().is_some_and(|&first| first != 0) {
            return wrong(0, "the first segment does not begin with the text".into());
        }
        if let Some(segment) = edges.windows(2).position(|pair| pair[0] >= pair[1]) {
            return wrong(segment, format!("[{}, {}) is empty or backwards", edges[segment], edges[segment + 1]));
        }
        let edges = if edges.is_empty() { vec![0] } else { edges };
        Ok(Self { edges, message_index, kind, leads: Vec::new() })
    }

    /// The next segment, up to `end`; one with the last one where both are of the same message and kind. An empty one
    /// is none.
    pub fn push(&mut self, end: usize, message_index: i32, kind: Kind) {
        let Some(last_end) = self.edges.last_mut().filter(|last| **last < end) else { return };
        if self.message_index.last() == Some(&message_index) && self.kind.last() == Some(&(kind as u8)) {
            *last_end = end;
        } else {
            self.edges.push(end);
            self.message_index.push(message_index);
            self.kind.push(kind as u8);
        }
    }

    /// Blanks in front of a word, from the front on.
    pub fn lead(&mut self, start: usize, end: usize) {
        self.leads.push((start, end));
    }

    /// The blanks in front of words.
    pub fn leads(&self) -> &[(usize, usize)] {
        &self.leads
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.kind.len()
    }

    /// Whether there is none, as of an empty render.
    pub fn is_empty(&self) -> bool {
        self.kind.is_empty()
    }

    /// Where each begins, and where the last one ends.
    pub fn edges(&self) -> &[usize] {
        &self.edges
    }

    /// Whose each is; -1: none's.
    pub fn message_index(&self) -> &[i32] {
        &self.message_index
    }

    /// What each is: a [`Kind`].
    pub fn kind(&self) -> &[u8] {
        &self.kind
    }

    /// Behind the last character of a segment.
    pub(crate) fn end(&self, segment: usize) -> usize {
        self.edges[segment + 1]
    }

    /// The segment that holds a character; the last one for what is past the end.
    pub(crate) fn at(&self, char: usize) -> usize {
        self.edges[1..].partition_point(|&end| end <= char).min(self.len().saturating_sub(1))
    }

    /// Whether two segments are of the same message and kind.
    pub(crate) fn same(&self, first: usize, second: usize) -> bool {
        self.message_index[first] == self.message_index[second] && self.kind[first] == self.kind[second]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_segments_are_refused_with_their_index() {
        let message = |edges: &[usize], messages: &[i32]| {
            Segments::new(edges.to_vec(), messages.to_vec(), vec![0; edges.len() - 1]).unwrap_err().to_string()
        };
        assert_eq!(message(&[0, 3, 3], &[0, 0]), "span 1: [3, 3) is empty or backwards");
        assert_eq!(message(&[1, 3], &[0]), "span 0: the first segment does not begin with the text");
        assert_eq!(
            message(&[0, 3], &[]),
            "span 0: 1 segments, but 0 message indices and 1 kinds: expected one for each"
        );
    }

    #[test]
    fn equal_neighbours_become_one() {
        let mut segments = Segments::default();
        segments.push(2, 0, Kind::Content);
        segments.push(2, 1, Kind::Content);
        segments.push(5, 0, Kind::Content);
        segments.push(6, 0, Kind::EndOfTurn);
        assert_eq!(segments, Segments::new(vec![0, 5, 6], vec![0, 0], vec![1, 4]).unwrap());
    }
}
