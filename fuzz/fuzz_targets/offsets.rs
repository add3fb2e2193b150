//! Ids and offsets of the native tokenizer against HF's crate: with and without NFC, with trimmed offsets, and from memory.

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
    [small, composed, trimmed]
        .iter()
        .map(|json| {
            let text = json.to_string();
            (text.parse().unwrap(), NativeTokenizer::new(&text, 1 << 16).unwrap())
        })
        .collect()
});

fuzz_target!(|data: &[u8]| {
    let mut text = String::new();
    for piece in data.split(|byte| *byte >= 0xF8) {
        text += &String::from_utf8_lossy(piece);
        text += HARD[piece.len() % HARD.len()];
    }
    for (hf, native) in PAIRS.iter() {
        let wanted = hf.encode_char_offsets(text.as_str(), false).unwrap();
        let found = native.encode(&text).expect("nothing of these configurations is left to HF");
        let ids: Vec<i64> = wanted.get_ids().iter().map(|id| i64::from(*id)).collect();
        assert_eq!(found.ids, ids, "{text:?}");
        let offsets: Vec<(usize, usize)> =
            found.offsets.tokens().iter().map(|token| (token.start(), token.end())).collect();
        assert_eq!(offsets, wanted.get_offsets(), "{text:?}");
    }
});
