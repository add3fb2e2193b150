//! Words that were merged before, with their tokens: tables for each thread at work.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::joins::BLOCK;
use super::merging::{Merger, Token};
use super::table::{Key, LONG, MIDDLE, Packed, SHORT, Table, hash, key};

const WIDTH_BITS: u32 = 5;
/// Words with more bytes are merged each time.
pub const LONGEST: usize = 8 * LONG - 1;
/// Ids from here on are not packed.
const HIGHEST: u32 = 1 << (u32::BITS - WIDTH_BITS);

/// Tokens of words that have no room for theirs.
const MOST_ASIDE: usize = 1 << 16;
/// As many pairs of slots as a table ever has.
const SHORT_PAIRS: usize = 1 << 16;
const MIDDLE_PAIRS: usize = 1 << 14;
const LONG_PAIRS: usize = 1 << 11;

/// One token of a word, packed.
#[inline]
pub const fn unpack(token: u32) -> (u32, u32) {
    (token >> WIDTH_BITS, token & ((1 << WIDTH_BITS) - 1))
}

/// Tokens in as many places as are packed. None if they do not follow each other, or are more.
pub fn pack(tokens: &[Token]) -> Option<Packed> {
    let mut packed = [0; 4];
    let mut char = 0;
    if tokens.is_empty() || tokens.len() > packed.len() {
        return None;
    }
    for (place, token) in packed.iter_mut().zip(tokens) {
        let width = token.end - token.start;
        if token.start != char || width == 0 || width >> WIDTH_BITS != 0 || token.id >= HIGHEST {
            return None;
        }
        char = token.end;
        *place = token.id << WIDTH_BITS | width;
    }
    Some(packed)
}

/// What is remembered of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Its tokens.
    Packed(Packed),
    /// Where its tokens are, among those of [`Words::aside`].
    Aside(usize, usize),
}

/// A word of a text that is looked for.
#[derive(Clone, Copy, Default)]
pub struct Sought {
    /// Its first byte.
    pub start: usize,
    /// How many bytes it has.
    pub length: usize,
    key: Key<SHORT>,
    hash: u64,
    touched: u64,
}

/// The words of one thread. Up to 8 MB, however many words come.
pub struct Words {
    short: Table<SHORT>,
    middle: Table<MIDDLE>,
    long: Table<LONG>,
    aside: Vec<Token>,
    /// What merges those that are not remembered.
    pub merger: Merger,
}

impl Words {
    fn new() -> Self {
        Self {
            short: Table::new(SHORT_PAIRS),
            middle: Table::new(MIDDLE_PAIRS),
            long: Table::new(LONG_PAIRS),
            aside: Vec::new(),
            merger: Merger::default(),
        }
    }

    /// Where a word of a text would be, for [`Words::find`]; what is there is on its way from memory meanwhile.
    #[inline(always)]
    pub fn seek(&self, text: &[u8], start: usize, end: usize, sought: &mut Sought) {
        let length = end - start;
        // A longer word has the key of its beginning, which nothing is looked up with.
        let key = key(text, start, start + length.min(8 * SHORT - 1));
        let hash = hash(&key);
        sought.start = start;
        sought.length = length;
        sought.key = key;
        sought.hash = hash;
        sought.touched = self.short.touch(hash);
    }

    /// What is remembered of a word of a text.
    #[inline(always)]
    pub fn find(&self, text: &[u8], word: &Sought) -> Option<Known> {
        let packed = if word.length < 8 * SHORT {
            self.short.find(&word.key, word.hash)?
        } else {
            self.find_longer(text, word)?
        };
        // No token is zero, since each has a character.
        Some(if packed[0] != 0 { Known::Packed(packed) } else { Known::Aside(packed[1] as usize, packed[2] as usize) })
    }

    fn find_longer(&self, text: &[u8], word: &Sought) -> Option<Packed> {
        let (start, end) = (word.start, word.start + word.length);
        if word.length < 8 * MIDDLE {
            let key = key(text, start, end);
            self.middle.find(&key, hash(&key))
        } else if word.length <= LONGEST {
            let key = key(text, start, end);
            self.long.find(&key, hash(&key))
        } else {
            None
        }
    }

    /// Tokens that had no room in a table.
    pub fn aside(&self, start: usize, count: usize) -> &[Token] {
        self.aside.get(start..start + count).unwrap_or_default()
    }

