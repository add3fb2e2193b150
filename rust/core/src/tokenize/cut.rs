//! Cutting a text into words by a pattern that nobody has compared in both engines: HF's is Oniguruma, that of `fastokens`
//! PCRE2. In the patterns that both read alike ([`classes_of`]) only the characters can make a difference, since each engine has
//! its own idea of what belongs to a class. Which ones make none ([`Alike`]) is found out when the tokenizer is loaded.

use std::collections::BTreeSet;

/// The classes of characters in a pattern, each a pattern that matches one character.
///
/// None if the pattern has anything but what means the same in both engines, whatever the text: characters and classes of them,
/// alternatives, groups, quantifiers, and the one look ahead `(?!\S)`.
pub fn classes_of(pattern: &str) -> Option<BTreeSet<String>> {
    let mut reader = Reader { rest: pattern, classes: BTreeSet::new(), without_case: BTreeSet::new() };
    reader.read()?;
    let Reader { mut classes, without_case, .. } = reader;
    if !without_case.is_empty() {
        classes.insert(format!("(?i:[{}])", without_case.iter().collect::<String>()));
    }
    Some(classes)
}

/// Pairs of letters that are one letter for who looks at no case.
const FOLDED: [[char; 2]; 5] = [['s', 's'], ['s', 't'], ['f', 'f'], ['f', 'i'], ['f', 'l']];

struct Reader<'p> {
    rest: &'p str,
    classes: BTreeSet<String>,
    without_case: BTreeSet<char>,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let mut letters = self.rest.chars();
        let next = letters.next();
        self.rest = letters.as_str();
        next
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next_if(&mut self, is_it: impl Fn(char) -> bool) -> Option<char> {
        self.peek().filter(|&letter| is_it(letter)).and_then(|_| self.next())
    }

    fn next_if_eq(&mut self, letter: char) -> Option<char> {
        self.next_if(|next| next == letter)
    }

    /// Notes a class that begins where `from` does and ends here.
    fn note(&mut self, from: &str) {
        self.classes.insert(from[..from.len() - self.rest.len()].to_owned());
    }

    fn read(&mut self) -> Option<()> {
        // Whether the last character was the end of `{…}`, behind which a `+` is possessive in one engine alone.
        let mut is_count = false;
        loop {
            let from = self.rest;
            let Some(letter) = self.next() else { return Some(()) };
            if is_count && matches!(letter, '+' | '*' | '?') {
                return None;
            }
            is_count = false;
            match letter {
                '\\' => {
                    let is_class = self.peek().is_some_and(|letter| "pPsSdD".contains(letter));
                    self.escape()?;
                    if is_class {
                        self.note(from);
                    }
                }
                '[' => {
                    self.class()?;
                    self.note(from);
                }
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
    }

    /// Behind a backslash: a property, a class or a character.
    fn escape(&mut self) -> Option<()> {
        match self.next()? {
            'p' | 'P' => {
                self.next_if_eq('{')?;
                let mut length = 0;
                while self.next_if(|letter| letter.is_ascii_alphabetic()).is_some() {
                    length += 1;
                }
                self.next_if_eq('}').filter(|_| length > 0).map(|_| ())
            }
            's' | 'S' | 'd' | 'D' | 'r' | 'n' | 't' => Some(()),
            letter => letter.is_ascii_punctuation().then_some(()),
        }
    }

    /// Behind a bracket. One engine has sets in it, and intersections.
    fn class(&mut self) -> Option<()> {
        self.next_if_eq('^');
        if self.peek() == Some(']') {
            return None;
        }
        let mut last = None;
        loop {
            match self.next()? {
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
        if self.next_if_eq('?').is_none() {
            // A verb of PCRE2.
            return (self.peek() != Some('*')).then_some(());
        }
        match self.next()? {
            ':' => Some(()),
            'i' => {
                self.next_if_eq(':')?;
                self.contractions()
            }
            '!' => {
                self.rest = self.rest.strip_prefix(r"\S)")?;
                self.classes.insert(r"\S".to_owned());
                Some(())
            }
            _ => None,
        }
    }

    /// In a group without case: letters of ASCII, apostrophes and alternatives, to its end. Of other letters the engines know
    /// other pairs, and in one of them `ss` is also `ß`, and two letters a ligature.
    fn contractions(&mut self) -> Option<()> {
        let mut before = None;
        loop {
            let letter = self.next()?;
            match letter {
                ')' => return Some(()),
                '\'' | '|' => {}
                '[' => {
                    let mut count = 0;
                    while let Some(letter) = self.next_if(|letter| letter.is_ascii_alphabetic()) {
                        self.without_case.insert(letter);
                        count += 1;
                    }
                    // A class of one letter may be read as that letter, beside others.
                    self.next_if_eq(']').filter(|_| count > 1)?;
                }
                letter if letter.is_ascii_alphabetic() => {
                    self.without_case.insert(letter);
                }
                _ => return None,
            }
            let both = before.map(|before: char| [before, letter].map(|letter| letter.to_ascii_lowercase()));
            if both.is_some_and(|both| FOLDED.contains(&both)) {
                return None;
            }
            before = Some(letter);
        }
    }

    /// Behind a brace: `n}` or `n,m}`.
    fn count(&mut self) -> Option<()> {
        let mut digits = 0;
        while self.next_if(|letter| letter.is_ascii_digit()).is_some() {
            digits += 1;
        }
        if self.next_if_eq(',').is_some() {
            while self.next_if(|letter| letter.is_ascii_digit()).is_some() {}
        }
        self.next_if_eq('}').filter(|_| digits > 0).map(|_| ())
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
        assert!(plain.iter().all(|pattern| classes_of(pattern).is_some()));
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
            r"(?i:miss)",
            r"(?i:a|St)",
            r"(?i:[s]s)",
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
        assert!(others.iter().all(|pattern| classes_of(pattern).is_none()));
    }

    #[test]
    fn classes_are_noted_where_characters_may_differ() {
        let classes = |pattern| classes_of(pattern).unwrap().into_iter().collect::<Vec<_>>();
        assert_eq!(
            classes(r"'(?i:[st]|ll)| ?[^\s\p{L}]+\p{N}{1,3}|\s+(?!\S)|\r?x\."),
            [r"(?i:[lst])", r"[^\s\p{L}]", r"\S", r"\p{N}", r"\s"]
        );
    }

    #[test]
    fn a_text_has_only_characters_that_are_alike() {
        let alike = Alike::new("aé\u{10FFFF}\0");
        assert!(alike.has_all("é\0a\u{10FFFF}") && alike.has_all(""));
        assert!(!alike.has_all("ab") && !alike.has_all("\u{10FFFE}"));
    }
}
