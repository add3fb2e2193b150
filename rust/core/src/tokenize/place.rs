//! Ids laid out over the text that they are of, as HF's offsets: several tokens of one character all have its range.

use super::widths::{Width, Widths};
use crate::text::count;

/// For each token its first character and the one behind its last.
pub type Ranges = Vec<(u32, u32)>;

/// Ids of a byte-level tokenizer. None where the widths do not add up to the text.
pub fn place_bytes(text: &str, ids: &[u32], widths: &Widths) -> Option<Ranges> {
    let bytes = text.as_bytes();
    let mut ranges = Vec::with_capacity(ids.len());
    let (mut byte, mut char) = (0_usize, 0_u32);
    for &id in ids {
        match widths.get(id) {
            Width::Ascii(count) => {
                let start = char;
                char += u32::try_from(count).ok()?;
                byte += count;
                ranges.push((start, char));
            }
            Width::Bytes(count) => {
                let token = bytes.get(byte..byte + count)?;
                // A token that begins inside of a character has all of it.
                let start = if token.first().is_some_and(|first| is_continuation(*first)) { char - 1 } else { char };
                let begun = token.iter().filter(|byte| !is_continuation(**byte)).count();
                char += u32::try_from(begun).ok()?;
                byte += count;
                ranges.push((start, char));
            }
            _ => return None,
        }
    }
    (byte == bytes.len()).then_some(ranges)
}

pub fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

/// Where in the characters of a text the ids of a character-level tokenizer are.
pub struct CharacterCursor {
    char: u32,
    /// Bytes of the present character that are still to come.
    left: u32,
}

impl CharacterCursor {
    /// At a character.
    pub const fn at(char: u32) -> Self {
        Self { char, left: 0 }
    }

    /// Behind the ids that were taken.
    pub const fn char(&self) -> u32 {
        self.char
    }

    /// The characters of the next id. None where they cannot be told.
    pub fn take(&mut self, width: Width) -> Option<(u32, u32)> {
        let start = self.char;
        match width {
            Width::Characters(count) if self.left == 0 => self.char += u32::try_from(count).ok()?,
            Width::Fallback(byte) => {
                if self.left == 0 {
                    self.left = match byte {
                        0..0x80 => 1,
                        0x80..0xE0 => 2,
                        0xE0..0xF0 => 3,
                        0xF0.. => 4,
                    };
                }
                self.left -= 1;
                if self.left == 0 {
                    self.char += 1;
                }
                return Some((start, start + 1));
            }
            _ => return None,
        }
        Some((start, self.char))
    }
}

/// Ids of a character-level tokenizer. None where the widths do not add up to the text.
pub fn place_characters(text: &str, ids: &[u32], unknown: Option<u32>, widths: &Widths) -> Option<Ranges> {
    let mut cursor = CharacterCursor::at(0);
    let ranges: Option<Ranges> =
        ids.iter().map(|&id| if Some(id) == unknown { None } else { cursor.take(widths.get(id)) }).collect();
    ranges.filter(|_| usize::try_from(cursor.char()) == Ok(count(text)) && cursor.left == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_one_character_share_it() {
        let all = [Width::Ascii(2), Width::Bytes(3), Width::Bytes(1), Width::Bytes(2)];
        let widths = Widths::new(all.len(), |id| all[id]);
        // "ab", then the first three bytes of the emoji, then its last; é as a whole.
        assert_eq!(place_bytes("ab😀é", &[0, 1, 2, 3], &widths), Some(vec![(0, 2), (2, 3), (2, 3), (3, 4)]));
        assert_eq!(place_bytes("ab😀é", &[0, 1, 2], &widths), None);
        assert_eq!(place_bytes("ab", &[0, 9], &widths), None);
    }

    #[test]
    fn fallback_bytes_share_their_character() {
        let all = [Width::Characters(2), Width::Fallback(0xF0), Width::Fallback(0x9F)];
        let widths = Widths::new(all.len(), |id| all[id]);
        assert_eq!(
            place_characters("ab😀", &[0, 1, 2, 2, 2], None, &widths),
            Some(vec![(0, 2), (2, 3), (2, 3), (2, 3), (2, 3)])
        );
        assert_eq!(place_characters("ab😀", &[0, 1, 2], None, &widths), None);
        assert_eq!(place_characters("ab", &[0], Some(0), &widths), None);
    }
}
