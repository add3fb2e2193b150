//! A render and where it came from → segments: for every character its message and its kind.
//!
//! [`parts`] cuts the render wherever its owner or its origin changes; [`segments`] reads what the template wrote
//! around the fields of each message. What a template writes around assistants' messages is known from
//! probing it ([`TurnScaffold`]); no list of models is needed.

mod kinds;
mod openings;
mod parts;
mod results;
mod segments;
mod turns;

use std::collections::HashMap;

use crate::error::Error;
use crate::text::CharIndex;

pub use openings::Start;
pub use segments::{Cut, Region, segments_of};
pub use turns::{EndOfTurn, without_results};

/// Which field rendered characters come from, as far as their kind depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// A message's content.
    Content,
    /// A message's reasoning, or a part of its content that holds reasoning.
    Reasoning,
    /// A message's tool calls.
    Call,
    /// What a tool answered: the content of its message, or a field or a part that holds results.
    Result,
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

    /// Of the way to a field: in a message of this role, or in a keyword of the template, which may have any name.
    pub fn of_way(way: &Way<'_>, role: Option<Role>) -> Option<Self> {
        let first = way.first.map_or(Some(Self::Other), Self::of_key)?;
        let Some(role) = role else {
            return Some(match first {
                Self::Content | Self::Reasoning | Self::Call => Self::Other,
                other => other,
            });
        };
        if way.results || (first == Self::Content && role == Role::Tool) {
            return Some(Self::Result);
        }
        Some(match (first, way.part) {
            (Self::Content, Some(part)) => part.root(),
            (Self::Content, None) if way.last.and_then(Self::of_key) == Some(Self::Reasoning) => Self::Reasoning,
            _ => first,
        })
    }
}

/// The way to a field, as far as its kind depends on it. Made from the field outwards.
#[derive(Clone, Copy, Debug, Default)]
pub struct Way<'k> {
    /// The first key, if it is a name.
    pub first: Option<&'k str>,
    /// The last key, if it is a name.
    pub last: Option<&'k str>,
    /// Whether a key says that it holds what tools answered.
    pub results: bool,
    /// What the innermost part around the field says that it is.
    pub part: Option<PartType>,
    any: bool,
}

impl<'k> Way<'k> {
    /// A key further out, none for a place in a list.
    pub fn outwards(&mut self, key: Option<&'k str>) {
        if !self.any {
            self.last = key;
            self.any = true;
        }
        self.first = key;
        self.results |= key.is_some_and(holds_results);
    }

    /// A part further out.
    pub fn inside_of(&mut self, part: Option<PartType>) {
        self.part = self.part.or(part);
    }
}

/// Whether a key of a message says that it holds what tools answered: `tool_responses`, `tool_outputs`.
fn holds_results(key: &str) -> bool {
    (key.starts_with("tool_") || key.starts_with("function_"))
        && ["result", "results", "response", "responses", "output", "outputs"].iter().any(|end| key.ends_with(end))
}

/// What a part of a content says that it is, by its `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartType {
    /// `thinking`, `reasoning`, `thoughts` …
    Reasoning,
    /// `tool_use`, `tool_calls`, `function_call` …
    Call,
    /// `tool_result`, `tool_outputs`, `function_response` …
    Result,
}

impl PartType {
    /// Of a type of this name; none for text, images and all else.
    pub fn of_name(name: &str) -> Option<Self> {
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        let of_tools = has(&["tool", "function"]);
        if of_tools && has(&["result", "response", "output"]) {
            Some(Self::Result)
        } else if of_tools && has(&["call", "use"]) {
            Some(Self::Call)
        } else if has(&["think", "thought", "reason"]) {
            Some(Self::Reasoning)
        } else {
            None
        }
    }

    const fn root(self) -> Root {
        match self {
            Self::Reasoning => Root::Reasoning,
            Self::Call => Root::Call,
            Self::Result => Root::Result,
        }
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
    /// A number that all runs of one field of a call have, and no other field of it.
    pub field: u64,
    /// The whole text of a content, in [`Render::contents`], and the character of it that `start` is. None where
    /// the run is no copy, or nobody needs to know.
    pub content: Option<(usize, usize)>,
}

/// What a message's role means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Whose messages change nothing of who speaks.
    System,
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
            "tool" | "function" | "ipython" | "observation" | "tool_response" | "environment" => Self::Tool,
            "system" | "developer" => Self::System,
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
    /// Of each message, what an opening behind it may depend on: its role and the keys that hold lists or dicts.
    pub shapes: &'t [Shape],
    /// Where the generation prompt begins, if there is one.
    pub prompt_start: Option<usize>,
}

/// Checks what renders are cut by.
///
/// # Errors
/// [`Error::Span`] with the first of `owners` that is none of the messages, or is before the one in front of it; or
/// there are not as many shapes as roles.
pub fn check_owners(owners: &[(usize, i32)], roles: &[Role], shapes: &[Shape]) -> Result<(), Error> {
    let wrong = |span_index: usize, reason: String| Err(Error::Span { span_index, reason });
    if roles.len() != shapes.len() {
        return wrong(0, format!("{} roles, but {} shapes of messages", roles.len(), shapes.len()));
    }
    let is_message = |owner: i32| usize::try_from(owner).map_or(owner == -1, |index| index < roles.len());
    if let Some(at) = owners.iter().position(|&(_, owner)| !is_message(owner)) {
        return wrong(at, format!("there is no message {}, of {}", owners[at].1, roles.len()));
    }
    match owners.windows(2).position(|pair| pair[0].0 > pair[1].0) {
        Some(at) => wrong(at + 1, format!("character {} comes after {}", owners[at + 1].0, owners[at].0)),
        None => Ok(()),
    }
}

/// What an opening behind a message may depend on: its role, and its keys that hold lists or dicts (`assistant+tool_calls`).
pub type Shape = std::sync::Arc<str>;

/// What stands before a turn: the shape of the message right before it, and of the last one that is no system's.
pub type Context = (String, String);

/// What a generation prompt writes for a message to come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// From where the template begins that message to the end of the prompt.
    pub whole: String,
    /// What a render without the prompt lacks.
    pub own: String,
}

/// What a template writes around assistants' messages.
#[derive(Clone, Debug, Default)]
pub struct TurnScaffold {
    /// By what stands before the turn; none where only the row's own prompt can tell.
    pub openings: Vec<(Context, Option<Opening>)>,
    /// What ends a message behind its content.
    pub ends: Vec<String>,
    /// What stands in front of reasoning, without blanks; empty if nothing does.
    pub open_tag: String,
    /// What stands behind reasoning.
    pub close_tag: String,
    /// The tokens that have a meaning in a render.
    pub control_tokens: Vec<String>,
    /// Those that end a single call, and so no turn.
    pub call_ends: Vec<String>,
}

/// Where an assistant's own part of a message ends that results interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Behind its last character.
    pub char: usize,
    /// Whether the template ends the message there while there are no results.
    pub is_end: bool,
}

/// What of one render was found out by other renders.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The openings of messages, by the row's own prompts.
    pub openings: HashMap<i32, Opening>,
    /// Where an assistant's own part of a message ends that results interrupt.
    pub stops: HashMap<i32, Stop>,
}

impl TurnScaffold {
    /// The opening behind what stands before; the outer none where it was not asked for yet.
    fn opening(&self, before: &str, last: &str) -> Option<&Option<Opening>> {
        let found = self.openings.iter().find(|((own_before, own_last), _)| own_before == before && own_last == last);
        found.map(|(_, opening)| opening)
    }
}
