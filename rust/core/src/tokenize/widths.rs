//! How much text each id stands for, and ids laid out by that.

use std::collections::HashMap;

/// For each token its first character and the one behind its last.
pub type Ranges = Vec<(u32, u32)>;

/// How much text a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Width {
    /// Its bytes, at least one.
    bytes: u32,
    /// The characters that begin in it.
    begun: u32,
    /// Whether it begins inside of a character.
    inside: bool,
    /// Blanks at its ends that are not among its characters; those of a token of blanks alone are all in front.
    blanks: (u32, u32),
}

impl Width {
    /// Of a token's bytes; none if it has none, or too many.
    fn new(bytes: &[u8]) -> Option<Self> {
        let begun = bytes.iter().filter(|byte| !is_continuation(**byte)).count();
        let count = |count: usize| u16::try_from(count).ok().map(u32::from);
        let inside = is_continuation(*bytes.first()?);
        Some(Self { bytes: count(bytes.len())?, begun: count(begun)?, inside, blanks: (0, 0) })
    }

    /// Without so many blanks in front and behind; none if they are too many.
    pub fn without_blanks(self, leading: usize, trailing: usize) -> Option<Self> {
        let chars = self.begun as usize + usize::from(self.inside);
        let leading = leading.min(chars);
        let trailing = trailing.min(chars - leading);
        let most = |count: usize, most: u32| u32::try_from(count).ok().filter(|&count| count <= most);
        Some(Self { blanks: (most(leading, MOST_LEADING)?, most(trailing, MOST_TRAILING)?), ..self })
    }

    fn step(self) -> u64 {
        let (leading, trailing) = self.blanks;
        let marks = u64::from(self.inside) << 63 | u64::from(trailing) << TRAILING | u64::from(leading) << LEADING;
        marks | u64::from(self.bytes) << 32 | u64::from(self.begun)
    }
}

/// A width in 64 bits: characters that begin, from bit 32 on bytes, above them blanks, and from bit 62 on whether it is none, and
/// whether it begins inside of a character.
const ADDED: u64 = (1 << 48) - 1;
const LEADING: u32 = 48;
const MOST_LEADING: u32 = 0xFF;
const TRAILING: u32 = 56;
const MOST_TRAILING: u32 = 0x3F;
const NONE: u64 = 1 << 62;
const INSIDE: u64 = 1 << 63;
/// As many ids as have their width in a byte: more than the vocabularies have that are in use.
const IDS: usize = 1 << 18;
const STEPS: usize = 256;

/// The width of each id. Few widths are common: which one it is, is a byte, since nothing that is needed so often should take
/// much of the cache.
#[derive(Clone, Debug)]
pub struct Widths {
    common: Box<[u8; IDS]>,
    /// The common widths. The first one is none, for ids that have another width, or none.
    steps: [u64; STEPS],
    others: HashMap<u32, Width>,
}

/// Ids, laid out over a text.
#[derive(Debug, PartialEq, Eq)]
pub struct Placed {
    /// The characters of each.
    pub ranges: Ranges,
    /// Whether some have none, because they are blanks alone.
    pub some_empty: bool,
    /// How many bytes they have together.
    pub bytes: usize,
    /// How many characters.
    pub chars: usize,
}

impl Widths {
    /// Of `count` ids, as `width` says.
    pub fn new(count: u32, width: impl Fn(u32) -> Option<Width>) -> Self {
        let all: Vec<(u32, Width)> = (0..count).filter_map(|id| Some((id, width(id)?))).collect();
        let mut frequencies: HashMap<Width, usize> = HashMap::new();
        all.iter().for_each(|(_, width)| *frequencies.entry(*width).or_default() += 1);
        let mut common: Vec<Width> = frequencies.keys().copied().collect();
        common.sort_unstable_by_key(|width| (usize::MAX - frequencies[width], *width));
        let mut made = Self { common: Box::new([0; IDS]), steps: [NONE; STEPS], others: HashMap::new() };
        let indices: HashMap<Width, u8> = common.into_iter().zip(1..=u8::MAX).collect();
        indices.iter().for_each(|(width, index)| made.steps[usize::from(*index)] = width.step());
        for (id, width) in all {
            match (made.common.get_mut(id as usize), indices.get(&width)) {
                (Some(common), Some(index)) => *common = *index,
                _ => _ = made.others.insert(id, width),
            }
        }
        made
    }

    fn step(&self, id: u32) -> u64 {
        let common = self.common.get(id as usize).map_or(NONE, |index| self.steps[usize::from(*index)]);
        if common == NONE { self.others.get(&id).map_or(NONE, |width| width.step()) } else { common }
    }

    /// Ids one behind the other, from the beginning of a text. Several tokens of one character all have its range. With
    /// `TRIMMED` blanks at the ends of a token are not in its range, which is empty if there is nothing else. None where an id
    /// has no width, or the first begins inside of a character.
    pub fn place<const TRIMMED: bool>(&self, ids: &[u32]) -> Option<Placed> {
        let mut highest = 0;
        let placed = place::<TRIMMED>(ids, |id| {
            highest |= id;
            self.steps[usize::from(self.common[id as usize % IDS])]
        });
        // Whether all were common ones is known after the last one, since a branch for each takes longer.
        if placed.is_some() && (highest as usize) < IDS { placed } else { place::<TRIMMED>(ids, |id| self.step(id)) }
    }
}