    /// Remembers the tokens of a word of at most [`LONGEST`] bytes.
    pub fn insert(&mut self, word: &[u8], tokens: &[Token]) {
        let packed = pack(tokens).unwrap_or_else(|| self.put_aside(tokens));
        if word.len() < 8 * SHORT {
            self.short.insert(key(word, 0, word.len()), packed);
        } else if word.len() < 8 * MIDDLE {
            self.middle.insert(key(word, 0, word.len()), packed);
        } else {
            self.long.insert(key(word, 0, word.len()), packed);
        }
    }

    fn put_aside(&mut self, tokens: &[Token]) -> Packed {
        if self.aside.len() + tokens.len() > MOST_ASIDE {
            *self = Self { merger: std::mem::take(&mut self.merger), ..Self::new() };
        }
        let narrow = |count: usize| u32::try_from(count).unwrap_or(0);
        let packed = [0, narrow(self.aside.len()), narrow(tokens.len()), 0];
        self.aside.extend_from_slice(tokens);
        packed
    }
}

/// Tables that no thread has at present. There are as many as threads have been at work at once.
#[derive(Default)]
pub struct Pool(Mutex<Vec<Bench>>);

impl Pool {
    /// Has a table to itself meanwhile.
    pub fn with<T>(&self, work: impl FnOnce(&mut Bench) -> T) -> T {
        let mut bench = self.benches().pop().unwrap_or_else(Bench::new);
        let done = work(&mut bench);
        self.benches().push(bench);
        done
    }

    fn benches(&self) -> MutexGuard<'_, Vec<Bench>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a thread works with.
pub struct Bench {
    /// What is known.
    pub words: Words,
    /// What is looked for.
    pub sought: [Sought; BLOCK + 1],
}

impl Bench {
    fn new() -> Self {
        Self { words: Words::new(), sought: [Sought::default(); BLOCK + 1] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn token(id: u32, start: u32, end: u32) -> Token {
        Token { id, start, end }
    }

    fn find(words: &Words, text: &str, start: usize, end: usize) -> Option<Known> {
        let mut sought = Sought::default();
        words.seek(text.as_bytes(), start, end, &mut sought);
        words.find(text.as_bytes(), &sought)
    }

    #[test]
    fn words_are_found_again_wherever_they_stand() {
        let mut words = Words::new();
        let lengths = [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63];
        let letters = "a word of so many bytes, of which there are as many as there is room for";
        let all: Vec<&str> = lengths.iter().map(|&length| &letters[..length]).chain(["a\0"]).collect();
        for (id, word) in (1..).zip(&all) {
            words.insert(word.as_bytes(), &[token(id, 0, 1)]);
        }
        for (id, word) in (1..).zip(&all) {
            for behind in ["", "x", letters] {
                let found = find(&words, &format!("xyz{word}{behind}"), 3, 3 + word.len());
                assert_eq!(found, Some(Known::Packed([id << WIDTH_BITS | 1, 0, 0, 0])), "{word:?}");
            }
        }
        assert_eq!(find(&words, "b", 0, 1), None);
        assert_eq!(find(&words, letters, 0, 64), None);
    }

    #[test]
    fn tokens_that_are_many_or_share_a_character_are_kept_aside() {
        assert_eq!(pack(&[token(7, 0, 2), token(9, 2, 3)]).map(|packed| unpack(packed[1])), Some((9, 1)));
        let shared = [token(7, 0, 1), token(9, 0, 1)];
        let many: Vec<Token> = (0..5).map(|at| token(3, at, at + 1)).collect();
        let high = [token(HIGHEST, 0, 1)];
        let mut words = Words::new();
        for (word, tokens) in [("shared", &shared[..]), ("many", &many), ("high", &high)] {
            assert_eq!(pack(tokens), None);
            words.insert(word.as_bytes(), tokens);
            let Some(Known::Aside(start, count)) = find(&words, word, 0, word.len()) else { panic!("it is not found") };
            assert_eq!(words.aside(start, count), tokens);
        }
    }

    #[test]
    fn what_is_kept_aside_is_bounded() {
        let mut words = Words::new();
        let many: Vec<Token> = (0..20).map(|at| token(3, at, at + 1)).collect();
        for number in 0..10_000 {
            words.insert(format!("word {number}").as_bytes(), &many);
        }
        assert!(words.aside.len() <= MOST_ASIDE);
        assert!(find(&words, "word 9999", 0, 9).is_some());
    }
}
