//! A render and where it came from → segments: for every character its message and its kind.
//!
//! [`parts`] cuts the render wherever its owner or its origin changes; [`segments`] reads what the template wrote
//! around the fields of each message. What a template writes around assistants' messages is known from
//! probing it ([`TurnScaffold`]); no list of models is needed.

mod parts;
mod segments;
mod turns;

use crate::text::CharIndex;

pub use segments::{Region, segments_of};
pub use turns::EndOfTurn;

/// Which field rendered characters come from, as far as their kind depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// A message's content.
    Content,
    /// A message's reasoning, or a part of its content that holds reasoning.
    Reasoning,
    /// A message's tool calls.
    Call,
    /// Tools, the conversation's or a message's.
    Tools,
    /// Documents, the conversation's or a message's.
    Documents,
    /// Any other field of a message, or a keyword of the template.
    Other,
}

impl Root {
    /// Of a message's field of this name, or of a keyword of the template; none for a role, whose name is scaffold, as
    /// it is in templates that write it themselves.
    pub fn of_key(key: &str) -> Option<Self> {
        Some(match key {
            "role" => return None,
            "content" => Self::Content,
            "reasoning_content" | "thinking" | "reasoning" => Self::Reasoning,
            "tool_calls" | "function_call" => Self::Call,
            "tools" => Self::Tools,
            "documents" => Self::Documents,
            _ => Self::Other,
        })
    }

    /// Of the first and the last key on the way to a field, none for one that is no name; in a message, or in a keyword
    /// of the template, which may have any name. A part of a content may hold reasoning.
    pub fn of_ends(first: Option<&str>, last: Option<&str>, in_message: bool) -> Option<Self> {
        let named = |key: Option<&str>| key.map_or(Some(Self::Other), Self::of_key);
        Some(match (named(first)?, named(last)) {
            (Self::Content | Self::Reasoning | Self::Call, _) if !in_message => Self::Other,
            (Self::Content, Some(Self::Reasoning)) => Self::Reasoning,
            (root, _) => root,
        })
    }
}

/// Rendered characters that come from one field.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The first character.
    pub start: usize,
    /// Behind the last character.
    pub end: usize,
    /// Of which field.
    pub root: Root,
    /// Of which message; -1 for what belongs to none.
    pub message_index: i32,
    /// The whole text of a content, in [`Render::contents`], and the character of it that `start` is. None where
    /// the run is no copy, or nobody needs to know.
    pub content: Option<(usize, usize)>,
}

/// What a message's role means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Whose turns are trained.
    Assistant,
    /// Whose messages answer tool calls.
    Tool,
    /// Any other.
    Other,
}

impl Role {
    /// What a role of this name means.
    pub fn of_name(name: &str) -> Self {
        match name {
            "assistant" => Self::Assistant,
            "tool" | "function" | "ipython" | "observation" | "tool_response" => Self::Tool,
            _ => Self::Other,
        }
    }
}

/// A rendered conversation.
pub struct Render<'t> {
    /// The render.
    pub text: &'t CharIndex<'t>,
    /// In order, without overlaps: what of it came from the input.
    pub runs: Vec<Run>,
    /// The whole texts that runs of contents are copies of parts of.
    pub contents: Vec<&'t str>,
    /// (character, message): from there on the message being rendered, -1 for none; rising, from 0 on.
    pub owners: Vec<(usize, i32)>,
    /// Of each message.
    pub roles: &'t [Role],
    /// Where the generation prompt begins, if there is one.
    pub prompt_start: Option<usize>,
}

/// What a template writes around assistants' messages.
#[derive(Clone, Debug, Default)]
pub struct TurnScaffold {
    /// What opens an assistant's message, if that could be found out.
    pub header: Option<String>,
    /// What opens it behind a tool's result.
    pub header_after_tool: Option<String>,
    /// What ends a message behind its content.
    pub ends: Vec<String>,
    /// What stands in front of reasoning, without blanks; empty if nothing does.
    pub open_tag: String,
    /// What stands behind reasoning.
    pub close_tag: String,
    /// The tokens that have a meaning in a render.
    pub control_tokens: Vec<String>,
}
