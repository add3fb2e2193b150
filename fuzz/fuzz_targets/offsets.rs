//! Ids and offsets of the native tokenizer against HF's crate: with and without NFC, with trimmed offsets, as SentencePiece
//! has them, and from memory.

#![no_main]

use std::sync::LazyLock;

use chatspan_core::tokenize::NativeTokenizer;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tokenizers::Tokenizer;

const SMALL: &str = include_str!("../../examples/tokenizer/tokenizer.json");
/// Characters that the vocabulary's bytes would rarely come together to.
const HARD: [&str; 8] = ["<|im_start|>", "<|im_end|>", "e\u{301}", "\u{1100}\u{1161}", "😀", "\u{a0}", "\r\n", "'s"];

static PAIRS: LazyLock<Vec<(Tokenizer, NativeTokenizer)>> = LazyLock::new(|| {
    let small: Value = serde_json::from_str(SMALL).unwrap();
    let mut composed = small.clone();
    composed["normalizer"] = json!({"type": "NFC"});
    let mut trimmed = small.clone();
    trimmed["post_processor"] =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let pieces = as_sentence_piece(&small);
    [small, composed, trimmed, pieces]
        .iter()
        .map(|json| {
            let text = json.to_string();
            (text.parse().unwrap(), NativeTokenizer::new(&text, 1 << 16).unwrap())
        })
        .collect()
});

/// The same tokens over characters: blanks as `▁`, one in front, and bytes for characters without a token.
fn as_sentence_piece(small: &Value) -> Value {
    let known = |token: &str| {
        !HARD[..2].contains(&token)
            && token != "<|endoftext|>"
            && token.chars().all(|letter| letter.is_ascii() || letter == 'Ġ')
    };
    let piece = |token: &str| token.replace('Ġ', "▁");
    let mut tokens: Vec<String> = (0..=0xFF).map(|byte: u8| format!("<0x{byte:02X}>")).collect();
    let vocab = small["model"]["vocab"].as_object().unwrap();
    tokens.extend(vocab.keys().filter(|token| known(token)).map(|token| piece(token)));
    let merges: Vec<Value> = small["model"]["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| [pair[0].as_str().unwrap(), pair[1].as_str().unwrap()])
        .filter(|pair| pair.iter().all(|token| known(token)))
        .map(|pair| json!([piece(pair[0]), piece(pair[1])]))
        .collect();
    let mut made = small.clone();
    for (index, added) in made["added_tokens"].as_array_mut().unwrap().iter_mut().enumerate() {
        added["id"] = json!(tokens.len() + index);
    }
    let vocab: serde_json::Map<String, Value> =
        tokens.into_iter().enumerate().map(|(id, token)| (token, json!(id))).collect();
    made["model"]["byte_fallback"] = json!(true);
    made["model"]["vocab"] = Value::Object(vocab);
    made["model"]["merges"] = Value::Array(merges);
    made["pre_tokenizer"] = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false});
    made["post_processor"] = Value::Null;
    made["decoder"] = Value::Null;
    made
}

fuzz_target!(|data: &[u8]| {
    let mut text = String::new();
    for piece in data.split(|byte| *byte >= 0xF8) {
        text += &String::from_utf8_lossy(piece);
        text += HARD[piece.len() % HARD.len()];
    }
    for (hf, native) in PAIRS.iter() {
        let wanted = hf.encode_char_offsets(text.as_str(), false).unwrap();
        let found = native.encode(&text).expect("nothing of these configurations is left to HF");
        assert_eq!(found.ids, wanted.get_ids(), "{text:?}");
        let offsets: Vec<(usize, usize)> =
            found.offsets.tokens().map(|token| (token.start(), token.end())).collect();
        assert_eq!(offsets, wanted.get_offsets(), "{text:?}");
    }
});
