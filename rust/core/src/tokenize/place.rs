//! Ids laid out over the text that they are of, as HF's offsets: several tokens of one character all have its range.

use super::widths::{Width, Widths};

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
            Width::Unknown => return None,
        }
    }
    (byte == bytes.len()).then_some(ranges)
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
        let widths = Widths::new(all.len(), |id| all[id]);
        // "ab", then the first three bytes of the emoji, then its last; é as a whole.
        assert_eq!(place_bytes("ab😀é", &[0, 1, 2, 3], &widths), Some(vec![(0, 2), (2, 3), (2, 3), (3, 4)]));
        assert_eq!(place_bytes("ab😀é", &[0, 1, 2], &widths), None);
        assert_eq!(place_bytes("ab", &[0, 9], &widths), None);
    }
}
