//! Cutting a text into words by a pattern that nobody has compared in both engines: HF's is Oniguruma, that of `fastokens`
//! PCRE2. Of the patterns that both read alike ([`is_plain`]) only the characters can make a difference, since each engine has
//! its own version of Unicode: which ones do not ([`Alike`]) is found out when the tokenizer is loaded.

use std::iter::Peekable;
use std::str::Chars;

/// Whether a pattern has nothing but what means the same in both engines, whatever the text: characters and classes of them,
/// alternatives, groups, quantifiers, and the one look ahead `(?!\S)`.
pub fn is_plain(pattern: &str) -> bool {
    let mut reader = Reader { rest: pattern.chars().peekable() };
    reader.read().is_some()
}

struct Reader<'p> {
    rest: Peekable<Chars<'p>>,
}

impl Reader<'_> {
    fn read(&mut self) -> Option<()> {
        // Whether the last character was the end of `{…}`, behind which a `+` is possessive in one engine alone.
        let mut is_count = false;
        while let Some(letter) = self.rest.next() {
            if is_count && matches!(letter, '+' | '*' | '?') {
                return None;
            }
            is_count = false;
            match letter {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.group()?,
                '{' => {
                    self.count()?;
                    is_count = true;
                }
                // What lines and anchors are differs.
                '.' | '^' | '$' => return None,
                _ => {}
            }
        }
        Some(())
    }

    /// Behind a backslash: a property, a class or a character.
    fn escape(&mut self) -> Option<()> {
        match self.rest.next()? {
            'p' | 'P' => {
                self.rest.next_if_eq(&'{')?;
                let mut length = 0;
                while self.rest.next_if(char::is_ascii_alphabetic).is_some() {
                    length += 1;
                }
                self.rest.next_if_eq(&'}').filter(|_| length > 0).map(|_| ())
            }
            's' | 'S' | 'd' | 'D' | 'r' | 'n' | 't' => Some(()),
            letter => letter.is_ascii_punctuation().then_some(()),
        }
    }

    /// Behind a bracket. One engine has sets in it, and intersections.
    fn class(&mut self) -> Option<()> {
        self.rest.next_if_eq(&'^');
        if self.rest.peek() == Some(&']') {
            return None;
        }
        let mut last = None;
        loop {
            match self.rest.next()? {
                ']' => return Some(()),
                '\\' => {
                    self.escape()?;
                    last = None;
                    continue;
                }
                '[' => return None,
                '&' if last == Some('&') => return None,
                letter => last = Some(letter),
            }
        }
    }

    /// Behind a parenthesis.
    fn group(&mut self) -> Option<()> {
        if self.rest.next_if_eq(&'?').is_none() {
            // A verb of PCRE2.
            return (self.rest.peek() != Some(&'*')).then_some(());
        }
        match self.rest.next()? {
            ':' => Some(()),
            'i' => {
                self.rest.next_if_eq(&':')?;
                self.contractions()
            }
            '!' => r"\S)".chars().try_for_each(|letter| self.rest.next_if_eq(&letter).map(|_| ())),
            _ => None,
        }
    }

    /// In a group without case: letters of ASCII, apostrophes and alternatives, to its end. Of other letters the engines know
    /// other pairs.
    fn contractions(&mut self) -> Option<()> {
        loop {
            match self.rest.next()? {
                ')' => return Some(()),
                '\'' | '|' => {}
                '[' => {
                    while self.rest.next_if(char::is_ascii_alphabetic).is_some() {}
                    self.rest.next_if_eq(&']')?;
                }
                letter if letter.is_ascii_alphabetic() => {}
                _ => return None,
            }
        }
    }

    /// Behind a brace: `n}` or `n,m}`.
    fn count(&mut self) -> Option<()> {
        let mut digits = 0;
        while self.rest.next_if(char::is_ascii_digit).is_some() {
            digits += 1;
        }
        if self.rest.next_if_eq(&',').is_some() {
            while self.rest.next_if(char::is_ascii_digit).is_some() {}
        }
        self.rest.next_if_eq(&'}').filter(|_| digits > 0).map(|_| ())
    }
}

/// Characters that both engines cut alike.
pub struct Alike {
    bits: Box<[u64]>,
    all_ascii: bool,
}

impl Alike {
    /// Those of a text.
    pub fn new(text: &str) -> Self {
        let mut bits = vec![0; (char::MAX as usize + 1).div_ceil(64)];
        text.chars().for_each(|letter| bits[letter as usize / 64] |= 1 << (letter as usize % 64));
        let mut made = Self { bits: bits.into_boxed_slice(), all_ascii: false };
        made.all_ascii = (0..=0x7F_u8).all(|byte| made.has(byte.into()));
        made
    }

    fn has(&self, letter: char) -> bool {
        self.bits[letter as usize / 64] >> (letter as usize % 64) & 1 == 1
    }

    /// Whether a text has no others.
    pub fn has_all(&self, text: &str) -> bool {
        self.all_ascii && text.is_ascii() || text.chars().all(|letter| self.has(letter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_models_are_plain() {
        let plain = [
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
            r"[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?",
            r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯ]+",
            r"[!-/:-~！-／：-～‘-‟　-。]+",
            r"[\p{P}!-/:-@\[-`{-~]",
            r"[^\n]+|[\n]+",
        ];
        assert!(plain.iter().all(|pattern| is_plain(pattern)));
        // Sets, intersections, other look-arounds, anchors, words, case of other letters, quantifiers of quantifiers, an end.
        let others = [
            r"[a[b]]",
            r"[\p{L}&&[^a]]",
            r"(?=a)",
            r"(?<=a)b",
            r"(?!a)",
            r"^a",
            r"a$",
            r".",
            r"\w",
            r"\b",
            r"\h",
            r"\1",
            r"(?i:é)",
            r"(?i)a",
            r"a{2}+",
            r"a{2}?",
            r"a{,3}",
            r"[]a]",
            r"(?<n>a)",
            r"(*UCP)",
            r"\p{^L}",
            r"\pL",
            r"[a",
            r"\",
            r"(?",
        ];
        assert!(others.iter().all(|pattern| !is_plain(pattern)));
    }

    #[test]
    fn a_text_has_only_characters_that_are_alike() {
        let alike = Alike::new("aé\u{10FFFF}\0");
        assert!(alike.has_all("é\0a\u{10FFFF}") && alike.has_all(""));
        assert!(!alike.has_all("ab") && !alike.has_all("\u{10FFFE}"));
    }
}
