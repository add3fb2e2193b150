//! Where a text can be cut before it is merged.
//!
//! A merge joins the last character of its left token to the first character of its right one. Two neighbours in a text
//! that no merge of the whole list joins like that are never in one token, whatever is merged around them and in
//! whatever order: what stands before them and what stands after them is merged each by itself, with the same result.

use std::ops::Range;

/// Bytes that are looked at together.
pub const BLOCK: usize = 64;

/// Which two characters, side by side, some merge may join.
pub struct Joins {
    /// Among ASCII, 1 for each left and right character that none joins; the blank is `▁`.
    apart: Box<[[u8; 128]; 128]>,
    /// The other pairs, a bit for each hash of one. Two pairs with the same bit make words longer, never wrong.
    others: Vec<u64>,
    shift: u32,
}

impl Joins {
    /// Of the last and the first characters of the two tokens of each merge. Blanks are cut off from what is before them
    /// where `split_at_blanks` says so.
    pub fn new(pairs: &[(char, char)], split_at_blanks: bool) -> Self {
        let bits = (pairs.len() * 4).next_power_of_two().clamp(1 << 8, 1 << 20).trailing_zeros();
        let mut made = Self { apart: Box::new([[1; 128]; 128]), others: vec![0; 1 << (bits - 6)], shift: 64 - bits };
        for &(left, right) in pairs {
            // Blanks have become `▁` before anything is merged: no token with one is made.
            if left == ' ' || right == ' ' || split_at_blanks && right == '▁' {
                continue;
            }
            let (left, right) = (as_blank(left), as_blank(right));
            if left.is_ascii() && right.is_ascii() {
                made.apart[left as usize][right as usize] = 0;
            } else {
                let (word, bit) = made.bit(left, right);
                made.others[word] |= 1 << bit;
            }
        }
        made
    }

    /// All of them: for merges of which nothing is known.
    pub fn all() -> Self {
        Self { apart: Box::new([[0; 128]; 128]), others: vec![u64::MAX; 4], shift: 64 - 8 }
    }

    /// Where words begin among the bytes of a block of a piece of a text: a bit for each byte from `start` on.
    #[inline(always)]
    pub fn cuts(&self, text: &str, piece: &Range<usize>, start: usize) -> u64 {
        let bytes = text.as_bytes();
        let count = (piece.end - start).min(BLOCK);
        let before = if start > piece.start { bytes[start - 1] } else { 0 };
        // What stands behind the piece is looked at with it, and taken out below.
        let cuts = match bytes.get(start..start + BLOCK).and_then(|block| block.first_chunk()) {
            Some(block) if block.is_ascii() && before < 0x80 => self.cuts_of_block(block, before),
            _ => self.cuts_slowly(&text[piece.start..piece.end], start - piece.start),
        };
        // The first word is not cut off from anything.
        let first = u64::from(start == piece.start);
        cuts & (u64::MAX >> (BLOCK - count)) & !first
    }

    #[inline(always)]
    fn cuts_of_block(&self, block: &[u8; BLOCK], before: u8) -> u64 {
        let (mut cuts, mut left) = (0, before);
        for (index, eight) in block.as_chunks::<8>().0.iter().enumerate() {
            let mut few = 0;
            for (bit, &right) in eight.iter().enumerate() {
                few |= u64::from(self.apart[usize::from(left & 0x7F)][usize::from(right & 0x7F)]) << bit;
                left = right;
            }
            cuts |= few << (8 * index);
        }
        cuts
    }

    fn cuts_slowly(&self, piece: &str, start: usize) -> u64 {
        let first = (start..).find(|&at| piece.is_char_boundary(at)).unwrap_or(start);
        let mut left = piece[..first].chars().next_back().map(as_blank);
        let mut cuts = 0;
        for (at, letter) in piece[first..].char_indices() {
            let index = first + at - start;
            if index >= BLOCK {
                break;
            }
            let right = as_blank(letter);
            if left.is_some_and(|left| !self.joins(left, right)) {
                cuts |= 1 << index;
            }
            left = Some(right);
        }
        cuts
    }

    /// The end of the first word of a text.
    pub fn first_end(&self, text: &str) -> usize {
        let all = 0..text.len();
        let blocks = all.clone().step_by(BLOCK).map(|start| (start, self.cuts(text, &all, start)));
        let cut = |(start, cuts): (usize, u64)| (cuts != 0).then(|| start + cuts.trailing_zeros() as usize);
        blocks.filter_map(cut).next().unwrap_or(text.len())
    }

    #[inline]
    fn joins(&self, left: char, right: char) -> bool {
        if left.is_ascii() && right.is_ascii() {
            return self.apart[left as usize][right as usize] == 0;
        }
        let (word, bit) = self.bit(left, right);
        (self.others[word] >> bit) & 1 != 0
    }

    #[inline]
    fn bit(&self, left: char, right: char) -> (usize, u32) {
        let pair = u64::from(left as u32) << 21 | u64::from(right as u32);
        let bit = pair.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift;
        (usize::try_from(bit >> 6).unwrap_or(0), u32::try_from(bit & 63).unwrap_or(0))
    }
}

#[inline]
fn as_blank(letter: char) -> char {
    if letter == '▁' { ' ' } else { letter }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words<'t>(joins: &Joins, text: &'t str) -> Vec<&'t str> {
        let (mut words, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let (word, behind) = rest.split_at(joins.first_end(rest));
            words.push(word);
            rest = behind;
        }
        let all = 0..text.len();
        let cuts = all.clone().step_by(BLOCK).map(|start| joins.cuts(text, &all, start).count_ones()).sum::<u32>();
        assert_eq!(cuts as usize + 1, words.len().max(1));
        words
    }

    #[test]
    fn texts_are_cut_where_nothing_joins() {
        let pairs = [('a', 'b'), ('b', 'a'), ('▁', 'a'), ('b', 'é'), ('日', '本'), ('>', '▁')];
        let joins = Joins::new(&pairs, false);
        assert_eq!(words(&joins, "ab ba日本bé▁ab> a"), ["ab", " ", "ba", "日本", "bé", "▁ab", "> a"]);
        assert_eq!(words(&Joins::new(&pairs, true), "ab> a"), ["ab", ">", " a"]);
        assert_eq!(words(&Joins::all(), "ab 日x"), ["ab 日x"]);
        // Across blocks.
        for text in ["ab", "日本", "b>", "é>", "xé", "ab ba日本bé▁ab> a"] {
            for count in [31, 32, 33, 63, 64, 65, 200] {
                let text = text.repeat(count);
                let found = words(&joins, &text);
                let inside = |word: &&str| {
                    word.chars()
                        .zip(word.chars().skip(1))
                        .any(|(one, next)| !joins.joins(as_blank(one), as_blank(next)))
                };
                assert!(!found.iter().any(inside), "{text}");
                let last_and_first = |pair: &[&str]| (pair[0].chars().next_back(), pair[1].chars().next());
                let (Some(ends), joined) =
                    (Some(found.windows(2).map(last_and_first)), |ends: (Option<char>, Option<char>)| {
                        joins.joins(as_blank(ends.0.unwrap()), as_blank(ends.1.unwrap()))
                    })
                else {
                    return;
                };
                assert!(!ends.into_iter().any(joined), "{text}");
            }
        }
    }
}
