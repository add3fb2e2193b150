//! What a template wrote, and where it came from: in bytes, as the machine counts, until someone asks in characters.

use std::sync::Arc;

use super::input::{Input, Places};
use super::machine::{Host, evaluate};
use super::output::Root as Written;
use super::shared::Shared;
use super::string::{FIRST_DUMP, Origin, Run as ByteRun, size};
use super::write::Style;
use super::{Eval, Halt, Limits, Program};
use crate::render::{Cut, Findings, Render, Role, Root, Run, Shape, TurnScaffold, segments_of};
use crate::text::{CharIndex, count};

/// What a template wrote.
#[derive(Debug)]
pub struct Rendered {
    /// The render, and where it came from.
    pub root: Written,
    /// The containers that runs refer to as dumps, from [`FIRST_DUMP`] on.
    pub dumps: Vec<Dump>,
    /// The byte that the generation prompt begins at, if there is one.
    pub prompt_start: Option<u32>,
}

/// A container of the input that was written as a text.
#[derive(Debug)]
pub struct Dump {
    /// The container.
    pub container: Origin,
    /// How it was written.
    pub style: Style,
    /// What was written.
    pub text: Shared,
}

/// Renders a template; with a generation prompt also without it, so that it is known where that begins.
///
/// # Errors
/// The template raises, has something that the machine lacks, or takes too much.
pub fn render(
    program: &Program,
    variables: &[(Arc<str>, Input)],
    places: &Places,
    add_generation_prompt: bool,
    host: &dyn Host,
    limits: Limits,
) -> Eval<Rendered> {
    let once = |prompt: bool| {
        let prompt = [(Arc::from("add_generation_prompt"), Input::Bool(prompt))];
        evaluate(program, &[variables, &prompt], places, host, limits)
    };
    let mut rendered = once(add_generation_prompt)?;
    let owners = &mut rendered.root.owners;
    if owners.first().is_none_or(|(start, _)| *start > 0) {
        owners.insert(0, (0, -1));
    }
    if add_generation_prompt {
        let without = match once(false) {
            Ok(without) => Some(without.root.text),
            // It takes such messages as a prompt alone.
            Err(Halt::Raised(_)) => None,
            Err(halt) => return Err(halt),
        };
        rendered.open_prompt(without.as_deref());
    }
    Ok(rendered)
}

impl Rendered {
    /// A prompt may be written inside of the loop over messages; what the render without it lacks, is it.
    /// `without` is that render; nothing where the template refuses it.
    fn open_prompt(&mut self, without: Option<&str>) {
        let (text, owners) = (&self.root.text, &mut self.root.owners);
        let start = match without {
            Some(without) if text.starts_with(without) => size(without.len()),
            _ => owners.last().filter(|(_, owner)| *owner == -1).map_or(size(text.len()), |(start, _)| *start),
        };
        owners.retain(|(from, _)| *from < start);
        owners.push((start, -1));
        self.prompt_start = Some(start);
    }

    /// From which character on which message was being rendered.
    pub fn owners(&self, chars: &CharIndex<'_>) -> Vec<(usize, i32)> {
        self.root.owners.iter().map(|(start, owner)| (chars.chars_before(*start as usize), *owner)).collect()
    }

    /// The render cut by message and kind, and the region of each message.
    ///
    /// `owners` stand in place of those of the render, where these say nothing.
    pub fn cut(
        &self,
        places: &Places,
        (roles, shapes): (&[Role], &[Shape]),
        scaffold: &TurnScaffold,
        findings: &Findings,
        owners: Option<Vec<(usize, i32)>>,
    ) -> Cut {
        let chars = CharIndex::new(&self.root.text);
        let (runs, contents) = self.runs(&chars, places, roles);
        let contents = contents.iter().map(|content| &**content).collect();
        let prompt_start = self.prompt_start.map(|start| chars.chars_before(start as usize));
        let owners = owners.unwrap_or_else(|| self.owners(&chars));
        segments_of(&Render { text: &chars, runs, contents, owners, roles, shapes, prompt_start }, scaffold, findings)
    }

    /// Runs as the core cuts by them, and the whole texts of contents.
    fn runs(&self, chars: &CharIndex<'_>, places: &Places, roles: &[Role]) -> (Vec<Run>, Vec<Shared>) {
        let mut contents: Vec<(Origin, Shared)> = Vec::new();
        let mut found = Vec::with_capacity(self.root.runs.len());
        for run in &self.root.runs {
            let field = self.field(run);
            let message_index = places.message(field);
            let of = usize::try_from(message_index).ok().and_then(|index| roles.get(index));
            let Some(root) = Root::of_way(&places.way(field), of.copied()) else { continue };
            let text = if field == run.origin { places.get(field).and_then(|place| place.text.as_ref()) } else { None };
            let content = match text {
                Some(text) if root == Root::Content && of == Some(&Role::Assistant) => char_in(run, text).map(|at| {
                    // A content is written in parts that follow each other, if in parts.
                    let known = contents.iter().rposition(|(origin, _)| *origin == field);
                    let place = known.unwrap_or_else(|| {
                        contents.push((field, text.clone()));
                        contents.len() - 1
                    });
                    (place, at)
                }),
                _ => None,
            };
            let (start, end) = (chars.chars_before(run.start as usize), chars.chars_before(run.end as usize));
            found.push(Run { start, end, root, message_index, field: field.into(), content });
        }
        (found, contents.into_iter().map(|(_, text)| text).collect())
    }

    /// The characters that the caller's data contributed: half-open ranges, in order, which do not touch.
    pub fn data(&self, places: &Places, structural_roles: &[impl AsRef<str>]) -> Vec<(u32, u32)> {
        let chars = CharIndex::new(&self.root.text);
        let mut found: Vec<(u32, u32)> = Vec::new();
        for run in self.root.runs.iter().filter(|run| run.start < run.end) {
            if !places.is_data(self.field(run), structural_roles) {
                continue;
            }
            let place = |byte: u32| size(chars.chars_before(byte as usize));
            let (start, end) = (place(run.start), place(run.end));
            match found.last_mut() {
                Some(last) if last.1 == start => last.1 = end,
                _ => found.push((start, end)),
            }
        }
        found
    }

    /// The field that a run is of, or the container that was written.
    pub fn field(&self, run: &ByteRun) -> Origin {
        run.origin.checked_sub(FIRST_DUMP).map_or(run.origin, |at| self.dumps[at as usize].container)
    }
}

/// The character of its origin's text that a run begins at; none for one that is no copy.
pub fn char_in(run: &ByteRun, text: &str) -> Option<usize> {
    match usize::try_from(run.at) {
        Ok(at) => Some(count(&text[..at])),
        Err(_) => None,
    }
}
