//! Turns: what an assistant has to produce itself, from behind its header to its end of turn.

use super::Region;
use crate::attribute::segments::{Kind, Segments};

/// How far a turn goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOfTurn {
    /// To what ends it, blanks behind that left out.
    Token,
    /// To the end of the message's part.
    All,
    /// To where what ends it begins.
    None,
}

impl EndOfTurn {
    /// Of this name; none for one that needs to know what follows.
    pub fn of_name(name: &str) -> Option<Self> {
        match name {
            "token" => Some(Self::Token),
            "all" => Some(Self::All),
            "none" => Some(Self::None),
            _ => None,
        }
    }
}

impl Region {
    /// The characters from the header to the end of the turn, results inside included; none where these cannot be told.
    pub fn turn(&self, end_of_turn: EndOfTurn) -> Option<(usize, usize)> {
        let start = self.header_end.filter(|_| self.whole)?;
        let end = match (end_of_turn, self.end_of_turn) {
            (EndOfTurn::All, _) | (EndOfTurn::None, None) => self.end,
            (EndOfTurn::None, Some((end, _))) | (EndOfTurn::Token, Some((_, end))) => end,
            (EndOfTurn::Token, None) => return None,
        };
        Some((start, end))
    }
}

/// The parts of a turn that are the assistant's own: without what a runtime wrote.
pub fn without_results(segments: &Segments, (start, end): (usize, usize)) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    let first = segments.at(start);
    for segment in first..segments.len() {
        let (from, to) = (segments.edges()[segment].max(start), segments.end(segment).min(end));
        if from >= end {
            break;
        }
        if segments.kind()[segment] == Kind::ToolResult as u8 || from >= to {
            continue;
        }
        match found.last_mut() {
            Some(last) if last.1 == from => last.1 = to,
            _ => found.push((from, to)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_ends_as_it_is_told() {
        let region = Region {
            start: 2,
            end: 20,
            header_end: Some(5),
            end_of_turn: Some((15, 18)),
            whole: true,
            found: None,
            interrupted: false,
        };
        let turn = |name: &str| region.turn(EndOfTurn::of_name(name).unwrap());
        assert_eq!([turn("token"), turn("all"), turn("none")], [Some((5, 18)), Some((5, 20)), Some((5, 15))]);
        assert_eq!(EndOfTurn::of_name("next_header"), None);
        let without_end = Region { end_of_turn: None, ..region };
        assert_eq!(without_end.turn(EndOfTurn::Token), None);
        assert_eq!(without_end.turn(EndOfTurn::None), Some((5, 20)));
        assert_eq!(Region { whole: false, ..region }.turn(EndOfTurn::All), None);
        assert_eq!(Region { header_end: None, ..region }.turn(EndOfTurn::All), None);
    }
}
