//! What of a `tokenizer.json` ids and offsets depend on, as a number: files with the same one make the same tokenizer.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value};

use super::admission::{Plan, steps, type_of};

/// Of a file that was admitted with this plan, which says all of its normalizer and post-processor that counts.
pub fn essence(json: &Value, plan: Plan) -> u64 {
    let mut hasher = DefaultHasher::new();
    plan.hash(&mut hasher);
    hash_model(&json["model"], &mut hasher);
    for step in steps(&json["pre_tokenizer"], "pretokenizers") {
        hash_pre_tokenizer(step, &mut hasher);
    }
    let added = json["added_tokens"].as_array().into_iter().flatten();
    let names = ["id", "content", "lstrip", "rstrip", "single_word", "normalized"];
    sum(added.map(|token| names.map(|name| token[name].to_string()))).hash(&mut hasher);
    hasher.finish()
}

fn hash_model(model: &Value, hasher: &mut DefaultHasher) {
    let none = Map::new();
    for (name, value) in model.as_object().unwrap_or(&none) {
        match name.as_str() {
            "vocab" => {
                let vocab = value.as_object().unwrap_or(&none);
                sum(vocab.iter().map(|(token, id)| (token, id.as_u64()))).hash(hasher);
            }
            "merges" => {
                let merges = value.as_array().into_iter().flatten();
                merges.for_each(|merge| pair(merge).hash(hasher));
            }
            // A file that does not name the type is one of a BPE, or was not admitted.
            "type" => {}
            // What is not there is the same.
            _ if value.is_null() || *value == false || *value == "" => {}
            _ => (name, value.to_string()).hash(hasher),
        }
    }
}

/// A merge, whose two tokens older files have in one text.
fn pair(merge: &Value) -> (Option<&str>, Option<&str>) {
    match merge.as_str().map(|text| text.split_once(' ')) {
        Some(both) => (both.map(|both| both.0), both.map(|both| both.1)),
        None => (merge[0].as_str(), merge[1].as_str()),
    }
}

fn hash_pre_tokenizer(step: &Value, hasher: &mut DefaultHasher) {
    if type_of(step) == "ByteLevel" {
        // It cuts no offsets: that is the post-processor's.
        ("ByteLevel", step["add_prefix_space"] != false, step["use_regex"] != false).hash(hasher);
    } else {
        step.to_string().hash(hasher);
    }
}

/// Of things in any order.
fn sum(items: impl Iterator<Item = impl Hash>) -> u64 {
    let one = |item| {
        let mut hasher = DefaultHasher::new();
        Hash::hash(&item, &mut hasher);
        hasher.finish()
    };
    items.map(one).fold(0, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::super::admission::admit;
    use super::*;
    use serde_json::json;

    fn file() -> Value {
        json!({
            "truncation": null, "padding": null, "normalizer": {"type": "NFC"}, "post_processor": null,
            "added_tokens": [{"id": 3, "content": "<s>", "normalized": false, "special": true}, {"id": 4, "content": "<e>"}],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]], "ignore_merges": false},
        })
    }

    fn with(pointer: &str, value: Value) -> u64 {
        let mut json = file();
        *json.pointer_mut(pointer).unwrap() = value;
        essence(&json, admit(&json).unwrap())
    }

    #[test]
    fn what_does_not_count_is_left_out() {
        let own = with("/padding", Value::Null);
        assert_eq!(with("/model/merges/0", json!("a b")), own);
        assert_eq!(with("/model/ignore_merges", Value::Null), own);
        assert_eq!(with("/added_tokens/0/special", json!(false)), own);
        assert_eq!(with("/pre_tokenizer/trim_offsets", json!(false)), own);
        let added = file()["added_tokens"].as_array().unwrap().iter().rev().cloned().collect();
        assert_eq!(with("/added_tokens", Value::Array(added)), own);
    }

    #[test]
    fn what_counts_is_another() {
        let others = [
            ("/model/merges/0/1", json!("a")),
            ("/model/merges", json!([])),
            ("/model/vocab/ab", json!(7)),
            ("/model/ignore_merges", json!(true)),
            ("/added_tokens/0/content", json!("<t>")),
            ("/added_tokens/1/id", json!(5)),
            ("/normalizer", Value::Null),
            ("/post_processor", json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true})),
            (
                "/pre_tokenizer",
                json!({"type": "Sequence", "pretokenizers": [{"type": "Digits"}, file()["pre_tokenizer"]]}),
            ),
        ];
        let mut all: Vec<u64> = others.map(|(pointer, value)| with(pointer, value)).into();
        all.push(with("/padding", Value::Null));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 10);
    }
}
