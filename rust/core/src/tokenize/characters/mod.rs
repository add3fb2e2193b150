//! A BPE over characters, blanks as `▁`, as in SentencePiece: its tokens and the characters that each has, in one pass.
//!
//! A text is cut where no merge reaches across ([`joins`]). The tokens of a word that was seen before are in a table
//! ([`words`]); the others are merged ([`merging`]), from the tokens of their characters ([`alphabet`]) by the model's list
//! ([`merges`]).

mod alphabet;
mod joins;
mod merges;
mod merging;
mod table;
mod words;

use std::collections::HashMap;
use std::ops::Range;

use serde_json::{Map, Value};

use super::admission::Refusal;
use alphabet::Alphabet;
use joins::{BLOCK, Joins};
use merges::{Merges, Rule};
use merging::Token;
pub use words::Bench;
use words::{Known, LONGEST, Pool, Sought, Words, unpack};

/// Ids, and the characters of each.
#[derive(Debug, Default)]
pub struct Laid {
    /// The ids.
    pub ids: Vec<u32>,
    /// The first character of each and the one behind its last.
    pub ranges: Vec<(u32, u32)>,
}

impl Laid {
    /// Room for so many.
    pub fn with_capacity(count: usize) -> Self {
        Self { ids: Vec::with_capacity(count), ranges: Vec::with_capacity(count) }
    }

    /// Those of a text of their own, which stands behind `char` characters here.
    pub fn extend(&mut self, other: &Self, char: u32) {
        self.ids.extend_from_slice(&other.ids);
        self.ranges.extend(other.ranges.iter().map(|&(start, end)| (start + char, end + char)));
    }

    /// One more.
    #[inline]
    pub fn push(&mut self, id: u32, start: u32, end: u32) {
        self.ids.push(id);
        self.ranges.push((start, end));
    }
}

/// The model, without what is around it.
pub struct Characters {
    alphabet: Alphabet,
    merges: Merges,
    joins: Joins,
    pool: Pool,
}

impl Characters {
    /// Of the `model` of a `tokenizer.json`. With `split_at_blanks` no token has a blank behind another character.
    ///
    /// # Errors
    /// [`Refusal`]: a merge is of tokens that are not in the vocabulary.
    pub fn new(model: &Value, split_at_blanks: bool) -> Result<Self, Refusal> {
        let none = Map::new();
        let vocab = model["vocab"].as_object().unwrap_or(&none);
        let byte_fallback = model["byte_fallback"] == true;
        let names = names_of_merges(&model["merges"])?;
        let alphabet = Alphabet::new(vocab, byte_fallback);
        let joins = if are_told_by_characters(vocab, &names, byte_fallback) {
            let ends = |&(left, right): &(&str, &str)| Some((left.chars().next_back()?, right.chars().next()?));
            Joins::new(&names.iter().filter_map(ends).collect::<Vec<_>>(), split_at_blanks)
        } else if split_at_blanks {
            return Err(Refusal("merges of bytes, beside the pre-tokenizer Metaspace with split=true".into()));
        } else {
            Joins::all()
        };
        let merges = Merges::new(&ids_of_merges(vocab, &names)?);
        Ok(Self { alphabet, merges, joins, pool: Pool::default() })
    }

    /// Has a table of words to itself meanwhile.
    pub fn with_bench<T>(&self, work: impl FnOnce(&mut Bench) -> T) -> T {
        self.pool.with(work)
    }

    /// The tokens of a piece of a text, whose first character is at `char`. None if one of its characters has no token.
    /// With `prefix` there is a `▁` before the piece, which shares its first character.
    pub fn encode(
        &self,
        text: &str,
        piece: Range<usize>,
        char: u32,
        prefix: bool,
        bench: &mut Bench,
        laid: &mut Laid,
    ) -> Option<u32> {
        let Bench { words, sought } = bench;
        let (mut word, mut char) = (piece.start, char);
        if prefix {
            let length;
            (length, char) = self.prefixed(&text[piece.clone()], char, words, laid)?;
            word += length;
        }
        for block in piece.clone().step_by(BLOCK) {
            let count = self.seek(text, &piece, block, &mut word, words, sought);
            for each in &sought[..count] {
                char = self.word(text, each, char, words, laid)?;
            }
        }
        Some(char)
    }

    /// Looks for the words that end in a block of a piece, from `word` on; how many there are. All of a block's words are on
    /// their way from memory before the first one is needed.
    #[inline]
    fn seek(
        &self,
        text: &str,
        piece: &Range<usize>,
        block: usize,
        word: &mut usize,
        words: &Words,
        sought: &mut [Sought; BLOCK + 1],
    ) -> usize {
        let (mut cuts, mut start, mut count) = (self.joins.cuts(text, piece, block), *word, 0);
        while cuts != 0 {
            let end = block + cuts.trailing_zeros() as usize;
            cuts &= cuts - 1;
            // What stands before the first word was taken with the prefix.
            if end > start {
                words.seek(text.as_bytes(), start, end, &mut sought[count]);
                count += 1;
                start = end;
            }
        }
        if block + BLOCK >= piece.end && start < piece.end {
            words.seek(text.as_bytes(), start, piece.end, &mut sought[count]);
            count += 1;
        }
        *word = start;
        count
    }

