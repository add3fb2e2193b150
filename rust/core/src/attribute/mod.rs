//! Segments of the render + offsets → whose each token is.

mod data;
pub mod segments;

pub use data::control_tokens_in;

use crate::attribute::segments::{Kind, Segments};
use crate::error::Error;
use crate::offsets::Offsets;
use crate::span::CharSpan;

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
/// its place and is [`Kind::Scaffold`].
///
/// # Errors
/// [`Error::Offsets`] with the first token that is past the last segment.
pub fn attribute(offsets: &Offsets, segments: &Segments) -> Result<Attribution, Error> {
    let count = offsets.len();
    let mut found = Attribution {
        message_index: Vec::with_capacity(count),
        kind: Vec::with_capacity(count),
        straddling: Vec::new(),
    };
    if offsets.are_all_visible() {
        by_segments(offsets, segments, &mut found)?;
    } else {
        by_tokens(offsets, segments, &mut found)?;
    }
    join_leads(offsets, segments, &mut found);
    Ok(found)
}

/// A token that begins with the blank in front of a word is the word's.
fn join_leads(offsets: &Offsets, segments: &Segments, found: &mut Attribution) {
    let ranges = offsets.ranges();
    for &(start, end) in segments.leads() {
        let first = ranges.partition_point(|&(token, _)| (token as usize) < start);
        for (token, range) in ranges.iter().enumerate().skip(first) {
            if range.0 as usize >= end {
                break;
            }
            let word = segments.at(end);
            if range.1 as usize > end && word < segments.len() {
                found.message_index[token] = segments.message_index()[word];
                found.kind[token] = segments.kind()[word];
            }
        }
    }
}

/// Segment by segment, where every token has characters.
fn by_segments(offsets: &Offsets, segments: &Segments, found: &mut Attribution) -> Result<(), Error> {
    let ranges = offsets.ranges();
    let mut from = 0;
    for segment in 0..segments.len() {
        let end = segments.end(segment);
        let to = from + ranges[from..].partition_point(|&(start, _)| (start as usize) < end);
        found.message_index.resize(to, segments.message_index()[segment]);
        found.kind.resize(to, segments.kind()[segment]);
        // Ends do not fall, so those that hang over are the last ones.
        let over = from + ranges[from..to].partition_point(|&(_, token_end)| token_end as usize <= end);
        for token_index in over..to {
            require_within(offsets, segments, token_index)?;
            if straddles(segments, segment, offsets.token(token_index)) {
                found.straddling.push(i64::try_from(token_index).unwrap_or(i64::MAX));
            }
        }
        from = to;
    }
    if from < ranges.len() { require_within(offsets, segments, from) } else { Ok(()) }
}

/// Token by token: one without characters belongs to the message at its place.
fn by_tokens(offsets: &Offsets, segments: &Segments, found: &mut Attribution) -> Result<(), Error> {
    // Tokens with characters are in order, so the segment of their first one never falls.
    let mut segment = 0;
    for (token_index, token) in offsets.tokens().enumerate() {
        if token.is_empty() {
            let at = segments.at(token.start());
            found.message_index.push(segments.message_index().get(at).copied().unwrap_or(-1));
            found.kind.push(Kind::Scaffold as u8);
            continue;
        }
        require_within(offsets, segments, token_index)?;
        while segments.end(segment) <= token.start() {
            segment += 1;
        }
        found.message_index.push(segments.message_index()[segment]);
        found.kind.push(segments.kind()[segment]);
        if straddles(segments, segment, token) {
            found.straddling.push(i64::try_from(token_index).unwrap_or(i64::MAX));
        }
    }
    Ok(())
}

fn require_within(offsets: &Offsets, segments: &Segments, token_index: usize) -> Result<(), Error> {
    let (token, length) = (offsets.token(token_index), segments.edges().last().copied().unwrap_or(0));
    if token.end() > length {
        let reason = format!("{token} is past the end of the last segment");
        return Err(Error::Offsets { token_index, reason });
    }
    Ok(())
}

