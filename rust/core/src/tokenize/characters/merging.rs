//! One word, merged: what HF's `merge_all` does, which takes the merge of the lowest rank first, and of several of the
//! same pair the leftmost.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::alphabet::{Alphabet, Letter};
use super::merges::Merges;

/// A token of a word, and which of the word's characters it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub id: u32,
    /// Its first character.
    pub start: u32,
    /// The one behind its last.
    pub end: u32,
}

/// Up to so many tokens the lowest rank is looked for among all of them.
const SHORT: usize = 40;
/// No merge has this rank.
const NEVER: u32 = u32::MAX;
/// No token has this index.
const NONE: usize = usize::MAX;

/// Merges words; what it needs meanwhile is kept for the next one.
#[derive(Default)]
pub struct Merger {
    tokens: Vec<Token>,
    ranks: Vec<(u32, u32)>,
    /// Of each token the one before it and the one after it.
    neighbours: Vec<(usize, usize)>,
    /// The rank of a merge, the index of its left token, and what it makes.
    queue: BinaryHeap<Reverse<(u32, usize, u32)>>,
}

impl Merger {
    /// The tokens of a word. None if one of its characters has no token.
    pub fn merge(&mut self, word: &str, alphabet: &Alphabet, merges: &Merges) -> Option<&[Token]> {
        self.tokens.clear();
        for (start, letter) in (0_u32..).zip(word.chars()) {
            let end = start + 1;
            match alphabet.get(if letter == ' ' { '▁' } else { letter })? {
                Letter::Token(id) => self.tokens.push(Token { id, start, end }),
                Letter::Bytes(ids, count) => {
                    self.tokens.extend(ids.iter().take(count).map(|&id| Token { id, start, end }));
                }
            }
        }
        if self.tokens.len() <= SHORT {
            self.merge_short(merges)
        } else {
            self.merge_long(merges)
        }
        Some(&self.tokens)
    }

    fn merge_short(&mut self, merges: &Merges) {
        let Self { tokens, ranks, .. } = self;
        let pair = |one: &Token, next: &Token| merges.get(one.id, next.id).map_or((NEVER, 0), |m| (m.rank, m.id));
        ranks.clear();
        ranks.extend(tokens.iter().zip(tokens.iter().skip(1)).map(|(one, next)| pair(one, next)));
        loop {
            let lowest = ranks.iter().enumerate().min_by_key(|(_, (rank, _))| *rank);
            let Some((at, &(rank, id))) = lowest else { return };
            if rank == NEVER {
                return;
            }
            tokens[at] = Token { id, start: tokens[at].start, end: tokens[at + 1].end };
            tokens.remove(at + 1);
            ranks.remove(at);
            if at > 0 {
                ranks[at - 1] = pair(&tokens[at - 1], &tokens[at]);
            }
            if let Some(next) = tokens.get(at + 1) {
                ranks[at] = pair(&tokens[at], next);
            }
        }
    }

    fn merge_long(&mut self, merges: &Merges) {
        let count = self.tokens.len();
        self.neighbours.clear();
        self.neighbours.extend((0..count).map(|at| (at.checked_sub(1).unwrap_or(NONE), at + 1)));
        self.neighbours[count - 1].1 = NONE;
        self.queue.clear();
        for at in 0..count - 1 {
            self.enqueue(at, at + 1, merges);
        }
        while let Some(Reverse((_, at, id))) = self.queue.pop() {
            let next = self.neighbours[at].1;
            // Either of the two has been merged since: the index of one that is gone has no neighbour.
            if next == NONE || merges.get(self.tokens[at].id, self.tokens[next].id).is_none_or(|merge| merge.id != id) {
                continue;
            }
            self.tokens[at] = Token { id, end: self.tokens[next].end, ..self.tokens[at] };
            let (before, after) = (self.neighbours[at].0, self.neighbours[next].1);
            self.neighbours[at].1 = after;
            self.neighbours[next] = (NONE, NONE);
            self.tokens[next].end = 0;
            if before != NONE {
                self.enqueue(before, at, merges);
            }
            if after != NONE {
                self.neighbours[after].0 = at;
                self.enqueue(at, after, merges);
            }
        }
        self.tokens.retain(|token| token.end > 0);
    }

    fn enqueue(&mut self, left: usize, right: usize, merges: &Merges) {
        if let Some(merge) = merges.get(self.tokens[left].id, self.tokens[right].id) {
            self.queue.push(Reverse((merge.rank, left, merge.id)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Tokens of a word over "abc", each merge by hand: all pairs of the lowest rank first, from the left.
    fn slowly(word: &str, merges: &[(&str, &str)]) -> Vec<String> {
        let mut tokens: Vec<String> = word.chars().map(String::from).collect();
        let rank = |pair: &[String]| merges.iter().position(|(left, right)| pair[0] == *left && pair[1] == *right);
        while let Some((_, at)) = tokens.windows(2).enumerate().filter_map(|(at, pair)| Some((rank(pair)?, at))).min() {
            let right = tokens.remove(at + 1);
            tokens[at] += &right;
        }
        tokens
    }

    #[test]
    fn short_and_long_words_are_merged_as_by_hand() {
        let names =
            [("a", "b"), ("b", "c"), ("ab", "c"), ("c", "a"), ("ab", "ab"), ("a", "bc"), ("a", "a"), ("aa", "aa")];
        let mut vocab = serde_json::Map::new();
        for token in ["a", "b", "c"].map(String::from).into_iter().chain(names.iter().map(|(l, r)| format!("{l}{r}"))) {
            let id = vocab.len();
            vocab.entry(token).or_insert(json!(id));
        }
        let id = |token: &str| u32::try_from(vocab[token].as_u64().unwrap()).unwrap();
        let merges: Vec<_> = names.iter().map(|(l, r)| ((id(l), id(r)), id(&format!("{l}{r}")))).collect();
        let (merges, alphabet) = (Merges::new(&merges), Alphabet::new(&vocab, false));
        let mut merger = Merger::default();
        for seed in 0..400_usize {
            let length = seed % 90;
            let word: String =
                (0..length).map(|at| ['a', 'b', 'c'][(seed * 7 + at * at * (seed + 3) / 5) % 3]).collect();
            let wanted = slowly(&word, &names);
            let found = merger.merge(&word, &alphabet, &merges).unwrap();
            let texts: Vec<&str> = found.iter().map(|token| &word[token.start as usize..token.end as usize]).collect();
            assert_eq!(texts, wanted);
            assert!(found.iter().zip(&wanted).all(|(token, text)| token.id == id(text)));
        }
        assert!(merger.merge("abd", &alphabet, &merges).is_none());
    }
}
