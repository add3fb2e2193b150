//! Ids of a text that NFC changed, laid out over the text as it was.

use fastokens::added_tokens::{AddedTokens, Segment};
use unicode_normalization_alignments::UnicodeNormalization;

use super::place::{Ranges, is_continuation};
use super::widths::{Width, Widths};

/// Whether NFC makes another text of this one.
pub fn changes(text: &str) -> bool {
    text.nfc().map(|(letter, _)| letter).ne(text.chars())
}

/// As HF's `NormalizedString` aligns them: a composed character has the range of its first one, one that was put in
/// has that of the one before. None where the widths do not add up to the text.
pub fn place_composed(text: &str, ids: &[u32], added: Option<&AddedTokens>, widths: &Widths) -> Option<Ranges> {
    let (composed, origins) = compose(text, added)?;
    let bytes = composed.as_bytes();
    let mut ranges = Vec::with_capacity(ids.len());
    let (mut byte, mut char) = (0_usize, 0_usize);
    for &id in ids {
        let (Width::Ascii(count) | Width::Bytes(count)) = widths.get(id) else { return None };
        let token = bytes.get(byte..byte + count)?;
        let inside = token.first().is_some_and(|first| is_continuation(*first));
        let first = if inside { char.checked_sub(1)? } else { char };
        char += token.iter().filter(|byte| !is_continuation(**byte)).count();
        byte += count;
        ranges.push((origins.get(first)?.0, origins.get(char.checked_sub(1)?)?.1));
    }
    (byte == bytes.len()).then_some(ranges)
}

/// The text as the model sees it, and for each of its characters those of `text` that it comes from. Added tokens are
/// cut out before anything is composed.
fn compose(text: &str, added: Option<&AddedTokens>) -> Option<(String, Ranges)> {
    let mut composed = String::with_capacity(text.len());
    let mut origins = Vec::with_capacity(text.len());
    let mut start = 0_u32;
    for segment in added.map_or_else(|| vec![Segment::Text(text)], |added| added.split(text)) {
        match segment {
            Segment::Token(id) => {
                for letter in added?.id_to_token(id)?.chars() {
                    composed.push(letter);
                    origins.push((start, start + 1));
                    start += 1;
                }
            }
            Segment::Text(piece) => {
                // Characters of the piece that were taken so far.
                let mut taken = 0_u32;
                for (letter, change) in piece.nfc() {
                    if change > 0 {
                        origins.push(if taken == 0 { (0, 0) } else { (start + taken - 1, start + taken) });
                    } else {
                        origins.push((start + taken, start + taken + 1));
                        taken += 1 + u32::try_from(change.unsigned_abs()).ok()?;
                    }
                    composed.push(letter);
                }
                if usize::try_from(taken) != Ok(piece.chars().count()) {
                    return None;
                }
                start += taken;
            }
        }
    }
    Some((composed, origins))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_composed_character_has_the_range_of_its_first_one() {
        let (composed, origins) = compose("xe\u{301}y", None).unwrap();
        assert_eq!(composed, "xéy");
        assert_eq!(origins, [(0, 1), (1, 2), (3, 4)]);
        assert!(changes("e\u{301}") && !changes("é<|x|>"));
    }
}
