//! Half-open ranges that know their unit. The only place that compares ends.

use std::fmt;
use std::marker::PhantomData;

/// A unit of position. The name is what error messages call one of it.
pub trait Unit: Copy + Ord + fmt::Debug {
    /// The singular noun, e.g. `"character"`.
    const NAME: &'static str;
}

/// Code points, as Python counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Char {}
/// UTF-8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Byte {}
/// Positions in `input_ids`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Token {}

impl Unit for Char {
    const NAME: &'static str = "character";
}
impl Unit for Byte {
    const NAME: &'static str = "byte";
}
impl Unit for Token {
    const NAME: &'static str = "token";
}

/// A half-open range `start..end` of `U`s with `start <= end`.
///
/// ```
/// use chatspan_core::span::CharSpan;
/// assert!(CharSpan::new(3, 2).is_none());
/// assert!(CharSpan::new(2, 5).unwrap().contains(CharSpan::new(3, 5).unwrap()));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span<U> {
    start: usize,
    end: usize,
    unit: PhantomData<U>,
}

/// A range of code points.
pub type CharSpan = Span<Char>;
/// A range of UTF-8 bytes.
pub type ByteSpan = Span<Byte>;
/// A range of token positions.
pub type TokenSpan = Span<Token>;

impl<U: Unit> Span<U> {
    /// The range, or `None` where it would end before it starts.
    pub const fn new(start: usize, end: usize) -> Option<Self> {
        if start <= end { Some(Self { start, end, unit: PhantomData }) } else { None }
    }

    /// The range that starts at `start` and holds `len` positions.
    pub const fn with_len(start: usize, len: usize) -> Self {
        Self { start, end: start.saturating_add(len), unit: PhantomData }
    }

    /// First position.
    pub const fn start(self) -> usize {
        self.start
    }

    /// Position after the last.
    pub const fn end(self) -> usize {
        self.end
    }

    /// How many positions.
    pub const fn len(self) -> usize {
        self.end - self.start
    }

    /// Whether it holds no position.
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Whether every position of `other` is in this range.
    pub const fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// Whether it ends before `other` starts, or right there.
    pub const fn is_before(self, other: Self) -> bool {
        self.end <= other.start
    }

    /// Whether neither is before nor behind the other, a shared end included.
    pub const fn touches(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    /// The smallest range that holds both.
    #[must_use]
    pub fn cover(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end), unit: PhantomData }
    }

    /// The positions.
    pub const fn range(self) -> std::ops::Range<usize> {
        self.start..self.end
    }
}

impl<U> fmt::Debug for Span<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<U> fmt::Display for Span<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}
