//! Puts texts together, with their runs. What comes of it is counted before it is made.

use super::Eval;
use super::limits::Meter;
use super::string::{Marked, Origin, Run, Text, size};

/// The texts, one behind the other.
pub fn join<'t>(meter: &Meter, parts: impl IntoIterator<Item = &'t Text, IntoIter: Clone>) -> Eval<Text> {
    let parts = parts.into_iter();
    let mut size = Size::default();
    parts.clone().for_each(|part| size.add(part));
    let mut joiner = size.joiner(meter)?;
    parts.for_each(|part| joiner.push(part));
    Ok(joiner.finish())
}

/// As `separator.join(parts)`.
pub fn join_with(meter: &Meter, separator: &Text, parts: &[Text]) -> Eval<Text> {
    let mut size = Size::default();
    parts.iter().for_each(|part| size.add(part));
    size.add_often(separator, parts.len().saturating_sub(1));
    let mut joiner = size.joiner(meter)?;
    for (index, part) in parts.iter().enumerate() {
        if index > 0 && !separator.is_empty() {
            joiner.push(separator);
        }
        joiner.push(part);
    }
    Ok(joiner.finish())
}

/// As `text * times`.
pub fn repeat(meter: &Meter, text: &Text, times: usize) -> Eval<Text> {
    if text.is_empty() {
        return Ok(text.clone());
    }
    let mut size = Size::default();
    size.add_often(text, times);
    let mut joiner = size.joiner(meter)?;
    for _ in 0..times {
        joiner.push(text);
    }
    Ok(joiner.finish())
}

/// What a text will take.
#[derive(Default)]
struct Size {
    bytes: usize,
    runs: usize,
    marks: usize,
    parts: usize,
}

impl Size {
    fn add(&mut self, part: &Text) {
        self.bytes = self.bytes.saturating_add(part.len());
        self.runs = self.runs.saturating_add(part.run_count());
        self.marks = self.marks.saturating_add(part.marks().len());
        self.parts += 1;
    }

    fn add_often(&mut self, part: &Text, times: usize) {
        let more = |sum: &mut usize, each: usize| *sum = sum.saturating_add(each.saturating_mul(times));
        more(&mut self.bytes, part.len());
        more(&mut self.runs, part.run_count());
        more(&mut self.marks, part.marks().len());
        more(&mut self.parts, 1);
    }

    fn held(&self) -> usize {
        let (runs, marks) =
            (self.runs.saturating_mul(size_of::<Run>()), self.marks.saturating_mul(size_of::<Marked>()));
        self.bytes.saturating_add(runs).saturating_add(marks)
    }

    fn joiner(&self, meter: &Meter) -> Eval<Joiner> {
        let held = self.held();
        meter.fits(held)?;
        meter.work(self.parts.saturating_add(held / 16))?;
        Ok(Joiner {
            text: String::with_capacity(self.bytes),
            runs: Vec::with_capacity(self.runs),
            marks: Vec::with_capacity(self.marks),
        })
    }
}

impl Text {
    /// The bytes that it takes.
    pub fn held(&self) -> usize {
        self.len() + self.run_count() * size_of::<Run>() + size_of_val(self.marks())
    }
}

/// Puts texts together.
#[derive(Default)]
pub struct Joiner {
    text: String,
    runs: Vec<Run>,
    marks: Vec<Marked>,
}

impl Joiner {
    /// One more text.
    pub fn push(&mut self, part: &Text) {
        let at = size(self.text.len());
        self.runs.extend(part.runs().iter().map(|run| Run { start: run.start + at, end: run.end + at, ..*run }));
        self.marks.extend(part.marks().iter().map(|(start, end, mark)| (start + at, end + at, *mark)));
        self.text.push_str(part.as_str());
    }

    /// One more text, of the template or derived from an origin.
    pub fn push_str(&mut self, part: &str, origin: Option<(Origin, i32)>) {
        if part.is_empty() {
            return;
        }
        let (start, end) = (size(self.text.len()), size(self.text.len() + part.len()));
        if let Some((origin, at)) = origin {
            match self.runs.last_mut() {
                Some(last) if at < 0 && last.at < 0 && last.origin == origin && last.end == start => last.end = end,
                _ => self.runs.push(Run { start, end, origin, at }),
            }
        }
        self.text.push_str(part);
    }

    /// The bytes that it takes.
    pub fn held(&self) -> usize {
        self.text.len() + self.runs.len() * size_of::<Run>() + self.marks.len() * size_of::<Marked>()
    }

    /// All of them.
    pub fn finish(self) -> Text {
        Text::with_runs(self.text, self.runs, self.marks)
    }
}
