//! What a template wrote around the fields of each message: headers, tags and wrappers, ends.

use std::collections::BTreeMap;

use super::kinds::{kind_of, message_of, thoughts_in};
use super::openings::{Start, turn_start};
use super::parts::{Part, parts};
use super::{Context, Findings, Render, Role, Root, Run, Stop, TurnScaffold, results};
use crate::attribute::segments::{Kind, Segments};
use crate::text::{CharIndex, count, is_blank};

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
    /// Whether all of the message stands in this one range, and nothing that another person said.
    pub whole: bool,
    /// How the end of the header was found; none of other messages than assistants'.
    pub found: Option<Start>,
    /// Whether results stand between the assistant's own words, or behind them.
    pub interrupted: bool,
}

/// A render, cut.
#[derive(Clone, Debug, Default)]
pub struct Cut {
    /// By message and kind.
    pub segments: Segments,
    /// Of each message that was rendered.
    pub regions: BTreeMap<i32, Region>,
    /// What stands before turns whose opening was not asked for yet.
    pub unknown: Vec<Context>,
    /// The assistants' messages that only the row's own prompts tell the opening of.
    pub undecided: Vec<i32>,
    /// The assistants' messages that have text in the render and no part of it.
    pub homeless: Vec<i32>,
}

/// Cuts a render.
pub fn segments_of(render: &Render<'_>, scaffold: &TurnScaffold, findings: &Findings) -> Cut {
    let chars = render.text;
    let found = parts(render, chars.len());
    let thoughts = render.contents.iter().map(|content| thoughts_in(content, scaffold)).collect();
    let mut reader = Reader { render, scaffold, findings, chars, thoughts, cut: Cut::default() };
    let mut homeless = Vec::new();
    for group in found.chunk_by(|first, second| first.owner == second.owner) {
        let Ok(owner) = usize::try_from(group[0].owner) else {
            reader.outside(group);
            homeless.extend(group.iter().filter_map(|part| reader.spoken_by(part)));
            continue;
        };
        let region = reader.message(owner, group);
        // A macro may go over the messages again, for the id of a call; what has nothing of a message's own is no part.
        let own =
            |part: &Part| part.run.is_some_and(|run| run.message_index == group[0].owner && run.root != Root::Call);
        match reader.cut.regions.get_mut(&group[0].owner) {
            Some(_) if !group.iter().any(own) => {}
            Some(known) => {
                let wider = if region.end - region.start > known.end - known.start { region } else { *known };
                *known = Region { whole: false, ..wider };
            }
            None => _ = reader.cut.regions.insert(group[0].owner, region),
        }
    }
    let mut cut = reader.cut;
    homeless.retain(|owner| !cut.regions.contains_key(owner));
    homeless.sort_unstable();
    homeless.dedup();
    cut.homeless = homeless;
    cut
}

struct Reader<'r> {
    render: &'r Render<'r>,
    scaffold: &'r TurnScaffold,
    findings: &'r Findings,
    chars: &'r CharIndex<'r>,
    /// For each content where it holds reasoning.
    thoughts: Vec<Option<(usize, usize)>>,
    cut: Cut,
}

