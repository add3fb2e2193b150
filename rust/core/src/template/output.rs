//! What a template writes, and which message was being rendered when it did.

use super::Eval;
use super::limits::{HEAD, Meter};
use super::string::{Mark, Marked, Run, Text, size};

/// What is written so far: the render itself, or the text of a macro or a block.
#[derive(Debug, Default)]
pub struct Buffer {
    text: String,
    runs: Vec<Run>,
    marks: Vec<Marked>,
    /// The owner that was last said, and from where on it owns.
    owner: Option<(i32, u32)>,
}

/// The render itself.
#[derive(Debug, Default)]
pub struct Root {
    /// Its characters.
    pub text: String,
    /// In order, without overlaps.
    pub runs: Vec<Run>,
    /// From which byte on which message was being rendered.
    pub owners: Vec<(u32, i32)>,
    /// The bytes of each generation block, in the order in which they were closed.
    pub generation: Vec<(u32, u32)>,
    owner: i32,
}

/// Where a template writes to.
pub enum Out {
    /// The render.
    Root(Root),
    /// A text.
    Buffer(Buffer),
}

impl Out {
    /// The render, empty.
    pub fn root() -> Self {
        Self::Root(Root { owner: -1, ..Root::default() })
    }

    /// How many bytes a byte that is written takes: of the render Python keeps a copy, in which a character may have four.
    pub const fn weight(&self) -> usize {
        match self {
            Self::Root(_) => 4,
            Self::Buffer(_) => 1,
        }
    }

    /// Writes the template's own text.
    pub fn data(&mut self, data: &str) {
        match self {
            Self::Root(root) => root.text.push_str(data),
            Self::Buffer(buffer) => buffer.text.push_str(data),
        }
    }

    /// Writes a text.
    pub fn text(&mut self, text: &Text) {
        let (own, runs) = match self {
            Self::Root(root) => (&mut root.text, &mut root.runs),
            Self::Buffer(buffer) => (&mut buffer.text, &mut buffer.runs),
        };
        let at = size(own.len());
        runs.extend(text.runs().iter().map(|run| Run { start: run.start + at, end: run.end + at, ..*run }));
        own.push_str(text.as_str());
        match self {
            Self::Root(root) => {
                for (start, end, mark) in text.marks() {
                    match mark {
                        Mark::Owner(owner) => {
                            let around = root.owner;
                            root.own(start + at, *owner);
                            root.own(end + at, around);
                        }
                        Mark::Generation => root.generation.push((start + at, end + at)),
                    }
                }
            }
            Self::Buffer(buffer) => {
                buffer.marks.extend(text.marks().iter().map(|(start, end, mark)| (start + at, end + at, *mark)));
            }
        }
    }

    /// What is written from here on belongs to a message.
    pub fn owner(&mut self, owner: i32) {
        match self {
            Self::Root(root) => {
                root.owner = owner;
                root.own(size(root.text.len()), owner);
            }
            Self::Buffer(buffer) => {
                buffer.close();
                buffer.owner = Some((owner, size(buffer.text.len())));
            }
        }
    }
}

impl Root {
    /// A change before any byte was written does not count.
    fn own(&mut self, start: u32, owner: i32) {
        if self.owners.last().is_some_and(|(last, _)| *last == start) {
            self.owners.pop();
        }
        if self.owners.last().map(|(_, last)| *last) != Some(owner) {
            self.owners.push((start, owner));
        }
    }
}

impl Buffer {
    fn close(&mut self) {
        let length = size(self.text.len());
        if let Some((owner, start)) = self.owner
            && start < length
        {
            self.marks.push((start, length, Mark::Owner(owner)));
        }
    }

    /// What was written.
    pub fn finish(mut self, meter: &Meter) -> Eval<Text> {
        self.close();
        let (runs, marks) = (self.runs.len() * size_of::<Run>(), self.marks.len() * size_of::<Marked>());
        meter.spend(HEAD + self.text.len() + runs + marks)?;
        Ok(Text::with_runs(self.text, self.runs, self.marks))
    }
}
