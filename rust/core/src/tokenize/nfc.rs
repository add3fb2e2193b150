//! Ids of a text that NFC changed, laid out over the text as it was.

use fastokens::added_tokens::{AddedTokens, Segment};
use unicode_normalization_alignments::UnicodeNormalization;

use super::widths::{Ranges, Widths};

/// Whether NFC makes another text of this one.
pub fn changes(text: &str) -> bool {
    text.nfc().map(|(letter, _)| letter).ne(text.chars())
}

/// Bytes of a text that are looked at together.
const BLOCK: usize = 256;

/// Whether NFC keeps a text, if `keeps` says so of its parts. Those that are ASCII are kept. No character of ASCII is
/// composed with what stands before it: a part that begins with one, and ends before one, is composed by itself.
pub fn keeps_all(text: &str, keeps: impl Fn(&str) -> bool) -> bool {
    if text.is_ascii() {
        return true;
    }
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

/// A text that NFC changes, between its added tokens: these are cut out before anything is composed. `encode` gives the ids of
/// a piece, in which nothing is an added token. None where the widths do not add up to the text.
pub fn encode_composed(
    text: &str,
    added: Option<&AddedTokens>,
    widths: &Widths,
    encode: impl Fn(&str) -> Option<Vec<u32>>,
) -> Option<(Vec<u32>, Ranges)> {
    let (mut all, mut ranges) = (Vec::new(), Vec::new());
    let mut start = 0_u32;
    for segment in added.map_or_else(|| vec![Segment::Text(text)], |added| added.split(text)) {
        match segment {
            Segment::Token(id) => {
                let end = start + u32::try_from(added?.id_to_token(id)?.chars().count()).ok()?;
                all.push(id);
                ranges.push((start, end));
                start = end;
            }
            Segment::Text(piece) => {
                let (composed, origins) = compose(piece)?;
                let ids = encode(&composed)?;
                let placed = widths.place::<false>(&ids)?;
                if (placed.bytes, placed.chars) != (composed.len(), origins.len()) {
                    return None;
                }
                let origin = |index: u32| origins.get(index as usize);
                for (first, end) in placed.ranges {
                    ranges.push((start + origin(first)?.0, start + origin(end.checked_sub(1)?)?.1));
                }
                all.extend(ids);
                start += u32::try_from(piece.chars().count()).ok()?;
            }
        }
    }
    Some((all, ranges))
}

/// A piece as the model sees it, and for each of its characters those of the piece that it comes from. As HF's
/// `NormalizedString` aligns them: a composed character has the range of its first one, one that was put in has that of the one
/// before.
fn compose(piece: &str) -> Option<(String, Ranges)> {
    let mut composed = String::with_capacity(piece.len());
    let mut origins = Vec::with_capacity(piece.len());
    // Characters of the piece that were taken so far.
    let mut taken = 0_u32;
    for (letter, change) in piece.nfc() {
        if change > 0 {
            origins.push(if taken == 0 { (0, 0) } else { (taken - 1, taken) });
        } else {
            origins.push((taken, taken + 1));
            taken += 1 + u32::try_from(change.unsigned_abs()).ok()?;
        }
        composed.push(letter);
    }
    (usize::try_from(taken) == Ok(piece.chars().count())).then_some((composed, origins))
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
            "x".repeat(BLOCK - 3).as_str(),
            "y".repeat(BLOCK).as_str(),
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
        let (composed, origins) = compose("xe\u{301}y").unwrap();
        assert_eq!(composed, "xéy");
        assert_eq!(origins, [(0, 1), (1, 2), (3, 4)]);
        assert!(changes("e\u{301}") && !changes("é<|x|>"));
    }
}