#[inline]
fn place<const TRIMMED: bool>(ids: &[u32], mut step: impl FnMut(u32) -> u64) -> Option<Placed> {
    if ids.first().is_some_and(|&first| step(first) & INSIDE != 0) {
        return None;
    }
    let (mut at, mut marks, mut some_empty) = (0_u64, 0_u64, false);
    // Texts are shorter than 2^31 bytes.
    let low = |at: u64| u32::try_from(at & u64::from(u32::MAX)).unwrap_or(0);
    let blanks = |step: u64, from: u32, most: u32| if TRIMMED { low(step >> from) & most } else { 0 };
    let ranges = ids.iter().map(|&id| {
        let step = step(id);
        marks |= step;
        let start = low(at).wrapping_sub(low(step >> 63)).wrapping_add(blanks(step, LEADING, MOST_LEADING));
        at = at.wrapping_add(step & ADDED);
        let end = low(at).wrapping_sub(blanks(step, TRAILING, MOST_TRAILING));
        some_empty |= TRIMMED && start == end;
        (start, end)
    });
    let ranges = ranges.collect();
    let (bytes, chars) = (low(at >> 32) as usize, low(at) as usize);
    (marks & NONE == 0).then_some(Placed { ranges, some_empty, bytes, chars })
}

/// The width of a token of the model, whose letters are bytes. None where one is none.
pub fn of_token(token: &str) -> Option<Width> {
    Width::new(&token.chars().map(byte_of).collect::<Option<Vec<u8>>>()?)
}

/// The width of an added token, which stands in the text as it is.
pub fn of_added_token(content: &str) -> Option<Width> {
    Width::new(content.as_bytes())
}

const fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
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

    fn widths(tokens: &[&[u8]]) -> Widths {
        Widths::new(u32::try_from(tokens.len()).unwrap(), |id| Width::new(tokens[id as usize]))
    }

    fn ranges(tokens: &[&[u8]], ids: &[u32]) -> Option<Ranges> {
        let placed = widths(tokens).place::<false>(ids)?;
        let text: Vec<u8> = ids.iter().flat_map(|&id| tokens[id as usize]).copied().collect();
        let text = String::from_utf8(text).unwrap();
        assert_eq!((placed.bytes, placed.chars), (text.len(), text.chars().count()));
        Some(placed.ranges)
    }

    #[test]
    fn letters_are_bytes() {
        assert_eq!(of_token("ĠHi"), Width::new(b" Hi"));
        assert_eq!(of_token("Ã©"), Width::new("é".as_bytes()));
        assert_eq!(of_token("日"), None);
        assert_eq!(byte_of('Ń'), Some(0xAD));
    }

    #[test]
    fn tokens_of_one_character_share_it() {
        // "ab", then the first three bytes of the emoji, then its last; é as a whole.
        let tokens: [&[u8]; 5] = [b"ab", &[0xF0, 0x9F, 0x98], &[0x80], "é".as_bytes(), &[0x80, b'x']];
        assert_eq!(ranges(&tokens, &[0, 1, 2, 3]), Some(vec![(0, 2), (2, 3), (2, 3), (3, 4)]));
        assert_eq!(ranges(&tokens, &[1, 4]), Some(vec![(0, 1), (0, 2)]));
        assert_eq!(widths(&tokens).place::<false>(&[2, 0]), None);
        assert_eq!(widths(&tokens).place::<false>(&[0, 9]), None);
        assert_eq!(ranges(&[b""], &[0]), None);
    }

    #[test]
    fn blanks_are_no_characters_of_a_trimmed_token() {
        let tokens = [" Hi ", "   ", "\u{3000}é"];
        let widths = Widths::new(3, |id| {
            let (leading, trailing) = [(1, 1), (3, 3), (1, 0)][id as usize];
            Width::new(tokens[id as usize].as_bytes())?.without_blanks(leading, trailing)
        });
        assert_eq!(widths.place::<true>(&[0, 1, 2]).unwrap().ranges, [(1, 3), (7, 7), (8, 9)]);
        assert_eq!(widths.place::<false>(&[0, 1, 2]).unwrap().ranges, [(0, 4), (4, 7), (7, 9)]);
        let blank = Width::new(&[b' '; 300]).unwrap();
        assert_eq!((blank.without_blanks(300, 300), blank.without_blanks(0, 64)), (None, None));
    }

    #[test]
    fn rare_and_high_ones_are_placed_too() {
        // More widths than there are common ones; the first is the most common.
        let longs: Vec<Vec<u8>> = (1..400).map(|count| vec![b'x'; count]).collect();
        let high = u32::try_from(IDS).unwrap() + 3;
        let widths = Widths::new(high, |id| Width::new(longs.get(id as usize).map_or(b"abc", |long| long)));
        let placed = widths.place::<false>(&[0, 398, high - 1, 397]).unwrap();
        assert_eq!(placed.ranges, [(0, 1), (1, 400), (400, 403), (403, 801)]);
        assert_eq!((widths.place::<false>(&[high]), widths.others.contains_key(&398)), (None, true));
    }
}
