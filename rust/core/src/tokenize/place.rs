//! Ids laid out over the text that they are of, as HF's offsets: several tokens of one character all have its range.

use super::widths::{Width, Widths};

/// For each token its first character and the one behind its last.
pub type Ranges = Vec<(u32, u32)>;

/// Ids of a byte-level tokenizer: ranges in order, none of them empty, and how many characters the text has. None where the
/// widths do not add up to the text.
pub fn place_bytes(text: &str, ids: &[u32], widths: &Widths) -> Option<(Ranges, usize)> {
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
                let inside = token.first().is_some_and(|first| is_continuation(*first));
                let start = if inside { char.checked_sub(1)? } else { char };
                let begun = token.iter().filter(|byte| !is_continuation(**byte)).count();
                char += u32::try_from(begun).ok()?;
                byte += count;
                ranges.push((start, char));
            }
            Width::Unknown => return None,
        }
    }
    (byte == bytes.len()).then_some((ranges, char as usize))
}

/// The same of a text whose bytes are its characters, if no token is long: without a branch for each.
pub fn place_ascii(length: usize, ids: &[u32], widths: &Widths) -> Option<Ranges> {
    let mut at = 0_u64;
    // Texts are shorter than 2^31 bytes; what is cut off here is longer than the text.
    let low = |at: u64| u32::try_from(at & u64::from(u32::MAX)).unwrap_or(0);
    let ranges = widths.each_ascii(ids, |count| {
        let start = at;
        at += u64::from(count);
        (low(start), low(at))
    });
    ranges.filter(|_| usize::try_from(at) == Ok(length))
}

pub fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_one_character_share_it() {
        let all = [Width::Ascii(2), Width::Bytes(3), Width::Bytes(1), Width::Bytes(2)];
        let widths = Widths::new(u32::try_from(all.len()).unwrap(), |id| all[id as usize]);
        // "ab", then the first three bytes of the emoji, then its last; é as a whole.
        assert_eq!(place_bytes("ab😀é", &[0, 1, 2, 3], &widths), Some((vec![(0, 2), (2, 3), (2, 3), (3, 4)], 4)));
        assert_eq!(place_bytes("ab😀é", &[0, 1, 2], &widths), None);
        assert_eq!(place_bytes("ab", &[0, 9], &widths), None);
    }

    #[test]
    fn ascii_is_placed_as_other_texts() {
        let all = [Width::Ascii(2), Width::Ascii(1), Width::Bytes(2), Width::Ascii(300)];
        let widths = Widths::new(u32::try_from(all.len()).unwrap(), |id| all[id as usize]);
        assert_eq!(place_ascii(5, &[0, 1, 0], &widths), Some(vec![(0, 2), (2, 3), (3, 5)]));
        assert_eq!(place_bytes("ababa", &[0, 1, 0], &widths), Some((vec![(0, 2), (2, 3), (3, 5)], 5)));
        // A long token is the other way's, a wrong length no way's.
        assert_eq!(place_ascii(300, &[3], &widths), None);
        assert_eq!(place_bytes(&"a".repeat(300), &[3], &widths), Some((vec![(0, 300)], 300)));
        assert_eq!(place_ascii(4, &[0, 1], &widths), None);
        assert_eq!(place_ascii(2, &[9], &widths), None);
    }
}
