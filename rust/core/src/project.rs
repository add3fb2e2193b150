//! Character spans onto tokens.

use crate::error::Error;
use crate::offsets::Offsets;
use crate::span::{CharSpan, TokenSpan};

/// What becomes of a token that has characters on both sides of a span's edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Straddle {
    /// It is in.
    Touch,
    /// It is out.
    Inside,
    /// It is an error.
    Error,
    /// Its first character decides.
    First,
}

/// Checks (start, end) pairs as character spans; `(-1, -1)` is an absent one.
///
/// # Errors
/// [`Error::Span`] with the index of the first span that is negative, ends before it starts, or is past the end
/// of a text of `text_length` characters.
pub fn check_spans(
    pairs: impl IntoIterator<Item = (i64, i64)>,
    text_length: Option<usize>,
) -> Result<Vec<Option<CharSpan>>, Error> {
    let check = |(span_index, (start, end)): (usize, (i64, i64))| {
        if (start, end) == (-1, -1) {
            return Ok(None);
        }
        let wrong = |reason: String| Error::Span { span_index, reason };
        let (Ok(s), Ok(e)) = (usize::try_from(start), usize::try_from(end)) else {
            return Err(wrong(format!("({start}, {end}) has a negative end; only (-1, -1) means: not there")));
        };
        let span = CharSpan::new(s, e).ok_or_else(|| wrong(format!("({start}, {end}) ends before it starts")))?;
        match text_length {
            Some(length) if e > length => {
                Err(wrong(format!("({start}, {end}) is past the end of the text, which has {length} characters")))
            }
            _ => Ok(Some(span)),
        }
    };
    pairs.into_iter().enumerate().map(check).collect()
}

/// The tokens of each span. An absent span has none; an empty one has an empty range where it would stand.
///
/// Linear in tokens + spans where the spans are in order, else a binary search more for each that is not.
///
/// # Errors
/// [`Error::Straddle`] for [`Straddle::Error`].
pub fn token_spans(
    offsets: &Offsets,
    spans: &[Option<CharSpan>],
    straddle: Straddle,
) -> Result<Vec<Option<TokenSpan>>, Error> {
    let mut finder = Finder::new(offsets);
    spans
        .iter()
        .map(|span| {
            let Some(span) = *span else { return Ok(None) };
            let visible = finder.find(span, straddle)?;
            // An empty range stands where the next token that has characters stands.
            let at_end = visible.start == offsets.visible_count();
            let start = if at_end { offsets.len() } else { offsets.visible(visible.start) };
            let end = if visible.is_empty() { start } else { offsets.visible(visible.end - 1) + 1 };
            Ok(TokenSpan::new(start, end))
        })
        .collect()
}

/// For each token whether its characters are in the union of `spans`: any of them (touch), all of them (inside), the
/// first one (first).
///
/// A token without characters is in no span.
///
/// # Errors
/// [`Error::Straddle`] for [`Straddle::Error`], where only some of a token's characters are in the union.
pub fn token_mask(offsets: &Offsets, spans: &[Option<CharSpan>], straddle: Straddle) -> Result<Vec<bool>, Error> {
    let mut mask = vec![false; offsets.len()];
    let mut finder = Finder::new(offsets);
    for span in union(spans) {
        for at in finder.find(span, straddle)? {
            mask[offsets.visible(at)] = true;
        }
    }
    Ok(mask)
}

/// The spans in order, those that overlap or adjoin made one, without empty ones.
fn union(spans: &[Option<CharSpan>]) -> Vec<CharSpan> {
    let mut sorted: Vec<CharSpan> = spans.iter().flatten().copied().filter(|s| !s.is_empty()).collect();
    if !sorted.is_sorted() {
        sorted.sort_unstable();
    }
    let mut merged: Vec<CharSpan> = Vec::with_capacity(sorted.len());
    for span in sorted {
        match merged.last_mut() {
            Some(last) if last.touches(span) => *last = last.cover(span),
            _ => merged.push(span),
        }
    }
    merged
}

/// Finds the visible tokens of spans; remembers where the last one was, so that spans in order cost one pass.
struct Finder<'o> {
    offsets: &'o Offsets,
    from: usize,
    from_char: usize,
}

impl<'o> Finder<'o> {
    const fn new(offsets: &'o Offsets) -> Self {
        Self { offsets, from: 0, from_char: 0 }
    }

    fn token(&self, visible_index: usize) -> CharSpan {
        self.offsets.token(self.offsets.visible(visible_index))
    }

    /// The range among the visible tokens whose tokens are in `span`.
    fn find(&mut self, span: CharSpan, straddle: Straddle) -> Result<std::ops::Range<usize>, Error> {
        let count = self.offsets.visible_count();
        if span.start() < self.from_char {
            self.from = 0;
        }
        let mut start = if straddle == Straddle::First {
            gallop(self.from, count, |i| self.token(i).start() < span.start())
        } else {
            gallop(self.from, count, |i| self.token(i).end() <= span.start())
        };
        (self.from, self.from_char) = (start, span.start());
        if span.is_empty() {
            return Ok(start..start);
        }
        let mut end = gallop(start, count, |i| self.token(i).start() < span.end());
        if matches!(straddle, Straddle::Inside | Straddle::Error) {
            // Starts and ends do not fall, so tokens that hang over an edge are the first and the last ones.
            let (first, last) = (start, end);
            while start < end && self.token(start).start() < span.start() {
                start += 1;
            }
            while start < end && self.token(end - 1).end() > span.end() {
                end -= 1;
            }
            if straddle == Straddle::Error && (start, end) != (first, last) {
                let at = if start > first { first } else { last - 1 };
                return Err(Error::Straddle { token_index: self.offsets.visible(at), token: self.token(at), span });
            }
        }
        Ok(start..end)
    }
}

/// The first index from `from` on for which `before` is false; `before` must not become true again.
fn gallop(from: usize, count: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut step) = (from, 1);
    while low + step <= count && before(low + step - 1) {
        low += step;
        step *= 2;
    }
    let mut high = count.min(low + step);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
