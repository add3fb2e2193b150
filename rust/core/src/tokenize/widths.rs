//! How much text each id stands for.

/// How much text a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// It cannot be told: what has it, goes to HF.
    Unknown,
    /// So many bytes, all of them ASCII.
    Ascii(usize),
    /// So many bytes, not all of them ASCII.
    Bytes(usize),
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
            _ => Width::Unknown,
        }
    }
}

/// The width of a token of the model, whose letters are bytes.
pub fn of_token(token: &str) -> Width {
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

/// The width of an added token, which stands in the text as it is.
pub const fn of_added_token(content: &str) -> Width {
    if content.is_ascii() { Width::Ascii(content.len()) } else { Width::Bytes(content.len()) }
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
        assert_eq!(of_token("ĠHi"), Width::Ascii(3));
        assert_eq!(of_token("Ã©"), Width::Bytes(2));
        assert_eq!(of_token("日"), Width::Unknown);
        assert_eq!(byte_of('Ń'), Some(0xAD));
    }

    #[test]
    fn widths_come_back_as_they_went_in() {
        let all = [Width::Ascii(1), Width::Bytes(MOST), Width::Unknown];
        let widths = Widths::new(all.len(), |id| all[id]);
        let back: Vec<Width> = (0..4).map(|id| widths.get(id)).collect();
        assert_eq!(back, [&all[..], &[Width::Unknown]].concat());
        assert_eq!(Widths::new(1, |_| Width::Ascii(MOST + 1)).get(0), Width::Unknown);
    }
}
