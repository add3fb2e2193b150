//! What a template wrote around the fields of each message: headers, tags and wrappers, ends.

use std::collections::BTreeMap;

use super::parts::{Part, parts};
use super::{Render, Role, Root, Run, TurnScaffold};
use crate::attribute::segments::{Kind, Segments};
use crate::text::{CharIndex, count, is_blank, split_blanks};

/// The tags of reasoning in contents, besides those that the template itself writes.
const TAGS: (&str, &str) = ("<think>", "</think>");

/// What a template wrote while it rendered one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its first character.
    pub start: usize,
    /// Behind its last character.
    pub end: usize,
    /// Behind the header, if that can be told.
    pub header_end: Option<usize>,
    /// What ends the message, without blanks behind it, if that can be told.
    pub end_of_turn: Option<(usize, usize)>,
    /// Whether all of the message stands in this one range.
    pub whole: bool,
}

/// The segments of a render, and the region of each message that was rendered.
pub fn segments_of(render: &Render<'_>, scaffold: &TurnScaffold) -> (Segments, BTreeMap<i32, Region>) {
    let chars = render.text;
    let found = parts(render, chars.len());
    let thoughts = render.contents.iter().map(|content| thoughts_in(content, scaffold)).collect();
    let mut reader = Reader { render, scaffold, chars, thoughts, segments: Segments::default() };
    let mut regions = BTreeMap::new();
    for group in found.chunk_by(|first, second| first.owner == second.owner) {
        let Ok(owner) = usize::try_from(group[0].owner) else {
            reader.outside(group);
            continue;
        };
        let region = reader.message(owner, group);
        regions
            .entry(group[0].owner)
            .and_modify(|known: &mut Region| {
                let wider = if region.end - region.start > known.end - known.start { region } else { *known };
                *known = Region { whole: false, ..wider };
            })
            .or_insert(region);
    }
    (reader.segments, regions)
}

struct Reader<'r> {
    render: &'r Render<'r>,
    scaffold: &'r TurnScaffold,
    chars: &'r CharIndex<'r>,
    /// For each content where it holds reasoning.
    thoughts: Vec<Option<(usize, usize)>>,
    segments: Segments,
}

