//! The render cut wherever its owner or its origin changes.

use super::{Render, Run};

/// Rendered characters of one owner and one origin.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub start: usize,
    pub end: usize,
    /// The message being rendered; -1: none.
    pub owner: i32,
    /// The field they come from, as the run of just these characters; none: the template's own.
    pub run: Option<Run>,
}

/// The parts of a render of `length` characters, in order and without gaps.
pub fn parts(render: &Render<'_>, length: usize) -> Vec<Part> {
    let mut cutter = Cutter { owners: &render.owners, at: 0, position: 0, length, parts: Vec::new() };
    for run in &render.runs {
        cutter.put(run.start, None);
        cutter.put(run.end, Some(*run));
    }
    cutter.put(length, None);
    cutter.parts
}

struct Cutter<'r> {
    owners: &'r [(usize, i32)],
    at: usize,
    position: usize,
    length: usize,
    parts: Vec<Part>,
}

impl Cutter<'_> {
    /// All up to `end` comes from this run.
    fn put(&mut self, end: usize, run: Option<Run>) {
        let end = end.min(self.length);
        while self.position < end {
            let owner = self.owner();
            let stop = self.owners.get(self.at + 1).map_or(end, |next| next.0.min(end));
            match self.parts.last_mut() {
                Some(last) if run.is_none() && last.run.is_none() && last.owner == owner => last.end = stop,
                _ => {
                    let run = run.map(|run| from(run, self.position, stop));
                    self.parts.push(Part { start: self.position, end: stop, owner, run });
                }
            }
            self.position = stop;
        }
    }

    fn owner(&mut self) -> i32 {
        while self.owners.get(self.at + 1).is_some_and(|next| next.0 <= self.position) {
            self.at += 1;
        }
        self.owners.get(self.at).map_or(-1, |owner| owner.1)
    }
}

/// The part `[start, end)` of a run.
fn from(run: Run, start: usize, end: usize) -> Run {
    let skipped = start.saturating_sub(run.start);
    Run { start, end, content: run.content.map(|(text, at)| (text, at + skipped)), ..run }
}
