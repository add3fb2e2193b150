//! The token → character table, checked once when it is made.

use crate::error::Error;
use crate::span::CharSpan;

/// For each token its half-open range of characters in the render: HF's `offset_mapping`.
///
/// A token with an empty range (tokenizers give `(0, 0)` for tokens they add) stands for no character. The
/// others are in order: neither their starts nor their ends fall. Several may share a character.
#[derive(Clone, Debug)]
pub struct Offsets {
    ranges: Vec<(u32, u32)>,
    /// Indices of the tokens that stand for characters; none where all do.
    visible: Option<Vec<usize>>,
    text_length: Option<usize>,
}

impl Offsets {
    /// Checks `pairs` of (start, end), in characters of a text of `text_length` characters where that is known.
    ///
    /// # Errors
    /// [`Error::Offsets`] with the index of the first token whose range is negative, ends before it starts,
    /// is past the end of the text or of 32 bits, or starts or ends before the one in front of it.
    pub fn new(pairs: impl IntoIterator<Item = (i64, i64)>, text_length: Option<usize>) -> Result<Self, Error> {
        let pairs = pairs.into_iter();
        let mut check = Check::new(text_length);
        let mut ranges = Vec::with_capacity(pairs.size_hint().0);
        for (token_index, (start, end)) in pairs.enumerate() {
            let wrong = |what: &str| {
                let reason = format!("({start}, {end}) {what}");
                Err(Error::Offsets { token_index, reason })
            };
            if start < 0 || end < 0 {
                return wrong("has a negative end");
            }
            // What is too long for a text is past the end of it.
            let within = |position: i64| u32::try_from(position).unwrap_or(u32::MAX);
            if start <= end && text_length.is_none() && end >= i64::from(u32::MAX) {
                return wrong("is past 32 bits, longer than any text");
            }
            check.token(token_index, (within(start), within(end)), (start, end))?;
            ranges.push((within(start), within(end)));
        }
        Ok(check.table(ranges))
    }

    /// Checks ranges that are there already, of a text of so many characters.
    ///
    /// # Errors
    /// As [`Offsets::new`].
    pub fn of_ranges(ranges: Vec<(u32, u32)>, text_length: usize) -> Result<Self, Error> {
        if are_all_visible(&ranges, text_length) {
            return Ok(Self { ranges, visible: None, text_length: Some(text_length) });
        }
        let mut check = Check::new(Some(text_length));
        for (token_index, &(start, end)) in ranges.iter().enumerate() {
            check.token(token_index, (start, end), (i64::from(start), i64::from(end)))?;
        }
        Ok(check.table(ranges))
    }

    /// Ranges that were laid out in order, none of them empty, over a text of so many characters.
    #[cfg(feature = "native")]
    pub(crate) fn laid(ranges: Vec<(u32, u32)>, text_length: usize) -> Self {
        debug_assert!(are_all_visible(&ranges, text_length));
        Self { ranges, visible: None, text_length: Some(text_length) }
    }

    /// Ranges that were laid out in order, some of them empty.
    #[cfg(feature = "native")]
    pub(crate) fn laid_with_empty(ranges: Vec<(u32, u32)>, text_length: usize) -> Self {
        debug_assert!(Self::of_ranges(ranges.clone(), text_length).is_ok());
        let seen = ranges.iter().enumerate().filter(|(_, (start, end))| start < end);
        Self { visible: Some(seen.map(|(index, _)| index).collect()), ranges, text_length: Some(text_length) }
    }

    /// How many tokens.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The first character of each token and the one behind its last.
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.ranges
    }

    /// The characters of a token.
    pub fn token(&self, token_index: usize) -> CharSpan {
        span(self.ranges[token_index])
    }

    /// The characters of each token.
    pub fn tokens(&self) -> impl ExactSizeIterator<Item = CharSpan> {
        self.ranges.iter().map(|&range| span(range))
    }

    /// The text's length in characters, where it is known.
    pub const fn text_length(&self) -> Option<usize> {
        self.text_length
    }

    /// Whether every token stands for characters.
    pub(crate) const fn are_all_visible(&self) -> bool {
        self.visible.is_none()
    }

    /// How many tokens stand for characters.
    pub(crate) fn visible_count(&self) -> usize {
        self.visible.as_ref().map_or(self.ranges.len(), Vec::len)
    }

    /// The index of a token, counted among those that stand for characters.
    pub(crate) fn visible(&self, among_visible: usize) -> usize {
        self.visible.as_ref().map_or(among_visible, |visible| visible[among_visible])
    }
}