impl Reader<'_> {
    /// The assistant's message that a part is the text of.
    fn spoken_by(&self, part: &Part) -> Option<i32> {
        let run = part.run.filter(|run| matches!(run.root, Root::Content | Root::Reasoning | Root::Call))?;
        let role = usize::try_from(run.message_index).ok().and_then(|index| self.render.roles.get(index));
        (role == Some(&Role::Assistant)).then_some(run.message_index)
    }

    fn push(&mut self, end: usize, message_index: i32, kind: Kind) {
        self.cut.segments.push(end, message_index, kind);
    }

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
            if matches!(kind, Kind::Content | Kind::ToolResult) && holder != Some(message_index) {
                holder = Some(message_index);
                holders += 1;
            }
            if std::ptr::eq(part, &raw const group[others]) && kind == Kind::Scaffold && holders == 1 {
                self.end_outside(last, holder.unwrap_or(-1));
            }
            self.push(part.end, message_index, kind);
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
            self.push(stop - length, -1, Kind::Scaffold);
            self.push(stop, holder, Kind::EndOfTurn);
        }
    }

    fn message(&mut self, owner: usize, group: &[Part]) -> Region {
        let (start, end) = (group[0].start, group[group.len() - 1].end);
        let runs: Vec<&Part> = group.iter().filter(|part| part.run.is_some()).collect();
        let kinds = results::kinds_of(&runs, self.chars);
        let assistant = self.render.roles[owner] == Role::Assistant;
        let first = runs.first().map_or(end, |part| part.start);
        let (header_end, found) = if assistant { self.header_end(owner, start, first) } else { (None, None) };
        let interrupted = assistant && kinds.contains(&Kind::ToolResult);
        let foreign = assistant
            && std::iter::zip(&runs, &kinds)
                .any(|(part, kind)| *kind == Kind::Content && part.run.is_some_and(|r| r.message_index != part.owner));
        let stop = if interrupted {
            results::stop(self.known_stop(owner), &runs, &kinds, header_end.unwrap_or(first))
        } else {
            None
        };
        let own = Own { assistant, header_end, stop };
        let ending = self.message_end(owner, &runs, &kinds, &own, (start, end));
        let mut before = None;
        let mut fields = 0;
        for part in group {
            if let Some(run) = part.run {
                before = Some(self.field(part, &run, kinds[fields], &own));
                fields += 1;
            } else {
                let around = (before, kinds.get(fields).copied());
                self.scaffold(part, around, &own, ending);
            }
        }
        let header_end = if foreign { None } else { header_end };
        Region { start, end, header_end, end_of_turn: ending, whole: !foreign, found, interrupted }
    }

    /// Behind the header of an assistant's message, and how that was found.
    fn header_end(&mut self, owner: usize, start: usize, first: usize) -> (Option<usize>, Option<Start>) {
        let (scaffold, index) = (self.scaffold, i32::try_from(owner).unwrap_or(i32::MAX));
        let opening = if let Some(own) = self.findings.openings.get(&index) {
            Some(own)
        } else if owner == 0 {
            let (at, _) = scaffold
                .openings
                .first()
                .and_then(|(_, opening)| opening.as_ref())
                .map_or((start, Start::NoPrompt), |opening| turn_start(self.chars, start, first, opening, scaffold));
            return (Some(at), Some(Start::NoPrompt));
        } else {
            let (before, last) = self.context(owner);
            match scaffold.opening(before, last) {
                Some(Some(opening)) => Some(opening),
                Some(None) => {
                    self.cut.undecided.push(index);
                    None
                }
                None => {
                    let context = (before.to_owned(), last.to_owned());
                    if !self.cut.unknown.contains(&context) {
                        self.cut.unknown.push(context);
                    }
                    None
                }
            }
        };
        let Some(opening) = opening else { return (None, None) };
        let (at, found) = turn_start(self.chars, start, first, opening, scaffold);
        (Some(at), Some(found))
    }

    /// What stands before a message: the shape of the one right before it, and of the last one that is no system's.
    fn context(&self, owner: usize) -> (&str, &str) {
        let (roles, shapes) = (self.render.roles, self.render.shapes);
        let last = (0..owner).rev().find(|&index| roles[index] != Role::System);
        (&shapes[owner - 1], last.map_or("", |index| &shapes[index]))
    }

    /// Where other renders showed that a message's own part ends.
    fn known_stop(&self, owner: usize) -> Option<&Stop> {
        i32::try_from(owner).ok().and_then(|owner| self.findings.stops.get(&owner))
    }

    /// What ends a message: of one whose last words are results, what its own part ends with.
    fn message_end(
        &self,
        owner: usize,
        runs: &[&Part],
        kinds: &[Kind],
        own: &Own,
        (start, end): (usize, usize),
    ) -> Option<(usize, usize)> {
        let header_end = own.header_end.unwrap_or(start);
        match (own.stop, kinds.last()) {
            (Some(stop), Some(Kind::ToolResult)) => {
                results::ending(self.known_stop(owner), self.chars, (header_end, stop), self.scaffold)
            }
            _ => {
                let last = runs.last().map_or(start, |part| part.end);
                self.ending(owner, runs.last().and_then(|part| part.run), last.max(header_end), end)
            }
        }
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
            // What closes a single call ends no turn: the template writes it once more for another call.
            let closes = |token: &String| self.scaffold.call_ends.contains(token);
            let tokens = self.scaffold.control_tokens.iter().filter(|token| !token.is_empty() && !closes(token));
            let longest = tokens.filter(|token| bare.ends_with(token.as_str())).map(|t| count(t));
            let stop = start + count(bare);
            return longest.max().map(|length| (stop - length, stop));
        }
        None
    }

    /// The template's own text in a message: its header, tags and wrappers, its end.
    fn scaffold(
        &mut self,
        part: &Part,
        around: (Option<Kind>, Option<Kind>),
        own: &Own,
        ending: Option<(usize, usize)>,
    ) {
        let (start, end, owner) = (part.start, part.end, part.owner);
        let header = own.header_end.unwrap_or(start).clamp(start, end);
        self.push(header, owner, Kind::Scaffold);
        // What announces results, or closes them.
        if let Some(stop) = own.stop.filter(|&stop| stop < end)
            && matches!(around, (_, Some(Kind::ToolResult)) | (Some(Kind::ToolResult), _))
        {
            let said = stop.max(header);
            if said > header {
                self.own_scaffold((header, said), owner, around, own, ending);
            }
            self.push(end, owner, Kind::ToolResult);
            return;
        }
        let blanks = self.chars.slice(header, end);
        if own.assistant && around.1 == Some(Kind::Content) && header < end && blanks.bytes().all(|byte| byte == b' ') {
            // A blank in front of the first word is the word's: tokens begin with blanks.
            self.cut.segments.lead(header, end);
            self.push(end, owner, Kind::Scaffold);
            return;
        }
        self.own_scaffold((header, end), owner, around, own, ending);
    }

    /// What a template writes of a message itself, behind the header.
    fn own_scaffold(
        &mut self,
        (header, end): (usize, usize),
        owner: i32,
        around: (Option<Kind>, Option<Kind>),
        own: &Own,
        ending: Option<(usize, usize)>,
    ) {
        let last = ending.map_or(end, |(from, _)| from.max(header).min(end));
        if own.assistant && header < last {
            self.wrapper(header, last, owner, around);
        } else {
            self.push(last, owner, Kind::Scaffold);
        }
        if let Some((_, to)) = ending {
            self.push(to.max(last).min(end), owner, Kind::EndOfTurn);
            self.push(end, owner, Kind::Scaffold);
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
        self.push(reasoning_end, owner, Kind::Reasoning);
        self.push(end, owner, kind);
    }

    /// A field's text. Returns the kind of its end.
    fn field(&mut self, part: &Part, run: &Run, kind: Kind, own: &Own) -> Kind {
        // A recorded text may begin with what the prompt writes.
        self.push(own.header_end.unwrap_or(part.start).min(part.end), part.owner, Kind::Scaffold);
        let message_index = message_of(part, kind);
        let mut last = kind;
        if kind == Kind::Content
            && let Some((content, at)) = run.content
            && let Some((from, to)) = self.thoughts[content]
        {
            // Characters of the content as characters of the render.
            let place = |char: usize| (part.start + char).saturating_sub(at).clamp(part.start, part.end);
            self.push(place(from), message_index, Kind::Content);
            self.push(place(to), message_index, Kind::Reasoning);
            if place(from) < place(to) && place(to) == part.end {
                last = Kind::Reasoning;
            }
        }
        self.push(part.end, message_index, kind);
        last
    }
}

/// What of a message is the assistant's own.
struct Own {
    assistant: bool,
    /// Behind its header.
    header_end: Option<usize>,
    /// Where it ends, if results follow.
    stop: Option<usize>,
}