    #[inline(always)]
    fn word(&self, text: &str, word: &Sought, char: u32, words: &mut Words, laid: &mut Laid) -> Option<u32> {
        match words.find(text.as_bytes(), word) {
            Some(Known::Packed(tokens)) => {
                let mut char = char;
                for token in tokens {
                    if token == 0 {
                        break;
                    }
                    let (id, width) = unpack(token);
                    laid.push(id, char, char + width);
                    char += width;
                }
                Some(char)
            }
            Some(Known::Aside(first, count)) => lay(words.aside(first, count), char, 0, laid),
            None => self.unknown_word(&text[word.start..word.start + word.length], char, words, laid),
        }
    }

    #[cold]
    fn unknown_word(&self, word: &str, char: u32, words: &mut Words, laid: &mut Laid) -> Option<u32> {
        let mut merger = std::mem::take(&mut words.merger);
        let end = merger.merge(word, &self.alphabet, &self.merges).and_then(|tokens| {
            if word.len() <= LONGEST {
                words.insert(word.as_bytes(), tokens);
            }
            lay(tokens, char, 0, laid)
        });
        words.merger = merger;
        end
    }

    /// The word with which a piece begins once a `▁` is before it: the byte and the character behind it.
    fn prefixed(&self, piece: &str, start: u32, words: &mut Words, laid: &mut Laid) -> Option<(usize, u32)> {
        let longest = self.joins.first_end(piece);
        let mut word = String::with_capacity(longest + 1);
        word.push(' ');
        word.push_str(&piece[..longest]);
        let end = self.joins.first_end(&word);
        let tokens = words.merger.merge(&word[..end], &self.alphabet, &self.merges)?;
        let char = lay(tokens, start, 1, laid)?;
        Some((end - 1, char))
    }
}

/// Tokens of a word of which the first `put` characters are not the text's: they share the first one that is.
fn lay(tokens: &[Token], char: u32, put: u32, laid: &mut Laid) -> Option<u32> {
    for token in tokens {
        laid.push(token.id, char + token.start.saturating_sub(put), char + token.end.saturating_sub(put).max(put));
    }
    tokens.last().map(|last| char + last.end - put)
}

/// Whether the characters of a token are those of its name: not where two tokens have one id, or where tokens that stand
/// for bytes are merged.
fn are_told_by_characters(vocab: &Map<String, Value>, names: &[(&str, &str)], byte_fallback: bool) -> bool {
    let mut ids: Vec<Option<u64>> = vocab.values().map(Value::as_u64).collect();
    ids.sort_unstable();
    let is_byte = |token: &str| token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
    let of_bytes = byte_fallback && names.iter().any(|(left, right)| is_byte(left) || is_byte(right));
    !of_bytes && ids.windows(2).all(|pair| pair[0] != pair[1])
}

/// The two tokens of each merge: a pair, or, in older files, a text with a blank between them.
fn names_of_merges(merges: &Value) -> Result<Vec<(&str, &str)>, Refusal> {
    let list = merges.as_array().into_iter().flatten();
    list.filter(|merge| merge.as_str().is_none_or(|both| !both.starts_with("#version")))
        .map(|merge| names_of(merge).ok_or_else(|| Refusal(format!("the merge {merge}, which is no pair of tokens"))))
        .collect()
}

fn names_of(merge: &Value) -> Option<(&str, &str)> {
    match merge {
        Value::String(both) => both.split_once(' ').filter(|(_, right)| !right.contains(' ')),
        pair => Some((pair[0].as_str()?, pair[1].as_str()?)),
    }
}

fn ids_of_merges(vocab: &Map<String, Value>, names: &[(&str, &str)]) -> Result<Vec<Rule>, Refusal> {
    let ids = vocab.iter().filter_map(|(name, id)| Some((name.as_str(), u32::try_from(id.as_u64()?).ok()?)));
    let vocab: HashMap<&str, u32> = ids.collect();
    let mut both = String::new();
    let mut ids = |left: &str, right: &str| {
        both.clear();
        both.push_str(left);
        both.push_str(right);
        Some(((*vocab.get(left)?, *vocab.get(right)?), *vocab.get(both.as_str())?))
    };
    let missing =
        |left, right| Refusal(format!("the merge {left:?} {right:?} of tokens that are not in the vocabulary"));
    names.iter().map(|&(left, right)| ids(left, right).ok_or_else(|| missing(left, right))).collect()
}
