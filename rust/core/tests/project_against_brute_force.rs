//! `token_mask` and `token_spans` against what the words say, character by character.

use chatspan_core::error::Error;
use chatspan_core::offsets::Offsets;
use chatspan_core::project::{Straddle, check_spans, token_mask, token_spans};
use chatspan_core::span::CharSpan;
use proptest::prelude::*;

/// Tables as tokenizers give them: mostly side by side, some characters shared by several tokens, some left out,
/// some tokens without characters.
fn tables() -> impl Strategy<Value = Vec<(i64, i64)>> {
    let token = (0..5_u8, 0..3_i64, 1..4_i64);
    proptest::collection::vec(token, 0..14).prop_map(|tokens| {
        let (mut pairs, mut end): (Vec<(i64, i64)>, i64) = (Vec::new(), 0);
        for (kind, gap, len) in tokens {
            match kind {
                0 => pairs.push((0, 0)),
                1 if end > 0 => pairs.push((end - 1, end)),
                2 if end > 0 => {
                    pairs.push((end - 1, end + len));
                    end += len;
                }
                _ => {
                    let start = end + if kind == 3 { gap } else { 0 };
                    end = start + len;
                    pairs.push((start, end));
                }
            }
        }
        pairs
    })
}

fn spans() -> impl Strategy<Value = Vec<(i64, i64)>> {
    let span =
        prop_oneof![1 => Just((-1, -1)), 8 => (0..30_i64, 0..8_i64).prop_map(|(start, len)| (start, start + len))];
    proptest::collection::vec(span, 0..6)
}

fn brute_mask(table: &[(i64, i64)], spans: &[(i64, i64)], straddle: Straddle) -> Option<Vec<bool>> {
    let covered = |c: i64| spans.iter().any(|&(start, end)| start <= c && c < end);
    table
        .iter()
        .map(|&(start, end)| {
            let (any, all) = ((start..end).any(covered), (start..end).all(covered));
            match straddle {
                Straddle::Touch => Some(any),
                Straddle::Inside => Some(any && all),
                Straddle::First => Some(any && covered(start)),
                Straddle::Error => (any == (any && all)).then_some(any),
            }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn masks_are_what_the_words_say(table in tables(), spans in spans(), which in 0..4_usize) {
        let straddle = [Straddle::Touch, Straddle::Inside, Straddle::First, Straddle::Error][which];
        let offsets = Offsets::new(table.iter().copied(), None).unwrap();
        let checked = check_spans(spans.iter().copied(), None).unwrap();
        let got = token_mask(&offsets, &checked, straddle);
        match brute_mask(&table, &spans, straddle) {
            Some(mask) => prop_assert_eq!(got.unwrap(), mask),
            None => prop_assert!(matches!(got, Err(Error::Straddle { .. })), "{:?}", got),
        }
    }

    #[test]
    fn a_spans_tokens_run_from_its_first_to_its_last(table in tables(), spans in spans(), which in 0..4_usize) {
        let straddle = [Straddle::Touch, Straddle::Inside, Straddle::First, Straddle::Error][which];
        let offsets = Offsets::new(table.iter().copied(), None).unwrap();
        let checked = check_spans(spans.iter().copied(), None).unwrap();
        let masks: Option<Vec<_>> = spans.iter().map(|span| brute_mask(&table, &[*span], straddle)).collect();
        let got = token_spans(&offsets, &checked, straddle);
        let Some(masks) = masks else {
            prop_assert!(matches!(got, Err(Error::Straddle { .. })), "{:?}", got);
            return Ok(());
        };
        for ((tokens, mask), span) in got.unwrap().into_iter().zip(masks).zip(spans) {
            let first = mask.iter().position(|&m| m);
            match (tokens, first) {
                (None, _) => prop_assert_eq!(span, (-1, -1)),
                (Some(tokens), None) => prop_assert!(tokens.is_empty() && tokens.end() <= table.len()),
                (Some(tokens), Some(first)) => {
                    prop_assert_eq!(tokens.start(), first);
                    prop_assert_eq!(tokens.end(), mask.iter().rposition(|&m| m).unwrap() + 1);
                }
            }
        }
    }

    #[test]
    fn any_numbers_are_a_table_or_an_error(pairs in proptest::collection::vec((any::<i64>(), any::<i64>()), 0..6),
                                           small in proptest::collection::vec((-2..6_i64, -2..6_i64), 0..6),
                                           length in proptest::option::of(0..8_usize)) {
        for pairs in [pairs, small] {
            if let Ok(table) = Offsets::new(pairs.iter().copied(), length) {
                prop_assert_eq!(table.len(), pairs.len());
                let span = [Some(CharSpan::with_len(0, usize::MAX))];
                let visible = pairs.iter().filter(|(start, end)| start < end).count();
                let mask = token_mask(&table, &span, Straddle::Touch).unwrap();
                prop_assert_eq!(mask.iter().filter(|&&m| m).count(), visible);
            }
            let _ = check_spans(pairs, length);
        }
    }
}
