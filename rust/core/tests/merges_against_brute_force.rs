//! Tokenizers over characters against the slow way: the whole piece at once, the merge of the lowest rank first, from the
//! left, without words, tables or anything remembered.
#![cfg(feature = "native")]

use std::collections::HashMap;

use chatspan_core::tokenize::NativeTokenizer;
use proptest::prelude::*;
use serde_json::{Value, json};

const LETTERS: [&str; 9] = ["▁", "a", "b", "c", ">", "\n", "é", "日", "😀"];
/// What texts are made of: letters, blanks, characters without a token, added tokens, and enough for long words.
const PARTS: [&str; 19] = [
    " ",
    "a",
    "b",
    "c",
    ">",
    "\n",
    "é",
    "日",
    "😀",
    "▁",
    "ü",
    "本",
    "<s>",
    "<s",
    "ca",
    "  ",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "ab ab ab ab ab ab ab ab ab ab ab ab",
    "bab",
];
/// Looked for in the text as it is, and in the normalized text.
const ADDED: [(&str, bool); 3] = [("<s>", false), ("ca", true), ("a<s", true)];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Replace,
    Prepend,
    Metaspace(&'static str, bool),
}

fn form() -> impl Strategy<Value = Form> {
    let scheme = prop_oneof![Just("always"), Just("first"), Just("never")];
    prop_oneof![
        Just(Form::Replace),
        Just(Form::Prepend),
        (scheme, any::<bool>()).prop_map(|(scheme, split)| Form::Metaspace(scheme, split)),
    ]
}

/// A model whose merges are of tokens that there are, and in another order than they came up.
#[derive(Clone, Debug)]
struct Model {
    vocab: Vec<String>,
    merges: Vec<(String, String)>,
    byte_fallback: bool,
}

fn model() -> impl Strategy<Value = Model> {
    let picks = prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..40);
    (picks, any::<bool>(), any::<u64>()).prop_map(|(picks, byte_fallback, seed)| {
        let mut vocab: Vec<String> = LETTERS.map(String::from).into();
        let mut merges: Vec<(String, String)> = Vec::new();
        for (left, right) in picks {
            let pair = (left.get(&vocab).clone(), right.get(&vocab).clone());
            let both = pair.0.clone() + &pair.1;
            if both.len() > 60 || merges.contains(&pair) {
                continue;
            }
            if !vocab.contains(&both) {
                vocab.push(both);
            }
            merges.push(pair);
        }
        merges.sort_by_key(|(left, right)| (left.len() as u64 * 31 + right.len() as u64 * 17 + seed) % 7);
        if byte_fallback {
            vocab.extend((0..=0xFF).map(|byte: u8| format!("<0x{byte:02X}>")));
        }
        Model { vocab, merges, byte_fallback }
    })
}

fn tokenizer_json(model: &Model, form: Form, with_added: bool) -> String {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let (normalizer, pre_tokenizer) = match form {
        Form::Replace => (replace, Value::Null),
        Form::Prepend => {
            (json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]}), Value::Null)
        }
        Form::Metaspace(scheme, split) => {
            (Value::Null, json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}))
        }
    };
    let ids = (0..).zip(&model.vocab).map(|(id, token): (u32, _)| (token.clone(), json!(id))).collect();
    let added = ADDED.iter().zip(1000..).filter(|((_, normalized), _)| form != Form::Prepend || !normalized);
    let added: Vec<Value> = added
        .map(|((content, normalized), id)| json!({"id": id, "content": content, "normalized": normalized}))
        .collect();
    json!({
        "added_tokens": if with_added { added } else { Vec::new() }, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
        "model": {"type": "BPE", "byte_fallback": model.byte_fallback, "vocab": Value::Object(ids), "merges": model.merges},
    })
    .to_string()
}

type Found = Vec<(u32, (u32, u32))>;

