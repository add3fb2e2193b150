//! `attribute` against what a person would do: look at every character of every token.

use chatspan_core::attribute::attribute;
use chatspan_core::attribute::segments::Segments;
use chatspan_core::offsets::Offsets;
use proptest::prelude::*;

type Characters = Vec<(i32, u8)>;
type Tokens = Vec<(i64, i64)>;

/// A (message, kind) for each character, and tokens over them in order.
fn inputs() -> impl Strategy<Value = (Characters, Tokens)> {
    prop::collection::vec((-1..2_i32, 0..3_u8), 1..30).prop_flat_map(|characters| {
        let end = i64::try_from(characters.len()).unwrap();
        let tokens = prop::collection::vec((0..end, 0..4_i64), 0..20).prop_map(move |mut starts| {
            starts.sort_unstable();
            let mut last = 0;
            let token = |(start, length): (i64, i64)| {
                if length == 0 {
                    return (start, start);
                }
                last = (start + length).min(end).max(last);
                (start, last)
            };
            starts.into_iter().map(token).collect()
        });
        (Just(characters), tokens)
    })
}

proptest! {
    #[test]
    fn every_token_has_what_its_first_character_has((characters, tokens) in inputs()) {
        let edges: Vec<usize> = (0..=characters.len()).collect();
        let (messages, kinds): (Vec<i32>, Vec<u8>) = characters.iter().copied().unzip();
        let offsets = Offsets::new(tokens.iter().copied(), Some(characters.len())).unwrap();
        let found = attribute(&offsets, &Segments::new(edges, messages.clone(), kinds.clone()).unwrap()).unwrap();
        for (index, &(start, end)) in tokens.iter().enumerate() {
            let (start, end) = (usize::try_from(start).unwrap(), usize::try_from(end).unwrap());
            prop_assert_eq!(found.message_index[index], messages[start]);
            prop_assert_eq!(found.kind[index], if start == end { 0 } else { kinds[start] });
            let mixed = characters[start..end].iter().any(|character| *character != characters[start]);
            prop_assert_eq!(found.straddling.contains(&i64::try_from(index).unwrap()), mixed);
        }
    }
}
