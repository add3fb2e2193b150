//! How much text each id stands for.

use super::admission::Letters;

/// How much text a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// It cannot be told: what has it, goes to HF.
    Unknown,
    /// So many bytes, all of them ASCII.
    Ascii(usize),
    /// So many bytes, not all of them ASCII.
    Bytes(usize),
    /// So many characters.
    Characters(usize),
    /// One byte of a character that has no token of its own.
    Fallback(u8),
}

const SHIFT: u32 = 13;
const MOST: usize = (1 << SHIFT) - 1;

/// The width of each id, in two bytes each.
#[derive(Clone, Debug)]
pub struct Widths(Vec<u16>);

impl Widths {
    /// Of `count` ids, as `width` says.
    pub fn new(count: usize, width: impl Fn(usize) -> Width) -> Self {
        let pack = |tag: u16, value: usize| u16::try_from(value).map_or(0, |value| (tag << SHIFT) | value);
        let entry = |id| match width(id) {
            Width::Ascii(n) if n <= MOST => pack(1, n),
            Width::Bytes(n) if n <= MOST => pack(2, n),
            Width::Characters(n) if n <= MOST => pack(3, n),
            Width::Fallback(byte) => pack(4, usize::from(byte)),
            _ => 0,
        };
        Self((0..count).map(entry).collect())
    }

    /// Of one id.
    #[inline]
    pub fn get(&self, id: u32) -> Width {
        let entry = usize::try_from(id).ok().and_then(|id| self.0.get(id)).copied().unwrap_or(0);
        let value = usize::from(entry) & MOST;
        match entry >> SHIFT {
            1 => Width::Ascii(value),
            2 => Width::Bytes(value),
            3 => Width::Characters(value),
            4 => Width::Fallback(u8::try_from(value).unwrap_or(0)),
            _ => Width::Unknown,
        }
    }
}

/// The width of a token of the model.
pub fn of_token(token: &str, letters: Letters, byte_fallback: bool) -> Width {
    match letters {
        Letters::Bytes => {
            let mut ascii = true;
            let mut count = 0;
            for letter in token.chars() {
                match byte_of(letter) {
                    Some(byte) => ascii &= byte.is_ascii(),
                    None => return Width::Unknown,
                }
                count += 1;
            }
            if ascii { Width::Ascii(count) } else { Width::Bytes(count) }
        }
        Letters::Characters => match fallback_byte(token) {
            Some(byte) if byte_fallback => Width::Fallback(byte),
            _ => Width::Characters(token.chars().count()),
        },
    }
}

/// The width of an added token, which stands in the text as it is.
pub fn of_added_token(content: &str, letters: Letters) -> Width {
    match letters {
        Letters::Bytes if content.is_ascii() => Width::Ascii(content.len()),
        Letters::Bytes => Width::Bytes(content.len()),
        Letters::Characters => Width::Characters(content.chars().count()),
    }
}

/// The byte of `<0xE2>`.
fn fallback_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// The byte that a letter of GPT-2's alphabet stands for: printable ones stand for themselves, the others follow from
/// U+0100 on.
fn byte_of(letter: char) -> Option<u8> {
    let printable = |byte: u32| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let code = u32::from(letter);
    let byte = if code < 0x100 {
        printable(code).then_some(code)
    } else {
        (0..0x100).filter(|&byte| !printable(byte)).nth(usize::try_from(code - 0x100).ok()?)
    };
    byte.and_then(|byte| u8::try_from(byte).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_bytes() {
        assert_eq!(of_token("ĠHi", Letters::Bytes, false), Width::Ascii(3));
        assert_eq!(of_token("Ã©", Letters::Bytes, false), Width::Bytes(2));
        assert_eq!(of_token("日", Letters::Bytes, false), Width::Unknown);
        assert_eq!(byte_of('Ń'), Some(0xAD));
    }

    #[test]
    fn fallback_tokens_are_bytes_only_where_there_is_a_fallback() {
        assert_eq!(of_token("<0xE2>", Letters::Characters, true), Width::Fallback(0xE2));
        assert_eq!(of_token("<0xE2>", Letters::Characters, false), Width::Characters(6));
        assert_eq!(of_token("▁日本", Letters::Characters, true), Width::Characters(3));
    }

    #[test]
    fn widths_come_back_as_they_went_in() {
        let all = [Width::Ascii(1), Width::Bytes(MOST), Width::Characters(0), Width::Fallback(255), Width::Unknown];
        let widths = Widths::new(all.len(), |id| all[id]);
        let back: Vec<Width> = (0..6).map(|id| widths.get(id)).collect();
        assert_eq!(back, [&all[..], &[Width::Unknown]].concat());
        assert_eq!(Widths::new(1, |_| Width::Ascii(MOST + 1)).get(0), Width::Unknown);
    }
}