/// For each token whether it is of one of these messages and kinds, as attributed. A token without characters is of none.
///
/// # Errors
/// [`Error::Offsets`]: there are not as many messages or kinds as tokens.
pub fn mask_of_kinds(
    offsets: &Offsets,
    message_index: &[i32],
    kind: &[u8],
    messages: &[i32],
    kinds: &[u8],
) -> Result<Vec<bool>, Error> {
    let count = offsets.len();
    if message_index.len() != count || kind.len() != count {
        let reason = format!("{count} tokens, {} messages of tokens, {} kinds", message_index.len(), kind.len());
        return Err(Error::Offsets { token_index: count.min(message_index.len()).min(kind.len()), reason });
    }
    let mut of_kind = [false; 256];
    for &kind in kinds {
        of_kind[usize::from(kind)] = true;
    }
    // The first place is that of -1; no message behind the last one that has a token has any.
    let place = |message: i32| usize::try_from(i64::from(message) + 1).ok();
    let most = message_index.iter().max().copied().and_then(place).unwrap_or(0);
    let asked = messages.iter().filter_map(|&message| place(message)).filter(|&at| at <= most);
    let mut of_message = vec![false; asked.clone().max().map_or(0, |last| last + 1)];
    for at in asked {
        of_message[at] = true;
    }
    let chosen = |message: i32| place(message).and_then(|at| of_message.get(at)).is_some_and(|&chosen| chosen);
    let tokens = std::iter::zip(offsets.ranges(), std::iter::zip(message_index, kind));
    Ok(tokens
        .map(|(&(start, end), (&message, &kind))| start < end && of_kind[usize::from(kind)] && chosen(message))
        .collect())
}

fn straddles(segments: &Segments, first: usize, token: CharSpan) -> bool {
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

    fn segments(edges: &[usize], message_index: &[i32], kind: &[u8]) -> Segments {
        Segments::new(edges.to_vec(), message_index.to_vec(), kind.to_vec()).unwrap()
    }

    #[test]
    fn the_first_character_decides_and_straddling_tokens_are_named() {
        let segments = segments(&[0, 3, 5, 9], &[0, 0, 1], &[0, 1, 0]);
        let found = attribute(&table(&[(0, 2), (2, 4), (4, 5), (5, 6), (5, 6), (0, 0), (6, 9)]), &segments).unwrap();
        assert_eq!(found.message_index, [0, 0, 0, 1, 1, 0, 1]);
        assert_eq!(found.kind, [0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(found.straddling, [1]);
    }

    #[test]
    fn a_token_that_begins_with_the_blank_before_a_word_is_the_words() {
        let mut segments = segments(&[0, 3, 4, 9], &[0, 0, 1], &[0, 0, 1]);
        segments.lead(3, 4);
        let kinds = |tokens: &[(i64, i64)]| attribute(&table(tokens), &segments).unwrap().kind;
        assert_eq!(kinds(&[(0, 3), (3, 6), (6, 9)]), [0, 1, 1]);
        assert_eq!(kinds(&[(0, 3), (3, 4), (4, 9)]), [0, 0, 1]);
        assert_eq!(kinds(&[(0, 4), (4, 9)]), [0, 1]);
    }

    #[test]
    fn equal_neighbours_have_no_edge_between_them() {
        let segments = segments(&[0, 2, 4], &[7, 7], &[1, 1]);
        assert!(attribute(&table(&[(0, 4)]), &segments).unwrap().straddling.is_empty());
    }

    #[test]
    fn an_empty_text_has_only_tokens_without_characters() {
        let segments = segments(&[], &[], &[]);
        assert_eq!(attribute(&table(&[(0, 0)]), &segments).unwrap().message_index, [-1]);
    }

    #[test]
    fn masks_are_by_message_and_kind_without_tokens_of_no_characters() {
        let table = table(&[(0, 2), (2, 4), (4, 4), (4, 5)]);
        let mask = |messages: &[i32], kinds: &[u8]| {
            mask_of_kinds(&table, &[-1, 0, 1, 1], &[1, 1, 1, 0], messages, kinds).unwrap()
        };
        assert_eq!(mask(&[0, 1], &[1]), [false, true, false, false]);
        assert_eq!(mask(&[-1, 1], &[0, 1]), [true, false, false, true]);
        assert_eq!(mask(&[], &[0, 1]), [false; 4]);
        let refused = mask_of_kinds(&table, &[0], &[0; 4], &[], &[]).unwrap_err().to_string();
        assert_eq!(refused, "offsets of token 1: 4 tokens, 1 messages of tokens, 4 kinds");
    }

    #[test]
    fn a_token_past_the_last_segment_is_refused() {
        assert_eq!(
            attribute(&table(&[(0, 2), (2, 4)]), &segments(&[0, 3], &[0], &[0])).unwrap_err().to_string(),
            "offsets of token 1: [2, 4) is past the end of the last segment"
        );
    }
}
