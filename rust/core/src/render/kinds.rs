//! What a field is in its message, and where a content holds reasoning.

use super::parts::Part;
use super::{Root, Run, TurnScaffold};
use crate::attribute::segments::Kind;
use crate::text::{count, split_blanks};

/// The tags of reasoning in contents, besides those that the template itself writes.
const TAGS: (&str, &str) = ("<think>", "</think>");

/// Where a content holds reasoning: tags and all, at its beginning.
pub fn thoughts_in(content: &str, scaffold: &TurnScaffold) -> Option<(usize, usize)> {
    let inside = |(opening, closing): (&str, &str)| {
        let end = if closing.is_empty() { None } else { content.find(closing) }? + closing.len();
        // Without an opening tag all in front of the closing one is reasoning.
        let Some(start) = content.find(opening) else { return Some((0, count(&content[..end]))) };
        let blank = split_blanks(&content[..start]).1.is_empty();
        (blank && start < end).then(|| (count(&content[..start]), count(&content[..end])))
    };
    let own = (scaffold.open_tag.as_str(), scaffold.close_tag.as_str());
    // A template that writes only the closing tag leaves the opening one to the model.
    let own = if own == ("", TAGS.1) { None } else { inside(own) };
    own.or_else(|| inside(TAGS))
}

/// The kind of a field, written while this message was rendered.
pub fn kind_of(run: &Run, owner: i32) -> Kind {
    match run.root {
        Root::Content => Kind::Content,
        Root::Reasoning => Kind::Reasoning,
        Root::Call if run.message_index == owner => Kind::ToolCall,
        Root::Call | Root::Other => Kind::OtherField,
        Root::Result => Kind::ToolResult,
        Root::Tools => Kind::Tools,
        Root::Documents => Kind::Documents,
    }
}

/// Contents, reasoning and results belong to their message wherever they stand; all else to the one being rendered.
pub fn message_of(part: &Part, kind: Kind) -> i32 {
    match (kind, part.run) {
        (Kind::Content | Kind::Reasoning | Kind::ToolResult, Some(run)) => run.message_index,
        _ => part.owner,
    }
}
