//! Ids of a text that NFC changed, laid out over the text as it was.

use fastokens::added_tokens::{AddedTokens, Segment};
use unicode_normalization_alignments::UnicodeNormalization;

use super::place::{Ranges, is_continuation};
use super::widths::{Width, Widths};

/// Whether NFC makes another text of this one.
pub fn changes(text: &str) -> bool {
    text.nfc().map(|(letter, _)| letter).ne(text.chars())
}

/// Bytes of a text that are looked at together.
const BLOCK: usize = 64;

/// Whether NFC keeps a text, if `keeps` says so of its parts. Those that are ASCII are kept. No character of ASCII is
/// composed with what stands before it: a part that begins with one, and ends before one, is composed by itself.
pub fn keeps_all(text: &str, keeps: impl Fn(&str) -> bool) -> bool {
    let mut begun = None;
    for (index, block) in text.as_bytes().chunks(BLOCK).enumerate() {
        let start = index * BLOCK;
        if !block.is_ascii() {
            // With the character in front, which is ASCII or there is none: a mark is composed with it.
            begun = begun.or(Some(start.saturating_sub(1)));
        } else if let Some(first) = begun.take()
            && !keeps(&text[first..start])
        {
            return false;
        }
    }
    begun.is_none_or(|first| keeps(&text[first..]))
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
    fn a_text_is_kept_if_its_parts_are() {
        let parts = [
            "a",
            "e\u{301}",
            "\u{301}",
            "é",
            "日",
            "\u{1100}\u{1161}",
            "\u{2126}",
            "x".repeat(61).as_str(),
            "y".repeat(64).as_str(),
        ]
        .map(str::to_owned);
        for seed in 0..3000_usize {
            let text: String =
                (0..seed % 9).map(|at| &*parts[(seed * 31 + at * at * 7 + at * seed) % parts.len()]).collect();
            assert_eq!(keeps_all(&text, |part| !changes(part)), !changes(&text), "{text:?}");
        }
    }

    #[test]
    fn a_composed_character_has_the_range_of_its_first_one() {
        let (composed, origins) = compose("xe\u{301}y", None).unwrap();
        assert_eq!(composed, "xéy");
        assert_eq!(origins, [(0, 1), (1, 2), (3, 4)]);
        assert!(changes("e\u{301}") && !changes("é<|x|>"));
    }
}
