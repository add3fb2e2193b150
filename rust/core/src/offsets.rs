//! The token → character table, checked once when it is made.

use crate::error::Error;
use crate::span::CharSpan;

/// For each token its half-open range of characters in the render: HF's `offset_mapping`.
///
/// A token with an empty range (tokenizers give `(0, 0)` for tokens they add) stands for no character. The
/// others are in order: neither their starts nor their ends fall. Several may share a character.
#[derive(Clone, Debug)]
pub struct Offsets {
    tokens: Vec<CharSpan>,
    /// Indices of the tokens that stand for characters.
    visible: Vec<usize>,
    text_length: Option<usize>,
}

impl Offsets {
    /// Checks `pairs` of (start, end), in characters of a text of `text_length` characters where that is known.
    ///
    /// # Errors
    /// [`Error::Offsets`] with the index of the first token whose range is negative, ends before it starts,
    /// is past the end of the text, or starts or ends before the one in front of it.
    pub fn new(pairs: impl IntoIterator<Item = (i64, i64)>, text_length: Option<usize>) -> Result<Self, Error> {
        let pairs = pairs.into_iter();
        let mut tokens = Vec::with_capacity(pairs.size_hint().0);
        let mut visible = Vec::with_capacity(pairs.size_hint().0);
        let mut last = CharSpan::with_len(0, 0);
        for (token_index, (start, end)) in pairs.enumerate() {
            let wrong = |reason: String| Error::Offsets { token_index, reason };
            let span = match (usize::try_from(start), usize::try_from(end)) {
                (Ok(s), Ok(e)) => {
                    CharSpan::new(s, e).ok_or_else(|| wrong(format!("({start}, {end}) ends before it starts")))
                }
                _ => Err(wrong(format!("({start}, {end}) has a negative end"))),
            }?;
            if let Some(length) = text_length
                && span.end() > length
            {
                return Err(wrong(format!(
                    "({start}, {end}) is past the end of the text, which has {length} characters"
                )));
            }
            if !span.is_empty() {
                if span.start() < last.start() || span.end() < last.end() {
                    return Err(wrong(format!(
                        "({start}, {end}) comes after {last} of an earlier token, but stands before it in the text"
                    )));
                }
                visible.push(token_index);
                last = span;
            }
            tokens.push(span);
        }
        Ok(Self { tokens, visible, text_length })
    }

    /// How many tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The characters of each token.
    pub fn tokens(&self) -> &[CharSpan] {
        &self.tokens
    }

    /// The text's length in characters, where it is known.
    pub const fn text_length(&self) -> Option<usize> {
        self.text_length
    }

    /// Indices of the tokens that stand for characters, rising.
    pub(crate) fn visible(&self) -> &[usize] {
        &self.visible
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
            "offsets of token 2: (2, 4) comes after [4, 6) of an earlier token, but stands before it in the text"
        );
    }

    #[test]
    fn added_tokens_and_shared_characters_are_right() {
        let table = Offsets::new([(0, 0), (0, 2), (1, 2), (1, 2), (2, 3), (0, 0)], Some(3)).unwrap();
        assert_eq!(table.visible(), [1, 2, 3, 4]);
    }
}
