//! Words by their bytes, with room for a few tokens each.

/// The tokens of a word: up to four in a row, each its id and how many characters it has. Fewer end with a zero.
pub type Packed = [u32; 4];

/// Eight bytes each: what the keys of short words take, and those of longer ones.
pub const SHORT: usize = 2;
/// Of up to 31 bytes.
pub const MIDDLE: usize = 4;
/// Of up to 63 bytes.
pub const LONG: usize = 8;
/// With how many pairs of slots a table begins.
const FIRST_PAIRS: usize = 1 << 9;
/// In so many pairs, one behind the other, a word may be.
const PROBES: usize = 4;

/// Up to `8 * N - 1` bytes, and in the last one how many.
pub type Key<const N: usize> = [u64; N];

/// The key of a word of a text.
#[inline(always)]
pub fn key<const N: usize>(text: &[u8], start: usize, end: usize) -> Key<N> {
    let Some(bytes) = text.get(start..start + 8 * N) else { return key_at_end(&text[start..end]) };
    let length = end - start;
    let mut key = Masks::<N>::OF_LENGTH[length % 64];
    for (place, eight) in key.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *place &= u64::from_le_bytes(*eight);
    }
    key[N - 1] |= (length as u64) << 56;
    key
}

struct Masks<const N: usize>;

impl<const N: usize> Masks<N> {
    /// The bits of a word of so many bytes.
    const OF_LENGTH: [Key<N>; 64] = {
        let mut masks = [[0; N]; 64];
        let mut length = 0;
        while length < 64 {
            let mut byte = 0;
            while byte < length && byte < 8 * N {
                masks[length][byte / 8] |= 0xFF << (8 * (byte % 8));
                byte += 1;
            }
            length += 1;
        }
        masks
    };
}

/// Of a word that has not as many bytes as a key behind its start.
#[cold]
fn key_at_end<const N: usize>(word: &[u8]) -> Key<N> {
    let mut key = [0; N];
    for (index, &byte) in word.iter().enumerate() {
        key[index / 8] |= u64::from(byte) << (8 * (index % 8));
    }
    key[N - 1] |= (word.len() as u64) << 56;
    key
}

/// Words by their bytes, in pairs of slots, of which a quarter is taken, or up to half where there are no more to come. Then
/// all are forgotten.
pub struct Table<const N: usize> {
    pairs: Vec<Pair<N>>,
    /// How many bits of a hash are not a place among them.
    shift: u32,
    taken: usize,
    most: usize,
}

type Slot<const N: usize> = (Key<N>, Packed);

/// Two slots that are compared at once: a branch for each of them would be one that nobody can foretell.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Pair<const N: usize>([Slot<N>; 2]);

impl<const N: usize> Table<N> {
    const EMPTY: Pair<N> = Pair([([0; N], [0; 4]); 2]);

    /// Of at most so many pairs of slots.
    pub fn new(most: usize) -> Self {
        Self { pairs: vec![Self::EMPTY; FIRST_PAIRS], shift: shift_of(FIRST_PAIRS), taken: 0, most }
    }

    /// The tokens of a word.
    #[inline(always)]
    pub fn find(&self, key: &Key<N>, hash: u64) -> Option<Packed> {
        let at = self.home(hash);
        let Pair([one, other]) = &self.pairs[at];
        let (is_one, is_other) = (is_of(one, key), is_of(other, key));
        if is_one | is_other {
            return Some(if is_one { one.1 } else { other.1 });
        }
        if other.0[N - 1] == 0 { None } else { self.find_behind(key, at) }
    }

    #[cold]
    fn find_behind(&self, key: &Key<N>, home: usize) -> Option<Packed> {
        let slots = (1..PROBES).flat_map(|step| &self.pairs[(home + step) & (self.pairs.len() - 1)].0);
        slots.take_while(|slot| slot.0[N - 1] != 0).find(|slot| is_of(slot, key)).map(|slot| slot.1)
    }

