//! Results that a runtime wrote into an assistant's message: what announces them, and where the assistant's words end.

use super::kinds::kind_of;
use super::parts::Part;
use super::{Root, Stop, TurnScaffold};
use crate::attribute::segments::Kind;
use crate::text::{CharIndex, count, is_blank};

/// The kind of each field of a message.
///
/// What a template writes beside a result announces it: of a call once more, its name or its id, or of the result's own
/// message, its name.
pub fn kinds_of(fields: &[&Part], chars: &CharIndex<'_>) -> Vec<Kind> {
    let mut kinds: Vec<Kind> =
        fields.iter().map(|part| part.run.map_or(Kind::Scaffold, |run| kind_of(&run, part.owner))).collect();
    if !kinds.contains(&Kind::ToolResult) {
        return kinds;
    }
    let is_again = |at: usize| {
        let text = |part: &Part| chars.slice(part.start, part.end);
        let field = |part: &Part| part.run.filter(|run| run.root == Root::Call).map(|run| run.field);
        let own = field(fields[at]);
        own.is_some() && fields[..at].iter().any(|part| field(part) == own && text(part) == text(fields[at]))
    };
    // Written while another message is rendered, the assistant's.
    let is_of_result = |at: usize, result: usize| {
        let (part, message) = (fields[at], fields[result].run.map(|run| run.message_index));
        part.run.is_some_and(|run| {
            run.root == Root::Other && run.message_index != part.owner && Some(run.message_index) == message
        })
    };
    let announces = |at: usize, result: usize| is_again(at) || is_of_result(at, result);
    for at in (1..fields.len()).rev() {
        if kinds[at] == Kind::ToolResult && announces(at - 1, at) {
            kinds[at - 1] = Kind::ToolResult;
        }
    }
    for at in 1..fields.len() {
        if kinds[at - 1] == Kind::ToolResult && announces(at, at - 1) {
            kinds[at] = Kind::ToolResult;
        }
    }
    kinds
}

/// Where the assistant's own part of a message ends that results interrupt: where a render without them ends, or else
/// behind its last word, or its header, before them. None of a message without results.
pub fn stop(known: Option<&Stop>, fields: &[&Part], kinds: &[Kind], header_end: usize) -> Option<usize> {
    let first = kinds.iter().position(|kind| *kind == Kind::ToolResult)?;
    let last = fields[first].start;
    let earliest = first.checked_sub(1).map_or(header_end, |before| fields[before].end).min(last);
    Some(known.map_or(earliest, |stop| stop.char).clamp(earliest, last))
}

/// What ends a message whose last words are results: the control token that its own part, `[start, stop)`, ends with,
/// or nothing where the template ends the message there.
pub fn ending(
    known: Option<&Stop>,
    chars: &CharIndex<'_>,
    (start, stop): (usize, usize),
    scaffold: &TurnScaffold,
) -> Option<(usize, usize)> {
    let said = chars.slice(start.min(stop), stop).trim_end_matches(is_blank);
    let end = start.min(stop) + count(said);
    let ends = |tokens: &[String]| {
        let found = tokens.iter().filter(|token| !token.is_empty() && said.ends_with(token.as_str()));
        found.map(|token| count(token)).max()
    };
    // What closes a single call ends no turn.
    match (ends(&scaffold.call_ends), ends(&scaffold.control_tokens)) {
        (Some(closing), Some(length)) if length <= closing => None,
        (_, Some(length)) => Some((end - length, end)),
        (None, None) if known.is_some_and(|known| known.is_end && known.char == stop) => Some((end, end)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(said: &str, is_end: bool) -> Option<String> {
        let scaffold = TurnScaffold {
            control_tokens: vec!["<eot>".into(), "</call>".into()],
            call_ends: vec!["</call>".into()],
            ..TurnScaffold::default()
        };
        let chars = CharIndex::new(said);
        let known = Stop { char: chars.len(), is_end };
        let (start, end) = ending(Some(&known), &chars, (0, chars.len()), &scaffold)?;
        Some(format!("{}│{}", chars.slice(0, start), chars.slice(start, end)))
    }

    #[test]
    fn a_turn_ends_in_front_of_results() {
        assert_eq!(ended("f(x)<eot>\n", true).as_deref(), Some("f(x)│<eot>"));
        // A tag that is no token of this tokenizer.
        assert_eq!(ended("f(x)<result>", true).as_deref(), Some("f(x)<result>│"));
        assert_eq!(ended("f(x)<result>", false), None);
        assert_eq!(ended("f(x)</call>", true), None);
    }
}
