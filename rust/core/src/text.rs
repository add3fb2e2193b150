//! Blanks as Python sees them, and byte positions as characters.

use std::borrow::Cow;

use crate::span::{ByteSpan, CharSpan};

/// What Python's `str.isspace` says: Unicode white space and the four separators U+001C–U+001F.
pub const fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// `text` without blanks at its ends, as Python's `str.strip()`: (leading blanks, core, trailing blanks).
pub fn split_blanks(text: &str) -> (&str, &str, &str) {
    let from = text.len() - text.trim_start_matches(is_blank).len();
    let (lead, rest) = text.split_at(from);
    let (core, trail) = rest.split_at(rest.trim_end_matches(is_blank).len());
    (lead, core, trail)
}

/// Byte spans of `text` as character spans, one pass over the text for all of them together.
///
/// The spans must lie on character borders of `text` and follow each other without overlap.
pub fn to_char_spans(text: &str, spans: &[Option<ByteSpan>]) -> Vec<Option<CharSpan>> {
    let chars = CharIndex::new(text);
    spans
        .iter()
        .map(|span| {
            span.map(|span| {
                let start = chars.chars_before(span.start());
                CharSpan::with_len(start, chars.chars_before(span.end()) - start)
            })
        })
        .collect()
}

/// How many characters a text has.
pub fn count(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

/// A text by its characters, which are counted in one pass over it.
pub struct CharIndex<'t> {
    text: &'t str,
    /// Characters before every [`BLOCK`]th byte; none for ASCII, where bytes are characters.
    before: Cow<'t, [u32]>,
}

const BLOCK: usize = 64;

impl<'t> CharIndex<'t> {
    /// Goes over the text once.
    pub fn new(text: &'t str) -> Self {
        let mut before = Vec::new();
        if !text.is_ascii() {
            before.reserve(text.len() / BLOCK + 1);
            let mut chars = 0_u32;
            for block in text.as_bytes().chunks(BLOCK) {
                before.push(chars);
                chars = chars.saturating_add(beginnings(block));
            }
        }
        Self { text, before: Cow::Owned(before) }
    }

    /// That of a text which has one already; see [`CharIndex::into_blocks`].
    pub const fn known(text: &'t str, blocks: &'t [u32]) -> Self {
        Self { text, before: Cow::Borrowed(blocks) }
    }

    /// What a further one of the same text is made of without going over it.
    pub fn into_blocks(self) -> Vec<u32> {
        self.before.into_owned()
    }

    /// How many characters.
    pub fn len(&self) -> usize {
        self.chars_before(self.text.len())
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Characters before `byte`.
    pub fn chars_before(&self, byte: usize) -> usize {
        let byte = byte.min(self.text.len());
        if self.before.is_empty() {
            return byte;
        }
        let block = (byte / BLOCK).min(self.before.len() - 1);
        self.before[block] as usize + beginnings(&self.text.as_bytes()[block * BLOCK..byte]) as usize
    }

    /// The characters `[start, end)`, as far as there are so many.
    pub fn slice(&self, start: usize, end: usize) -> &'t str {
        let first = self.byte(start);
        &self.text[first..self.byte(end).max(first)]
    }

    /// The byte that a character begins at; the text's length for one past its end.
    pub fn byte(&self, char: usize) -> usize {
        if self.before.is_empty() {
            return char.min(self.text.len());
        }
        let block = self.before.partition_point(|&before| before as usize <= char) - 1;
        let mut left = char - self.before[block] as usize;
        for (byte, value) in self.text.bytes().enumerate().skip(block * BLOCK) {
            if begins(value) {
                if left == 0 {
                    return byte;
                }
                left -= 1;
            }
        }
        self.text.len()
    }
}

/// Whether a character begins at this byte: at each that is not a continuation byte.
const fn begins(byte: u8) -> bool {
    byte & 0xC0 != 0x80
}

/// How many characters begin in these bytes, of which there are few.
fn beginnings(bytes: &[u8]) -> u32 {
    bytes.chunks(BLOCK).map(|block| u32::from(block.iter().map(|&byte| u8::from(begins(byte))).sum::<u8>())).sum()
}

/// The beginning of `text`, quoted and cut for an error message.
pub fn excerpt(text: &str) -> String {
    const MOST: usize = 40;
    let cut: String = text.chars().take(MOST).collect();
    if cut.len() < text.len() { format!("{cut:?}…") } else { format!("{cut:?}") }
}

/// `span` of `text` marked as `before»text«after`, quoted and cut for an error message.
pub fn context(text: &str, span: ByteSpan) -> String {
    const AROUND: usize = 12;
    let before: String = {
        let tail: Vec<char> = text[..span.start()].chars().rev().take(AROUND).collect();
        tail.into_iter().rev().collect()
    };
    let after: String = text[span.end()..].chars().take(AROUND).collect();
    let inside: String = text[span.range()].chars().take(AROUND).collect();
    let more = if inside.len() < span.len() { "…" } else { "" };
    format!("{:?}", format!("{before}»{inside}{more}«{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_are_pythons() {
        assert_eq!(split_blanks("\u{1f}\u{a0}a b\u{1c}\n"), ("\u{1f}\u{a0}", "a b", "\u{1c}\n"));
        assert_eq!(split_blanks(" \n"), (" \n", "", ""));
        // U+200B is no blank for Python either.
        assert_eq!(split_blanks("\u{200b}x"), ("", "\u{200b}x", ""));
    }

    #[test]
    fn characters_are_counted_up_to_any_byte() {
        for text in ["", "abc", &"aé😀".repeat(60)] {
            let index = CharIndex::new(text);
            for (chars, byte) in text.char_indices().map(|(byte, _)| byte).chain([text.len()]).enumerate() {
                assert_eq!(index.chars_before(byte), chars, "before byte {byte}");
                assert_eq!(index.byte(chars), byte, "character {chars}");
            }
            assert_eq!((index.len(), index.byte(9999)), (text.chars().count(), text.len()));
        }
    }

    #[test]
    fn characters_are_found_on_both_sides_of_blocks() {
        let text = "aé😀".repeat(100);
        let chars = CharIndex::new(&text);
        assert_eq!((chars.len(), count(&text)), (300, 300));
        for start in [0, 1, 62, 63, 64, 65, 127, 128, 298, 299, 300, 999] {
            let wanted: String = text.chars().skip(start).take(5).collect();
            assert_eq!(chars.slice(start, start + 5), wanted, "from {start}");
        }
        assert_eq!(CharIndex::new("abc").slice(1, 9), "bc");
        assert_eq!(CharIndex::new("é").slice(2, 1), "");
    }

    #[test]
    fn bytes_become_characters() {
        let text = "é😀a\r\nb";
        let span = |start, end| ByteSpan::new(start, end);
        let got = to_char_spans(text, &[span(0, 2), None, span(2, 6), span(7, 10)]);
        assert_eq!(got, [CharSpan::new(0, 1), None, CharSpan::new(1, 2), CharSpan::new(3, 6)]);
    }
}