    /// Remembers a word.
    pub fn insert(&mut self, key: Key<N>, packed: Packed) {
        let count = self.pairs.len();
        if self.taken * 2 >= count && count < self.most {
            let old = self.start_anew(count * 2);
            let taken = old.into_iter().flat_map(|pair| pair.0).filter(|(key, _)| key[N - 1] != 0);
            taken.for_each(|(key, packed)| self.put(key, packed));
        } else if self.taken >= count {
            self.start_anew(FIRST_PAIRS);
        }
        self.put(key, packed);
    }

    fn start_anew(&mut self, pairs: usize) -> Vec<Pair<N>> {
        (self.shift, self.taken) = (shift_of(pairs), 0);
        std::mem::replace(&mut self.pairs, vec![Self::EMPTY; pairs])
    }

    /// In the first free slot, or, where none is free, in the place of another word.
    fn put(&mut self, key: Key<N>, packed: Packed) {
        let home = self.home(hash(&key));
        let mask = self.pairs.len() - 1;
        for step in 0..PROBES {
            if let Some(free) = self.pairs[(home + step) & mask].0.iter_mut().find(|slot| slot.0[N - 1] == 0) {
                *free = (key, packed);
                self.taken += 1;
                return;
            }
        }
        self.pairs[home].0[0] = (key, packed);
    }

    /// Something of the slots in which a word would be: looking at it has them come from memory.
    #[inline(always)]
    pub fn touch(&self, hash: u64) -> u64 {
        self.pairs[self.home(hash)].0[0].0[0]
    }

    #[inline(always)]
    fn home(&self, hash: u64) -> usize {
        // The highest bits are those that all of a key's bits have a say in.
        usize::try_from(hash >> self.shift).unwrap_or(0)
    }
}

const fn shift_of(pairs: usize) -> u32 {
    u64::BITS - pairs.trailing_zeros()
}

/// Where a word is to be looked for.
#[inline(always)]
pub fn hash<const N: usize>(key: &Key<N>) -> u64 {
    let mut hash = 0;
    for (eight, factor) in key.iter().zip(FACTORS) {
        hash ^= eight.wrapping_mul(factor);
    }
    hash
}

/// Odd, with bits all over.
const FACTORS: [u64; LONG] = [
    0x9E37_79B9_7F4A_7C15,
    0xC2B2_AE3D_27D4_EB4F,
    0x1656_67B1_9E37_79F9,
    0xD6E8_FEB8_6659_FD93,
    0xA076_1D64_78BD_642F,
    0xE703_7ED1_A0B4_28DB,
    0x8EBC_6AF0_9C88_C6E3,
    0x5899_65CC_7537_4CC3,
];

/// Eight bytes by eight, since that is how a key lies in registers.
#[inline(always)]
fn is_of<const N: usize>(slot: &Slot<N>, key: &Key<N>) -> bool {
    slot.0.iter().zip(key).fold(0, |differing, (one, other)| differing | (one ^ other)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_words_are_known_as_there_is_room_for() {
        let mut table = Table::<SHORT>::new(FIRST_PAIRS * 4);
        let key_of = |number: u32| key::<SHORT>(format!("word {number}").as_bytes(), 0, 5 + number.to_string().len());
        let is_known = |table: &Table<SHORT>, number: u32| {
            let key = key_of(number);
            table.find(&key, hash(&key)) == Some([number, 0, 0, 1])
        };
        for number in 0..1500 {
            table.insert(key_of(number), [number, 0, 0, 1]);
        }
        // Few have had to make room for others.
        assert!((0..1500).filter(|&number| is_known(&table, number)).count() > 1450);
        assert!((1500..3000).all(|number| !is_known(&table, number)));
        for number in 1500..50_000 {
            table.insert(key_of(number), [number, 0, 0, 1]);
            assert!(is_known(&table, number));
        }
        assert!(table.pairs.len() <= FIRST_PAIRS * 4);
    }
}
