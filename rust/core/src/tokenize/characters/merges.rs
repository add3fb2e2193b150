//! The merges of a BPE: which two tokens become one, which one, and which merge comes first.

/// For each pair of tokens that is merged the merge's rank and what it makes, in one open table.
pub struct Merges {
    slots: Vec<Slot>,
    shift: u32,
}

#[derive(Clone, Copy)]
struct Slot {
    pair: u64,
    merge: Merge,
}

/// What becomes of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    /// Lower ones come first.
    pub rank: u32,
    /// The token that the two become.
    pub id: u32,
}

/// Two tokens, and the one that they become.
pub type Rule = ((u32, u32), u32);

/// No pair: ids are below 2^27.
const FREE: u64 = u64::MAX;

impl Merges {
    /// Of pairs and what they make, by rank. Of two merges of the same pair the later one counts, as in HF's map.
    pub fn new(merges: &[Rule]) -> Self {
        let bits = (merges.len() * 2).next_power_of_two().max(2).trailing_zeros();
        let free = Slot { pair: FREE, merge: Merge { rank: 0, id: 0 } };
        let mut made = Self { slots: vec![free; 1 << bits], shift: 64 - bits };
        for (rank, &((left, right), id)) in (0_u32..).zip(merges) {
            let pair = pair_of(left, right);
            let at = made.slot_of(pair);
            made.slots[at] = Slot { pair, merge: Merge { rank, id } };
        }
        made
    }

    /// What becomes of two tokens that stand side by side.
    #[inline]
    pub fn get(&self, left: u32, right: u32) -> Option<Merge> {
        let pair = pair_of(left, right);
        let slot = &self.slots[self.slot_of(pair)];
        (slot.pair == pair).then_some(slot.merge)
    }

    /// Where a pair is, or would be: half of the slots are free.
    #[inline]
    fn slot_of(&self, pair: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = usize::try_from(pair.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift).unwrap_or(0) & mask;
        while self.slots[at].pair != pair && self.slots[at].pair != FREE {
            at = (at + 1) & mask;
        }
        at
    }
}

#[inline]
fn pair_of(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_found_and_the_later_merge_counts() {
        let all: Vec<((u32, u32), u32)> = (0..1000).map(|id| ((id, id / 3), id + 1000)).collect();
        let twice = [&all[..], &[((7, 2), 5)]].concat();
        let merges = Merges::new(&twice);
        assert_eq!(merges.get(8, 2), Some(Merge { rank: 8, id: 1008 }));
        assert_eq!(merges.get(7, 2), Some(Merge { rank: 1000, id: 5 }));
        assert_eq!(merges.get(2, 8), None);
        assert_eq!(Merges::new(&[]).get(0, 0), None);
    }
}
