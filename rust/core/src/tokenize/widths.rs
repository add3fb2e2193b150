//! How much text each id stands for.

use std::collections::HashMap;

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

/// That not all bytes are ASCII; the other bits are how many there are.
const BEYOND: u8 = 0x80;
/// Of a token without a width in a byte: it is among the others.
const OTHER: u8 = 0;
const MOST: usize = 0x7F;
/// As many ids as have a width in a byte: more than the vocabularies have that are in use.
const IDS: usize = 1 << 18;

/// The width of each id: in a byte each, since nothing that is needed so often should take much of the cache.
#[derive(Clone, Debug)]
pub struct Widths {
    few: Box<[u8; IDS]>,
    /// Widths of tokens of more bytes, and of higher ids.
    others: HashMap<u32, Width>,
}

impl Widths {
    /// Of `count` ids, as `width` says.
    pub fn new(count: u32, width: impl Fn(u32) -> Width) -> Self {
        let mut made = Self { few: Box::new([OTHER; IDS]), others: HashMap::new() };
        for id in 0..count {
            let width = width(id);
            let packed = match width {
                Width::Unknown | Width::Ascii(0) | Width::Bytes(0) => continue,
                Width::Ascii(n) if n <= MOST => u8::try_from(n).unwrap_or(OTHER),
                Width::Bytes(n) if n <= MOST => u8::try_from(n).unwrap_or(OTHER) | BEYOND,
                _ => OTHER,
            };
            match made.few.get_mut(id as usize) {
                Some(few) if packed != OTHER => *few = packed,
                _ => _ = made.others.insert(id, width),
            }
        }
        made
    }

    /// Of one id.
    #[inline]
    pub fn get(&self, id: u32) -> Width {
        let few = self.few.get(id as usize).copied().unwrap_or(OTHER);
        let count = usize::from(few & !BEYOND);
        match few {
            OTHER => self.others.get(&id).copied().unwrap_or(Width::Unknown),
            1..BEYOND => Width::Ascii(count),
            BEYOND.. => Width::Bytes(count),
        }
    }

    /// Calls with the number of bytes of each id, as long as all of them are few and ASCII: whether they were, is known
    /// after the last one.
    #[inline]
    pub fn each_ascii<T>(&self, ids: &[u32], mut place: impl FnMut(u8) -> T) -> Option<Vec<T>> {
        let (mut highest, mut odd) = (0, 0);
        let placed = ids.iter().map(|&id| {
            let few = self.few[id as usize % IDS];
            highest |= id;
            // Neither zero nor with the highest bit.
            odd |= few.wrapping_sub(1);
            place(few)
        });
        let placed = placed.collect();
        (odd & BEYOND == 0 && (highest as usize) < IDS).then_some(placed)
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
        let all = [Width::Ascii(1), Width::Bytes(MOST), Width::Ascii(MOST + 1), Width::Bytes(9000), Width::Unknown];
        let high = u32::try_from(IDS).unwrap() + 3;
        let widths = Widths::new(high, |id| if id < 5 { all[id as usize] } else { Width::Ascii(7) });
        let back: Vec<Width> = [0, 1, 2, 3, 4, 5, high - 1, high].map(|id| widths.get(id)).into();
        assert_eq!(back, [&all[..], &[Width::Ascii(7), Width::Ascii(7), Width::Unknown]].concat());
        assert_eq!(widths.each_ascii(&[0, 5], |n| n), Some(vec![1, 7]));
        assert!([1, 2, 4, high - 1, high].iter().all(|&id| widths.each_ascii(&[0, id], |n| n).is_none()));
        assert_eq!(Widths::new(1, |_| Width::Ascii(0)).get(0), Width::Unknown);
    }
}
