//! Where a turn starts: behind what the generation prompt would have written.

use super::{Opening, TurnScaffold};
use crate::text::{CharIndex, count, is_blank};

/// How a turn's start was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The render has the whole opening there.
    Exact,
    /// The template wrote the turn behind another opening, or other blanks.
    AnotherOpening,
    /// Nothing stands before the turn, so that no prompt leads to it.
    NoPrompt,
}

impl Start {
    /// Its name in Python.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::AnotherOpening => "another_opening",
            Self::NoPrompt => "no_prompt",
        }
    }
}

/// Where the turn of a message begins that the template begins at `start` and whose first field is at `first`.
pub fn turn_start(
    chars: &CharIndex<'_>,
    start: usize,
    first: usize,
    opening: &Opening,
    scaffold: &TurnScaffold,
) -> (usize, Start) {
    if chars.slice(start, chars.len()).starts_with(&opening.whole) {
        return (start + count(&opening.whole), Start::Exact);
    }
    let lead = chars.slice(start, first);
    for whole in [&opening.whole, &opening.own] {
        if !whole.is_empty()
            && let Some(at) = lead.rfind(whole.as_str())
        {
            return (start + count(&lead[..at + whole.len()]), Start::AnotherOpening);
        }
    }
    let blanks = lead.len() - lead.trim_start_matches(is_blank).len();
    for skipped in [0, blanks] {
        let length = common_front(&opening.whole, &lead[skipped..]);
        let kept = whole_tokens(&opening.whole, length, &scaffold.control_tokens);
        // A blank in front of a word is the word's: tokens begin with blanks, and do not end with them.
        let behind = &lead[skipped + kept..];
        let word = if behind.is_empty() { first < chars.len() } else { !behind.starts_with(is_blank) };
        let kept = if word { opening.whole[..kept].trim_end_matches(' ').len() } else { kept };
        if kept > 0 {
            return (start + count(&lead[..skipped + kept]), Start::AnotherOpening);
        }
    }
    (start, Start::AnotherOpening)
}

/// How many bytes both begin with, whole characters.
fn common_front(one: &str, other: &str) -> usize {
    let pairs = std::iter::zip(one.char_indices(), other.chars());
    let differs = pairs.clone().find(|((_, mine), theirs)| mine != theirs).map(|((at, _), _)| at);
    differs.unwrap_or_else(|| one.len().min(other.len()))
}

/// At most so many bytes of an opening, back to the start of a control token or of a tag that they end inside of.
fn whole_tokens(opening: &str, length: usize, control_tokens: &[String]) -> usize {
    let mut kept = length;
    for token in control_tokens.iter().filter(|token| !token.is_empty()) {
        for (at, _) in opening.match_indices(token.as_str()) {
            if at < length && at + token.len() > length {
                kept = kept.min(at);
            }
        }
    }
    let front = &opening[..kept];
    match front.rfind(['<', '[']) {
        Some(at) if !front[at + 1..].contains(|c: char| matches!(c, '>' | ']') || is_blank(c)) => at,
        _ => kept,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(text: &str, whole: &str, own: &str, first: &str) -> String {
        let chars = CharIndex::new(text);
        let first = text.find(first).map_or(chars.len(), |at| count(&text[..at]));
        let opening = Opening { whole: whole.into(), own: own.into() };
        let scaffold = TurnScaffold { control_tokens: vec!["<|im_start|>".into()], ..TurnScaffold::default() };
        let (at, how) = turn_start(&chars, 0, first, &opening, &scaffold);
        format!("{}: {}", how.name(), chars.slice(at, chars.len()))
    }

    #[test]
    fn a_turn_starts_behind_its_opening() {
        assert_eq!(start("assistant\n<think>\nYes", "assistant\n<think>\n", "", "Yes"), "exact: Yes");
        assert_eq!(start(" Yes", "", "", "Yes"), "exact:  Yes");
        // The recorded content begins with what the prompt writes.
        assert_eq!(start("assistant\n<think>\nYes", "assistant\n<think>\n", "", "<think>"), "exact: Yes");
    }

    #[test]
    fn behind_another_opening_it_starts_where_the_template_goes_another_way() {
        assert_eq!(start("\n\nAssistant: Yes", "Assistant:", "Assistant:", "Yes"), "another_opening:  Yes");
        assert_eq!(start("assistant\nYes", "assistant\n<think>\n", "", "Yes"), "another_opening: Yes");
        assert_eq!(start("assistant<thi\nYes", "assistant<think>\n", "", "Yes"), "another_opening: <thi\nYes");
        assert_eq!(start("Assistant: mark", "Assistant: <think>", "", "mark"), "another_opening:  mark");
        assert_eq!(start("<|im_start|>Yes", "<|im_end|>", "", "Yes"), "another_opening: <|im_start|>Yes");
        assert_eq!(start("Yes", "assistant\n", "", "Yes"), "another_opening: Yes");
    }
}
