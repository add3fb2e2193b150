//! The same token of the same message on two sides: a student's render, and a teacher's that says more.

pub mod columns;

use std::collections::{HashMap, HashSet, VecDeque};

use crate::attribute::segments::Segments;
use crate::offsets::Offsets;

/// Characters of a render that are a copy of a field's.
#[derive(Clone, Copy, Debug)]
pub struct FieldRun {
    /// The first one in the render.
    pub start: usize,
    /// Behind the last one.
    pub end: usize,
    /// Which field; the same number on both sides for the same field of the same message.
    pub field: i64,
    /// The character of the field that `start` is.
    pub at: usize,
}

/// One side's tokens, and where their characters come from.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// The ids.
    pub ids: &'a [i64],
    /// The characters of each.
    pub offsets: &'a Offsets,
    /// The render cut by message and kind.
    pub segments: &'a Segments,
    /// The fields, in the order of the render.
    pub runs: &'a [FieldRun],
}

/// Where a token begins, in terms that both sides share, and its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    message: i32,
    within: Within,
    id: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Within {
    /// At a character of a field.
    Field { field: i64, char: usize },
    /// At a character of the message's so many-th segment of a kind: what the template wrote, or derived from a field.
    Segment { kind: u8, ordinal: u32, char: usize },
}

/// Pairs of tokens that have the same id at the same place, rising on both sides.
///
/// `message_map` is for each of the student's messages the teacher's that it is; negative: none. Tokens of other
/// messages are in no pair.
pub fn pair(student: &Side<'_>, teacher: &Side<'_>, message_map: &[i32]) -> Vec<(usize, usize)> {
    let known: HashSet<i32> = message_map.iter().copied().filter(|message| *message >= 0).collect();
    let of_student = |message: i32| {
        let mapped = usize::try_from(message).ok().and_then(|index| message_map.get(index).copied());
        mapped.filter(|message| *message >= 0)
    };
    let mut free: HashMap<Place, VecDeque<usize>> = HashMap::new();
    for (token, place) in places(teacher, |message| known.get(&message).copied()) {
        free.entry(place).or_default().push_back(token);
    }
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    for (token, place) in places(student, of_student) {
        // A field may be rendered twice, and tokens may share a character: the first one is the first one's.
        let Some(other) = free.get_mut(&place).and_then(VecDeque::pop_front) else { continue };
        if pairs.last().is_none_or(|last| last.1 < other) {
            pairs.push((token, other));
        }
    }
    pairs
}

/// The tokens of the messages that `message_of` knows, in order.
fn places(side: &Side<'_>, message_of: impl Fn(i32) -> Option<i32>) -> Vec<(usize, Place)> {
    let ordinals = ordinals(side.segments);
    let (mut segment, mut run) = (0, 0);
    let mut found = Vec::new();
    for (token, span) in side.offsets.tokens().enumerate() {
        if span.is_empty() {
            continue;
        }
        while segment < side.segments.len() && side.segments.end(segment) <= span.start() {
            segment += 1;
        }
        while side.runs.get(run).is_some_and(|run| run.end <= span.start()) {
            run += 1;
        }
        let Some(message) = side.segments.message_index().get(segment).copied().and_then(&message_of) else { continue };
        let within = match side.runs.get(run).filter(|run| run.start <= span.start()) {
            Some(run) => Within::Field { field: run.field, char: run.at + span.start() - run.start },
            None => Within::Segment {
                kind: side.segments.kind()[segment],
                ordinal: ordinals[segment],
                char: span.start() - side.segments.edges()[segment],
            },
        };
        found.push((token, Place { message, within, id: side.ids[token] }));
    }
    found
}

/// For each segment how many of its message and kind stand before it.
fn ordinals(segments: &Segments) -> Vec<u32> {
    let mut counts: HashMap<(i32, u8), u32> = HashMap::new();
    std::iter::zip(segments.message_index(), segments.kind())
        .map(|(message, kind)| {
            let count = counts.entry((*message, *kind)).or_default();
            *count += 1;
            *count - 1
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One letter a token; a message is `<` scaffold, letters of its content, `>` scaffold.
    fn side(text: &str) -> (Vec<i64>, Offsets, Segments, Vec<FieldRun>) {
        let length = text.len();
        let ids = text.bytes().map(i64::from).collect();
        let offsets = Offsets::new((0..).map(|at| (at, at + 1)).take(length), Some(length)).unwrap();
        let (mut segments, mut runs, mut message) = (Segments::default(), Vec::new(), 0);
        for (at, letter) in text.bytes().enumerate() {
            let kind = if matches!(letter, b'<' | b'>') {
                crate::attribute::segments::Kind::Scaffold
            } else {
                crate::attribute::segments::Kind::Content
            };
            segments.push(at + 1, message, kind);
            if letter == b'>' {
                message += 1;
            } else if letter == b'<' {
                let end = text[at..].find('>').map_or(length, |end| at + end);
                runs.push(FieldRun { start: at + 1, end, field: i64::from(message), at: 0 });
            }
        }
        (ids, offsets, segments, runs)
    }

    fn pairs(student: &str, teacher: &str, message_map: &[i32]) -> Vec<(usize, usize)> {
        let (s, t) = (side(student), side(teacher));
        // Fields are numbered as the teacher's messages are.
        let runs: Vec<FieldRun> =
            s.3.iter()
                .map(|run| FieldRun { field: i64::from(message_map[usize::try_from(run.field).unwrap()]), ..*run })
                .collect();
        let student = Side { ids: &s.0, offsets: &s.1, segments: &s.2, runs: &runs };
        let teacher = Side { ids: &t.0, offsets: &t.1, segments: &t.2, runs: &t.3 };
        pair(&student, &teacher, message_map)
    }

    #[test]
    fn an_inserted_message_moves_the_others() {
        assert_eq!(pairs("<ab><cd>", "<ab><h><cd>", &[-1, 2]), [(4, 7), (5, 8), (6, 9), (7, 10)]);
    }

    #[test]
    fn equal_texts_of_other_messages_are_no_pairs() {
        assert_eq!(pairs("<ok><ok>", "<ok><ok><ok>", &[2, -1]), [(0, 8), (1, 9), (2, 10), (3, 11)]);
        assert_eq!(pairs("<ok>", "<ok>", &[-1]), []);
    }

    #[test]
    fn a_token_with_another_id_is_in_no_pair() {
        assert_eq!(pairs("<abc>", "<axc>", &[0]), [(0, 0), (1, 1), (3, 3), (4, 4)]);
    }
}