impl Reader<'_> {
    /// What belongs to no message's part of the render, such as a system text in front of the loop over messages.
    fn outside(&mut self, group: &[Part]) {
        let prompt_start = self.render.prompt_start.unwrap_or(self.chars.len());
        let mut holder = None;
        let mut holders = 0;
        let (Some(last), others) = (group.last(), group.len() - 1) else { return };
        for part in group {
            let kind = match part.run {
                Some(run) => kind_of(&run, part.owner),
                None if part.start >= prompt_start => Kind::GenerationPrompt,
                None => Kind::Scaffold,
            };
            let message_index = message_of(part, kind);
            if kind == Kind::Content && holder != Some(message_index) {
                holder = Some(message_index);
                holders += 1;
            }
            if std::ptr::eq(part, &raw const group[others]) && kind == Kind::Scaffold && holders == 1 {
                self.end_outside(last, holder.unwrap_or(-1));
            }
            self.segments.push(part.end, message_index, kind);
        }
    }

    /// The end of the one message whose content stands outside of all messages' parts.
    fn end_outside(&mut self, last: &Part, holder: i32) {
        let text = self.chars.slice(last.start, last.end);
        let bare = text.trim_end_matches(is_blank);
        let known = self.scaffold.ends.iter().map(|end| end.trim_end_matches(is_blank));
        let longest = known.filter(|end| !end.is_empty() && bare.ends_with(end)).map(count).max();
        if let Some(length) = longest {
            let stop = last.start + count(bare);
            self.segments.push(stop - length, -1, Kind::Scaffold);
            self.segments.push(stop, holder, Kind::EndOfTurn);
        }
    }

    fn message(&mut self, owner: usize, group: &[Part]) -> Region {
        let (start, end) = (group[0].start, group[group.len() - 1].end);
        let runs: Vec<&Part> = group.iter().filter(|part| part.run.is_some()).collect();
        let kinds: Vec<Kind> = runs.iter().filter_map(|part| part.run.map(|run| kind_of(&run, part.owner))).collect();
        let assistant = self.render.roles[owner] == Role::Assistant;
        let first = runs.first().map_or(end, |part| part.start);
        let last = runs.last().map_or(start, |part| part.end);
        let header_end = if assistant { self.header_end(owner, start, first) } else { None };
        // Gemma 4 writes tools' results into the message that called them: its end cannot be told from theirs.
        let foreign = assistant
            && std::iter::zip(&runs, &kinds)
                .any(|(part, kind)| *kind == Kind::Content && part.run.is_some_and(|r| r.message_index != part.owner));
        let ending = if foreign {
            None
        } else {
            let ends_with = runs.last().and_then(|part| part.run);
            self.ending(owner, ends_with, last.max(header_end.unwrap_or(start)), end)
        };
        let mut before = None;
        let mut fields = 0;
        for part in group {
            if let Some(run) = part.run {
                before = Some(self.field(part, &run));
                fields += 1;
            } else {
                let around = (before, kinds.get(fields).copied());
                self.scaffold(part, assistant, around, header_end, ending);
            }
        }
        Region { start, end, header_end, end_of_turn: ending, whole: true }
    }

    /// Behind the header of an assistant's message, which stands before its first field.
    fn header_end(&self, owner: usize, start: usize, first: usize) -> Option<usize> {
        let beginning = self.chars.slice(start, first);
        let header = self.scaffold.header.as_deref();
        if let Some(header) = header.filter(|header| !header.is_empty())
            && let Some(at) = beginning.rfind(header)
        {
            return Some(start + count(&beginning[..at + header.len()]));
        }
        let after_tool = owner > 0 && self.render.roles[owner - 1] == Role::Tool;
        if after_tool
            && let Some(other) = self.scaffold.header_after_tool.as_deref()
            && !other.is_empty()
            && beginning.starts_with(other)
        {
            return Some(start + count(other));
        }
        header.filter(|header| header.is_empty() || after_tool).map(|_| start)
    }

    /// What ends a message, behind its last field: all of it for one that ends with its content.
    fn ending(&self, owner: usize, last: Option<Run>, start: usize, end: usize) -> Option<(usize, usize)> {
        let tail = self.chars.slice(start, end);
        let bare = tail.trim_end_matches(is_blank);
        let stop = start + count(if bare.is_empty() { tail } else { bare });
        let role = self.render.roles[owner];
        if last.is_some_and(|run| run.root == Root::Content) && role != Role::Tool && !tail.is_empty() {
            return Some((start, stop));
        }
        let length = |ending: &String| {
            let shorter = ending.trim_end_matches(is_blank);
            if !shorter.is_empty() && bare.ends_with(shorter) || tail == ending {
                Some(count(if shorter.is_empty() { ending } else { shorter }))
            } else {
                None
            }
        };
        if let Some(length) = self.scaffold.ends.iter().filter_map(length).max() {
            return Some((stop - length, stop));
        }
        if role == Role::Assistant {
            let tokens = self.scaffold.control_tokens.iter();
            let longest = tokens.filter(|token| !token.is_empty() && bare.ends_with(token.as_str())).map(|t| count(t));
            let stop = start + count(bare);
            return longest.max().map(|length| (stop - length, stop));
        }
        None
    }

    /// The template's own text in a message: its header, tags and wrappers, its end.
    fn scaffold(
        &mut self,
        part: &Part,
        assistant: bool,
        around: (Option<Kind>, Option<Kind>),
        header_end: Option<usize>,
        ending: Option<(usize, usize)>,
    ) {
        let (start, end, owner) = (part.start, part.end, part.owner);
        let header = header_end.unwrap_or(start).clamp(start, end);
        self.segments.push(header, owner, Kind::Scaffold);
        let last = ending.map_or(end, |(from, _)| from.max(header).min(end));
        if assistant && header < last {
            self.wrapper(header, last, owner, around);
        } else {
            self.segments.push(last, owner, Kind::Scaffold);
        }
        if let Some((_, to)) = ending {
            self.segments.push(to.max(last).min(end), owner, Kind::EndOfTurn);
            self.segments.push(end, owner, Kind::Scaffold);
        }
    }

    /// Between two fields of an assistant: the tags of its reasoning, the wrappers of its calls.
    fn wrapper(&mut self, start: usize, end: usize, owner: i32, around: (Option<Kind>, Option<Kind>)) {
        let text = self.chars.slice(start, end);
        let (opening, closing) = (self.scaffold.open_tag.as_str(), self.scaffold.close_tag.as_str());
        let behind = |at: usize| start + count(&text[..at + closing.len()]);
        let closed = if closing.is_empty() { None } else { text.find(closing) };
        let (reasoning_end, kind) = match around {
            (Some(Kind::Reasoning), Some(Kind::ToolCall)) => (closed.map_or(start, behind), Kind::ToolCall),
            (None, Some(Kind::ToolCall)) if closed.is_some() && !opening.is_empty() && text.contains(opening) => {
                (text.rfind(closing).map_or(start, behind), Kind::ToolCall)
            }
            (Some(Kind::ToolCall), _) | (_, Some(Kind::ToolCall)) => (start, Kind::ToolCall),
            (Some(Kind::Reasoning), _) | (_, Some(Kind::Reasoning)) => (start, Kind::Reasoning),
            // A template may write the tags around no reasoning.
            (None | Some(Kind::Scaffold), _) if closed.is_some() => (start, Kind::Reasoning),
            _ => (start, Kind::Scaffold),
        };
        self.segments.push(reasoning_end, owner, Kind::Reasoning);
        self.segments.push(end, owner, kind);
    }

    /// A field's text. Returns the kind of its end.
    fn field(&mut self, part: &Part, run: &Run) -> Kind {
        let kind = kind_of(run, part.owner);
        let message_index = message_of(part, kind);
        let mut last = kind;
        if kind == Kind::Content
            && let Some((content, at)) = run.content
            && let Some((from, to)) = self.thoughts[content]
        {
            // Characters of the content as characters of the render.
            let place = |char: usize| (part.start + char).saturating_sub(at).clamp(part.start, part.end);
            self.segments.push(place(from), message_index, Kind::Content);
            self.segments.push(place(to), message_index, Kind::Reasoning);
            if place(from) < place(to) && place(to) == part.end {
                last = Kind::Reasoning;
            }
        }
        self.segments.push(part.end, message_index, kind);
        last
    }
}

/// Where a content holds reasoning: tags and all, at its beginning.
fn thoughts_in(content: &str, scaffold: &TurnScaffold) -> Option<(usize, usize)> {
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

fn kind_of(run: &Run, owner: i32) -> Kind {
    match run.root {
        Root::Content => Kind::Content,
        Root::Reasoning => Kind::Reasoning,
        Root::Call if run.message_index == owner => Kind::ToolCall,
        Root::Call | Root::Other => Kind::OtherField,
        Root::Tools => Kind::Tools,
        Root::Documents => Kind::Documents,
    }
}

/// Contents and reasoning belong to their message wherever they stand; all else to the one being rendered.
fn message_of(part: &Part, kind: Kind) -> i32 {
    match (kind, part.run) {
        (Kind::Content | Kind::Reasoning, Some(run)) => run.message_index,
        _ => part.owner,
    }
}
