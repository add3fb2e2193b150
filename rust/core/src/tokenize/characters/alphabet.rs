//! The tokens that a word is made of before anything is merged: one for each character, or one for each of its bytes.

use serde_json::Map;
use serde_json::Value;

/// Tokens of characters, and of the bytes of characters that have none.
pub struct Alphabet {
    /// For each 256 characters where their ids begin.
    pages: Vec<u32>,
    ids: Vec<u32>,
    bytes: Option<Box<[u32; 256]>>,
}

/// What stands for a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letter {
    /// Its own token.
    Token(u32),
    /// The tokens of its bytes in UTF-8, as many as there are.
    Bytes([u32; 4], usize),
}

const PAGE: usize = 256;
/// More than any id.
const NONE: u32 = u32::MAX;

impl Alphabet {
    /// Of a vocabulary; with `byte_fallback` the tokens `<0x00>` to `<0xFF>` stand for bytes.
    pub fn new(vocab: &Map<String, Value>, byte_fallback: bool) -> Self {
        // The first page is that of characters without tokens.
        let mut made = Self { pages: vec![0; 0x11_0000 / PAGE], ids: vec![NONE; PAGE], bytes: None };
        let id_of = |token: &Value| token.as_u64().and_then(|id| u32::try_from(id).ok());
        for (token, id) in vocab {
            let mut letters = token.chars();
            if let (Some(letter), None, Some(id)) = (letters.next(), letters.next(), id_of(id)) {
                made.insert(letter, id);
            }
        }
        if byte_fallback {
            let id = |byte| vocab.get(&format!("<0x{byte:02X}>")).and_then(id_of).unwrap_or(NONE);
            made.bytes = Some(Box::new(std::array::from_fn(id)));
        }
        made
    }

    fn insert(&mut self, letter: char, id: u32) {
        let code = letter as usize;
        let page = &mut self.pages[code / PAGE];
        if *page == 0 {
            *page = u32::try_from(self.ids.len()).unwrap_or(0);
            self.ids.resize(self.ids.len() + PAGE, NONE);
        }
        self.ids[*page as usize + code % PAGE] = id;
    }

    /// What stands for a character. None where nothing does.
    #[inline]
    pub fn get(&self, letter: char) -> Option<Letter> {
        let code = letter as usize;
        let id = self.ids[self.pages[code / PAGE] as usize + code % PAGE];
        if id == NONE { self.bytes_of(letter) } else { Some(Letter::Token(id)) }
    }

    #[cold]
    fn bytes_of(&self, letter: char) -> Option<Letter> {
        let bytes = self.bytes.as_ref()?;
        let (mut buffer, mut ids) = ([0; 4], [NONE; 4]);
        let encoded = letter.encode_utf8(&mut buffer).as_bytes();
        for (id, &byte) in ids.iter_mut().zip(encoded) {
            *id = bytes[usize::from(byte)];
        }
        let count = encoded.len();
        (!ids[..count].contains(&NONE)).then_some(Letter::Bytes(ids, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_character_has_a_token_or_bytes_or_nothing() {
        let json = json!({"a": 5, "日": 6, "ab": 7, "<0xC3>": 1, "<0xA9>": 2});
        let vocab = json.as_object().unwrap();
        let with = Alphabet::new(vocab, true);
        assert_eq!(with.get('a'), Some(Letter::Token(5)));
        assert_eq!(with.get('日'), Some(Letter::Token(6)));
        assert_eq!(with.get('é'), Some(Letter::Bytes([1, 2, NONE, NONE], 2)));
        assert_eq!(with.get('ê'), None);
        assert_eq!(Alphabet::new(vocab, false).get('é'), None);
    }
}
