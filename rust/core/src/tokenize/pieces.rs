//! A tokenizer over characters: added tokens are cut out, a `▁` may be put in front, and what is between is merged.

use std::ops::Range;

use serde_json::Value;

use super::added::{Added, Found};
use super::admission::{Plan, Refusal};
use super::characters::{Bench, Characters, Laid};
use super::names::Names;
use super::native::{CacheStats, Tokens};
use super::remembered::Remembered;
use super::trim::Trims;
use crate::offsets::Offsets;

/// Where a `▁` is put in front of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prepend {
    /// In front of every piece between added tokens, whatever it begins with: the normalizer `Prepend`.
    Each,
    /// In front of every piece between added tokens that does not begin with one.
    Always,
    /// In front of the text's first piece, if it does not begin with one.
    First,
    /// Nowhere.
    Never,
}

impl Prepend {
    fn is_put(self, piece: &str, is_first: bool) -> bool {
        match self {
            Self::Each => true,
            Self::Always => !piece.starts_with([' ', '▁']),
            Self::First => is_first && !piece.starts_with([' ', '▁']),
            Self::Never => false,
        }
    }
}

/// Ids and ranges of texts whose tokens are made of characters.
pub struct CharacterTokenizer {
    model: Characters,
    prepend: Prepend,
    /// Looked for in the text as it is, before those that are looked for in the normalized text.
    raw: Added,
    normalized: Added,
    trims: Option<Trims>,
    names: Names,
    remembered: Option<Remembered>,
}

impl CharacterTokenizer {
    /// Of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Refusal`] names what it cannot be made of.
    pub fn new(json: &Value, plan: Plan, cache_bytes: usize) -> Result<Self, Refusal> {
        let names = Names::new(json);
        Ok(Self {
            model: Characters::new(&json["model"], plan.split_at_blanks)?,
            prepend: plan.prepend,
            raw: Added::new(&json["added_tokens"], false),
            normalized: Added::new(&json["added_tokens"], true),
            trims: plan.trim.then(|| Trims::new(names.count(), |id| names.get(id))),
            names,
            remembered: (cache_bytes > 0).then(|| Remembered::new(cache_bytes)),
        })
    }

    /// The ids of a text and their offsets. None if one of its characters has no token.
    pub fn encode(&self, text: &str) -> Option<Tokens> {
        // Positions are counted in 32 bits.
        i32::try_from(text.len()).ok()?;
        let mut laid = Laid::with_capacity(text.len() / 3 + 8);
        let end = self.model.with_bench(|bench| self.parts(text, bench, &mut laid))?;
        let Laid { ids, mut ranges } = laid;
        let offsets = if let Some(trims) = &self.trims {
            trims.apply(&ids, &mut ranges);
            Offsets::of_ranges(ranges, end as usize).ok()?
        } else {
            Offsets::laid(ranges, end as usize)
        };
        Some(Tokens { ids, offsets })
    }

    /// The ids of a text in which nothing is an added token. None if one of its characters has no token.
    pub fn encode_plain(&self, text: &str) -> Option<Vec<u32>> {
        let mut laid = Laid::with_capacity(text.len() / 3 + 8);
        self.model.with_bench(|bench| self.piece(text, 0..text.len(), 0, bench, &mut laid))?;
        Some(laid.ids)
    }

    /// The token of an id.
    pub fn token(&self, id: u32) -> Option<&str> {
        self.names.get(id as usize)
    }

    /// Of the pieces between added tokens.
    pub fn cache_stats(&self) -> CacheStats {
        self.remembered.as_ref().map_or_else(CacheStats::default, Remembered::stats)
    }

    /// The text between added tokens that are looked for in the text as it is; the character behind the last one.
    fn parts(&self, text: &str, bench: &mut Bench, laid: &mut Laid) -> Option<u32> {
        let (mut at, mut char) = (0, 0);
        for (start, found) in self.raw.search(text.as_bytes()) {
            char = self.pieces(text, at..start, char, bench, laid)?;
            char = lay(found, char, laid);
            at = start + found.bytes;
        }
        self.pieces(text, at..text.len(), char, bench, laid)
    }

    /// The text between those that are looked for in the normalized text, which is the same but for blanks.
    fn pieces(&self, text: &str, part: Range<usize>, first: u32, bench: &mut Bench, laid: &mut Laid) -> Option<u32> {
        let (mut at, mut char) = (part.start, first);
        for (start, found) in self.normalized.search(&text.as_bytes()[part.clone()]) {
            let start = part.start + start;
            char = self.piece(text, at..start, char, bench, laid)?;
            char = lay(found, char, laid);
            at = start + found.bytes;
        }
        self.piece(text, at..part.end, char, bench, laid)
    }

    /// A piece between added tokens, or the whole text; the character behind it.
    fn piece(&self, text: &str, piece: Range<usize>, char: u32, bench: &mut Bench, laid: &mut Laid) -> Option<u32> {
        let own = &text[piece.clone()];
        if own.is_empty() {
            return Some(char);
        }
        let put = self.prepend.is_put(own, char == 0);
        // The first piece of a text may have a `▁` that the same piece has nowhere else.
        let remembered = self.remembered.as_ref().filter(|_| char > 0 && Remembered::takes(own));
        let Some(remembered) = remembered else { return self.model.encode(text, piece, char, put, bench, laid) };
        let found = remembered.get_or(own, || {
            let mut alone = Laid::with_capacity(own.len() / 3 + 8);
            self.model.encode(own, 0..own.len(), 0, put, bench, &mut alone)?;
            Some(alone)
        })?;
        laid.extend(&found, char);
        Some(laid.ranges.last().map_or(char, |last| last.1))
    }
}

/// An added token at a character; the one behind it.
fn lay(found: Found, char: u32, laid: &mut Laid) -> u32 {
    laid.push(found.id, char, char + found.chars);
    char + found.chars
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_put_in_front_only_where_none_stands() {
        let put = |prepend: Prepend| {
            ["a", " a", "▁a"].map(|piece| (prepend.is_put(piece, true), prepend.is_put(piece, false)))
        };
        assert_eq!(put(Prepend::Each), [(true, true); 3]);
        assert_eq!(put(Prepend::Always), [(true, true), (false, false), (false, false)]);
        assert_eq!(put(Prepend::First), [(true, false), (false, false), (false, false)]);
        assert_eq!(put(Prepend::Never), [(false, false); 3]);
    }
}