/// The tokens of what is merged at once: each character of it with its place in the text. None if one has no token.
fn merged(letters: &[(char, u32)], model: &Model) -> Option<Found> {
    let id = |token: &str| model.vocab.iter().position(|other| other == token);
    let mut tokens: Vec<(String, u32, u32)> = Vec::new();
    for &(letter, at) in letters {
        if id(&letter.to_string()).is_some() {
            tokens.push((letter.to_string(), at, at + 1));
        } else if model.byte_fallback {
            tokens.extend(letter.to_string().bytes().map(|byte| (format!("<0x{byte:02X}>"), at, at + 1)));
        } else {
            return None;
        }
    }
    let ranks: HashMap<(&str, &str), usize> =
        model.merges.iter().enumerate().map(|(rank, (left, right))| ((&**left, &**right), rank)).collect();
    loop {
        let rank = |pair: &[(String, u32, u32)]| ranks.get(&(&*pair[0].0, &*pair[1].0)).copied();
        let lowest = tokens.windows(2).enumerate().filter_map(|(at, pair)| Some((rank(pair)?, at))).min();
        let Some((_, at)) = lowest else { break };
        let (right, _, end) = tokens.remove(at + 1);
        tokens[at].0 += &right;
        tokens[at].2 = end;
    }
    tokens.into_iter().map(|(token, start, end)| Some((u32::try_from(id(&token)?).ok()?, (start, end)))).collect()
}

/// A piece between added tokens, whose first character is at `start`.
fn piece_tokens(piece: &[char], start: u32, model: &Model, form: Form) -> Option<Found> {
    let mut letters: Vec<(char, u32)> =
        piece.iter().zip(start..).map(|(&letter, at)| (if letter == ' ' { '▁' } else { letter }, at)).collect();
    let Some(&(first, at)) = letters.first() else { return Some(Vec::new()) };
    let put = match form {
        Form::Prepend => true,
        Form::Metaspace("always", _) => first != '▁',
        Form::Metaspace("first", _) => first != '▁' && start == 0,
        _ => false,
    };
    if put {
        letters.insert(0, ('▁', at));
    }
    let split = matches!(form, Form::Metaspace(_, true));
    let mut tokens = Vec::new();
    for word in letters.chunk_by(|_, next| !(split && next.0 == '▁')) {
        tokens.extend(merged(word, model)?);
    }
    Some(tokens)
}

/// A text cut at added tokens: the leftmost first, the longest of those that begin there.
fn cut(text: &[char], normalized: bool, from: u32) -> Vec<(Option<u32>, &[char], u32)> {
    let (mut cuts, mut begin, mut at) = (Vec::new(), 0, 0);
    while at < text.len() {
        let rest: String = text[at..].iter().collect();
        let here = ADDED.iter().zip(1000..).filter(|((token, of), _)| *of == normalized && rest.starts_with(token));
        let Some(((token, _), id)) = here.max_by_key(|((token, _), _)| token.len()) else {
            at += 1;
            continue;
        };
        cuts.push((None, &text[begin..at], from + u32::try_from(begin).unwrap()));
        let end = at + token.chars().count();
        cuts.push((Some(id), &text[at..end], from + u32::try_from(at).unwrap()));
        (begin, at) = (end, end);
    }
    cuts.push((None, &text[begin..], from + u32::try_from(begin).unwrap()));
    cuts
}

fn slowly(text: &str, model: &Model, form: Form, with_added: bool) -> Option<Found> {
    let text: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let all = if with_added { cut(&text, false, 0) } else { vec![(None, &text[..], 0)] };
    for (id, part, start) in all {
        let whole = id.is_some() || !with_added || form == Form::Prepend;
        let pieces = if whole { vec![(id, part, start)] } else { cut(part, true, start) };
        for (id, piece, start) in pieces {
            match id {
                Some(id) => tokens.push((id, (start, start + u32::try_from(piece.len()).unwrap()))),
                None => tokens.extend(piece_tokens(piece, start, model, form)?),
            }
        }
    }
    Some(tokens)
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    let text = prop::collection::vec(prop::sample::select(&PARTS[..]), 0..40).prop_map(|parts| parts.concat());
    prop::collection::vec(text, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ids_and_offsets_are_those_of_the_slow_way(
        model in model(), form in form(), with_added in any::<bool>(), cache in prop_oneof![Just(0), Just(1_usize << 16)], texts in texts(),
    ) {
        let tokenizer = NativeTokenizer::new(&tokenizer_json(&model, form, with_added), cache).unwrap();
        // Twice: the second time words and pieces are known.
        for text in texts.iter().chain(&texts) {
            let found = tokenizer.encode(text).map(|tokens| {
                let ranges = tokens.offsets.ranges().to_vec();
                tokens.ids.into_iter().zip(ranges).collect::<Found>()
            });
            prop_assert_eq!(found, slowly(text, &model, form, with_added), "{:?}", text);
            let letters: Vec<char> = text.chars().collect();
            let plain = piece_tokens(&letters, 0, &model, form);
            let ids = plain.map(|tokens| tokens.into_iter().map(|(id, _)| id).collect::<Vec<_>>());
            prop_assert_eq!(tokenizer.encode_plain(text), ids);
        }
    }
}
