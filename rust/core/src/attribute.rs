//! Segments of the render + offsets → whose each token is.

use crate::error::Error;
use crate::offsets::Offsets;
use crate::span::CharSpan;

/// The kind of what is neither a field's nor a marker's: a token without characters has it.
pub const SCAFFOLD: u8 = 0;

/// The render cut into segments without gaps, each one message's (-1: none's) and of one kind.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    /// Rising, from 0 to the text's length: segment `s` is `[edges[s], edges[s + 1])`.
    edges: &'a [i64],
    message_index: &'a [i32],
    kind: &'a [u8],
}

impl<'a> Segments<'a> {
    /// Checks the segments.
    ///
    /// # Errors
    /// [`Error::Span`] with the index of the first segment that is empty, backwards or without a message or a kind.
    pub fn new(edges: &'a [i64], message_index: &'a [i32], kind: &'a [u8]) -> Result<Self, Error> {
        let count = edges.len().saturating_sub(1);
        let wrong = |span_index: usize, reason: String| Err(Error::Span { span_index, reason });
        if message_index.len() != count || kind.len() != count {
            let reason = format!(
                "{count} segments, but {} message indices and {} kinds: give one for each",
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
        Ok(Self { edges, message_index, kind })
    }

    fn len(&self) -> usize {
        self.kind.len()
    }

    fn end(&self, segment: usize) -> usize {
        usize::try_from(self.edges[segment + 1]).unwrap_or(0)
    }

    /// The segment that holds a character; the last one for what is past the end.
    fn at(&self, char: usize) -> usize {
        let ends = self.edges.get(1..).unwrap_or_default();
        ends.partition_point(|&end| usize::try_from(end).unwrap_or(0) <= char).min(self.len().saturating_sub(1))
    }

    fn same(&self, first: usize, second: usize) -> bool {
        self.message_index[first] == self.message_index[second] && self.kind[first] == self.kind[second]
    }
}

/// For each token its message and its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attribution {
    /// The message that a token belongs to; -1 for none.
    pub message_index: Vec<i32>,
    /// What it is there.
    pub kind: Vec<u8>,
    /// Indices of tokens whose characters have more than one message or kind, rising.
    pub straddling: Vec<i64>,
}

/// Attributes each token to the segment of its first character. A token without characters belongs to the message at
/// its place and is [`SCAFFOLD`].
///
/// # Errors
/// [`Error::Offsets`] with the first token that is past the last segment.
pub fn attribute(offsets: &Offsets, segments: &Segments<'_>) -> Result<Attribution, Error> {
    let count = offsets.len();
    let mut found = Attribution {
        message_index: Vec::with_capacity(count),
        kind: Vec::with_capacity(count),
        straddling: Vec::new(),
    };
    // Tokens with characters are in order, so the segment of their first one never falls.
    let mut segment = 0;
    for (token_index, token) in offsets.tokens().iter().enumerate() {
        if token.is_empty() {
            let at = segments.at(token.start());
            found.message_index.push(if segments.len() == 0 { -1 } else { segments.message_index[at] });
            found.kind.push(SCAFFOLD);
            continue;
        }
        while segment < segments.len() && segments.end(segment) <= token.start() {
            segment += 1;
        }
        if segment == segments.len() || segments.end(segments.len() - 1) < token.end() {
            let reason = format!("{token} is past the end of the last segment");
            return Err(Error::Offsets { token_index, reason });
        }
        found.message_index.push(segments.message_index[segment]);
        found.kind.push(segments.kind[segment]);
        if straddles(segments, segment, *token) {
            found.straddling.push(i64::try_from(token_index).unwrap_or(i64::MAX));
        }
    }
    Ok(found)
}

fn straddles(segments: &Segments<'_>, first: usize, token: CharSpan) -> bool {
    let mut last = first;
    while segments.end(last) < token.end() {
        last += 1;
        if !segments.same(first, last) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(pairs: &[(i64, i64)]) -> Offsets {
        Offsets::new(pairs.iter().copied(), None).unwrap()
    }

    #[test]
    fn the_first_character_decides_and_straddling_tokens_are_named() {
        let segments = Segments::new(&[0, 3, 5, 9], &[0, 0, 1], &[0, 1, 0]).unwrap();
        let found = attribute(&table(&[(0, 2), (2, 4), (4, 5), (5, 6), (5, 6), (0, 0), (6, 9)]), &segments).unwrap();
        assert_eq!(found.message_index, [0, 0, 0, 1, 1, 0, 1]);
        assert_eq!(found.kind, [0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(found.straddling, [1]);
    }

    #[test]
    fn equal_neighbours_have_no_edge_between_them() {
        let segments = Segments::new(&[0, 2, 4], &[7, 7], &[1, 1]).unwrap();
        assert!(attribute(&table(&[(0, 4)]), &segments).unwrap().straddling.is_empty());
    }

    #[test]
    fn an_empty_text_has_only_tokens_without_characters() {
        let segments = Segments::new(&[], &[], &[]).unwrap();
        assert_eq!(attribute(&table(&[(0, 0)]), &segments).unwrap().message_index, [-1]);
    }

    #[test]
    fn wrong_segments_are_refused_with_their_index() {
        let message = |edges: &[i64], messages: &[i32]| {
            Segments::new(edges, messages, &vec![0; edges.len() - 1]).unwrap_err().to_string()
        };
        assert_eq!(message(&[0, 3, 3], &[0, 0]), "span 1: [3, 3) is empty or backwards");
        assert_eq!(message(&[1, 3], &[0]), "span 0: the first segment does not begin with the text");
        assert_eq!(message(&[0, 3], &[]), "span 0: 1 segments, but 0 message indices and 1 kinds: give one for each");
        let segments = Segments::new(&[0, 3], &[0], &[0]).unwrap();
        assert_eq!(
            attribute(&table(&[(0, 2), (2, 4)]), &segments).unwrap_err().to_string(),
            "offsets of token 1: [2, 4) is past the end of the last segment"
        );
    }
}