/// Whether ranges are in order, within the text, and none is empty: the rule, found without a branch for each.
fn are_all_visible(ranges: &[(u32, u32)], text_length: usize) -> bool {
    let in_order = std::iter::zip(ranges, ranges.get(1..).unwrap_or_default())
        .fold(true, |in_order, (one, next)| in_order & (one.0 < one.1) & (one.0 <= next.0) & (one.1 <= next.1));
    let ends = ranges.last().is_none_or(|last| last.0 < last.1 && last.1 < u32::MAX && last.1 as usize <= text_length);
    in_order && ends
}

fn span((start, end): (u32, u32)) -> CharSpan {
    CharSpan::with_len(start as usize, (end - start) as usize)
}

/// Tokens, looked at one behind the other.
struct Check {
    text_length: Option<usize>,
    last: (u32, u32),
    visible: Option<Vec<usize>>,
}

impl Check {
    const fn new(text_length: Option<usize>) -> Self {
        Self { text_length, last: (0, 0), visible: None }
    }

    /// One more, and what it was given as.
    fn token(&mut self, token_index: usize, (start, end): (u32, u32), given: (i64, i64)) -> Result<(), Error> {
        let wrong = |reason: String| {
            let reason = format!("({}, {}) {reason}", given.0, given.1);
            Err(Error::Offsets { token_index, reason })
        };
        if given.0 > given.1 {
            return wrong("ends before it starts".into());
        }
        if let Some(length) = self.text_length
            && (end == u32::MAX || end as usize > length)
        {
            return wrong(format!("is past the end of the text, which has {length} characters"));
        }
        if start == end {
            self.visible.get_or_insert_with(|| (0..token_index).collect());
            return Ok(());
        }
        if start < self.last.0 || end < self.last.1 {
            let last = span(self.last);
            return wrong(format!("comes after {last} of an earlier token, but is before it in the text"));
        }
        if let Some(visible) = &mut self.visible {
            visible.push(token_index);
        }
        self.last = (start, end);
        Ok(())
    }

    fn table(self, ranges: Vec<(u32, u32)>) -> Offsets {
        Offsets { ranges, visible: self.visible, text_length: self.text_length }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(pairs: &[(i64, i64)], text_length: Option<usize>) -> String {
        Offsets::new(pairs.iter().copied(), text_length).unwrap_err().to_string()
    }

    #[test]
    fn wrong_tables_are_refused_with_the_token() {
        assert_eq!(message(&[(0, 2), (5, 3)], None), "offsets of token 1: (5, 3) ends before it starts");
        assert_eq!(message(&[(-1, 2)], None), "offsets of token 0: (-1, 2) has a negative end");
        assert_eq!(
            message(&[(0, 2), (2, 9)], Some(8)),
            "offsets of token 1: (2, 9) is past the end of the text, which has 8 characters"
        );
        assert_eq!(
            message(&[(4, 6), (0, 0), (2, 4)], None),
            "offsets of token 2: (2, 4) comes after [4, 6) of an earlier token, but is before it in the text"
        );
    }

    #[test]
    fn what_is_longer_than_any_text_is_refused() {
        assert_eq!(
            message(&[(0, 2), (2, 1 << 40)], None),
            "offsets of token 1: (2, 1099511627776) is past 32 bits, longer than any text"
        );
        assert_eq!(
            message(&[(0, 1 << 40)], Some(8)),
            "offsets of token 0: (0, 1099511627776) is past the end of the text, which has 8 characters"
        );
    }

    #[test]
    fn ranges_that_are_there_are_checked_alike() {
        let refused = Offsets::of_ranges(vec![(4, 6), (2, 4)], 6).unwrap_err().to_string();
        assert_eq!(refused, message(&[(4, 6), (2, 4)], Some(6)));
        assert_eq!(Offsets::of_ranges(vec![(0, 2), (1, 3)], 3).unwrap().ranges(), [(0, 2), (1, 3)]);
        let refused = Offsets::of_ranges(vec![(0, 2), (1, 3)], 2).unwrap_err().to_string();
        assert_eq!(refused, message(&[(0, 2), (1, 3)], Some(2)));
        assert!(!Offsets::of_ranges(vec![(0, 2), (2, 2)], 2).unwrap().are_all_visible());
    }

    #[test]
    fn added_tokens_and_shared_characters_are_right() {
        let table = Offsets::new([(0, 0), (0, 2), (1, 2), (1, 2), (2, 3), (0, 0)], Some(3)).unwrap();
        assert_eq!((0..table.visible_count()).map(|at| table.visible(at)).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }
}
