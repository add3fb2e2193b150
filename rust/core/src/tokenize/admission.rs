//! Which configurations of a `tokenizer.json` may be tried: those known to come out as HF's. All else is refused.

use std::collections::BTreeSet;

use fastokens::tiktoken;
use serde_json::Value;
use thiserror::Error;

use super::cut::classes_of;
use super::pieces::Prepend;

/// Why a tokenizer is not made natively.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// How a text becomes the letters that tokens are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Letters {
    /// Each byte of the text is a letter of GPT-2's alphabet.
    Bytes,
    /// Each character is one, blanks as `▁`; as in SentencePiece.
    Characters,
}

/// What of a configuration the offsets depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// What tokens are made of.
    pub letters: Letters,
    /// Where a `▁` is put in front of a text.
    pub prepend: Prepend,
    /// Whether a token has blanks in front alone.
    pub split_at_blanks: bool,
    /// Whether the text is composed (NFC) first.
    pub nfc: bool,
    /// Whether blanks at the ends of a token are not among its characters.
    pub trim: bool,
    /// Whether some added tokens are looked for in the normalized text.
    pub normalized_tokens: bool,
    /// Whether the pattern that cuts words is one that `fastokens` reproduces; else the characters at which it is the same are
    /// found out when the tokenizer is loaded.
    pub knows_pattern: bool,
}

/// The patterns that texts are cut with before merging, each of which `fastokens` reproduces by hand.
const PATTERNS: [&str; 6] = [
    tiktoken::CL100K_BASE_PATTERN,
    tiktoken::QWEN2_PATTERN,
    tiktoken::QWEN35_PATTERN,
    tiktoken::O200K_BASE_PATTERN,
    tiktoken::TEKKEN_PATTERN,
    tiktoken::KIMI_PATTERN,
];
const DEEPSEEK: [&str; 3] =
    [tiktoken::DEEPSEEK_SPLIT1_PATTERN, tiktoken::DEEPSEEK_SPLIT2_PATTERN, tiktoken::DEEPSEEK_SPLIT3_PATTERN];

/// Reads the plan off a `tokenizer.json`.
///
/// # Errors
/// [`Refusal`] names the setting.
pub fn admit(json: &Value) -> Result<Plan, Refusal> {
    for name in ["truncation", "padding"] {
        if !json[name].is_null() {
            return refuse(format!("{name} is set inside the tokenizer (backend_tokenizer.no_{name}() removes it)"));
        }
    }
    admit_model(&json["model"])?;
    let normalizer = normalizer(&json["normalizer"])?;
    let pre_tokenizer = pre_tokenizer(&json["pre_tokenizer"])?;
    let knows_pattern = pre_tokenizer != PreTokenizer::ByteLevel { knows_pattern: false };
    let (letters, prepend, split_at_blanks) = match (pre_tokenizer, normalizer) {
        (PreTokenizer::ByteLevel { .. }, Normalizer::None | Normalizer::Nfc) => (Letters::Bytes, Prepend::Never, false),
        (PreTokenizer::None, Normalizer::Metaspace) => (Letters::Characters, Prepend::Never, false),
        (PreTokenizer::None, Normalizer::PrependedMetaspace) => (Letters::Characters, Prepend::Each, false),
        (PreTokenizer::Metaspace { prepend, split }, Normalizer::None) => (Letters::Characters, prepend, split),
        (pre_tokenizer, normalizer) => {
            return refuse(format!("the pre-tokenizer ({pre_tokenizer:?}) beside the normalizer ({normalizer:?})"));
        }
    };
    if letters == Letters::Characters && json["model"]["ignore_merges"] == true {
        return refuse("ignore_merges beside blanks as ▁");
    }
    let normalized_tokens = added_tokens(&json["added_tokens"], normalizer)?;
    if letters == Letters::Bytes && normalizer == Normalizer::None {
        tokens_of_one_search(&json["added_tokens"])?;
    }
    let trim = post_processor(&json["post_processor"])?;
    let nfc = normalizer == Normalizer::Nfc;
    Ok(Plan { letters, prepend, split_at_blanks, nfc, trim, normalized_tokens, knows_pattern })
}

fn refuse<T>(reason: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(reason.into()))
}

pub(super) fn type_of(step: &Value) -> &str {
    step["type"].as_str().unwrap_or("unnamed")
}

/// The steps of a sequence, or the one step that it is.
pub(super) fn steps<'j>(step: &'j Value, key: &str) -> Vec<&'j Value> {
    match step {
        Value::Null => Vec::new(),
        _ if type_of(step) == "Sequence" => {
            step[key].as_array().into_iter().flatten().flat_map(|inner| steps(inner, key)).collect()
        }
        _ => vec![step],
    }
}

fn admit_model(model: &Value) -> Result<(), Refusal> {
    // Older files do not name the type of a BPE.
    if !(type_of(model) == "BPE" || model["type"].is_null() && model["merges"].is_array()) {
        return refuse(format!("the model {}: only BPE is native", type_of(model)));
    }
    if model["dropout"].as_f64().is_some_and(|dropout| dropout > 0.0) {
        return refuse("dropout: ids are drawn by chance");
    }
    for name in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if model[name].as_str().is_some_and(|affix| !affix.is_empty()) {
            return refuse(format!("{name} {}", model[name]));
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Normalizer {
    None,
    Nfc,
    /// Blanks become `▁`.
    Metaspace,
    /// The same, and one is put in front, as in Llama-2.
    PrependedMetaspace,
}

fn normalizer(json: &Value) -> Result<Normalizer, Refusal> {
    let replaces =
        |step: &Value| type_of(step) == "Replace" && step["pattern"]["String"] == " " && step["content"] == "▁";
    match steps(json, "normalizers")[..] {
        [] => Ok(Normalizer::None),
        [step] if type_of(step) == "NFC" => Ok(Normalizer::Nfc),
        [step] if replaces(step) => Ok(Normalizer::Metaspace),
        [first, second] if type_of(first) == "Prepend" && first["prepend"] == "▁" && replaces(second) => {
            Ok(Normalizer::PrependedMetaspace)
        }
        [step] => refuse(format!("the normalizer {}", type_of(step))),
        [first, ..] => refuse(format!("a sequence of normalizers that begins with {}", type_of(first))),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PreTokenizer {
    None,
    ByteLevel { knows_pattern: bool },
    Metaspace { prepend: Prepend, split: bool },
}

fn pre_tokenizer(json: &Value) -> Result<PreTokenizer, Refusal> {
    let steps = steps(json, "pretokenizers");
    let Some((last, cuts)) = steps.split_last() else { return Ok(PreTokenizer::None) };
    match (type_of(last), cuts) {
        ("ByteLevel", _) => {
            if last["add_prefix_space"] != false {
                return refuse("the pre-tokenizer ByteLevel with add_prefix_space");
            }
            // GPT-2's own pattern is the default.
            let with_regex = last["use_regex"] != false;
            byte_level(cuts, with_regex).map(|knows_pattern| PreTokenizer::ByteLevel { knows_pattern })
        }
        ("Metaspace", []) => {
            // Older files do not name it.
            let split = last["split"] != false;
            let prepend = match (last["replacement"].as_str(), last["prepend_scheme"].as_str()) {
                (Some("▁"), Some("always")) => Prepend::Always,
                (Some("▁"), Some("first")) => Prepend::First,
                (Some("▁"), Some("never")) => Prepend::Never,
                (replacement, scheme) => {
                    return refuse(format!("the pre-tokenizer Metaspace with {replacement:?}, {scheme:?}"));
                }
            };
            Ok(PreTokenizer::Metaspace { prepend, split })
        }
        // Gemma cuts at blanks that its normalizer has already made `▁`: nothing.
        ("Split", [])
            if last["pattern"]["String"] == " "
                && last["behavior"] == "MergedWithPrevious"
                && last["invert"] == false =>
        {
            Ok(PreTokenizer::None)
        }
        (name, _) => refuse(format!("the pre-tokenizer {name}")),
    }
}

/// Whether what cuts in front of `ByteLevel` is known.
fn byte_level(cuts: &[&Value], with_regex: bool) -> Result<bool, Refusal> {
    // StarCoder, SmolLM, Command-R and others cut digits first, which are what `char::is_numeric` says in both.
    let patterns: Vec<&Value> = cuts.iter().copied().filter(|cut| type_of(cut) != "Digits").collect();
    let patterns: Vec<&str> = patterns.into_iter().map(pattern).collect::<Result<_, _>>()?;
    let digits = cuts.len() - patterns.len();
    match patterns[..] {
        [] if with_regex && digits <= 1 => Ok(true),
        [] if digits > 0 => refuse("Digits in front of no pattern"),
        [] => refuse("a text that the pre-tokenizer does not cut"),
        _ if with_regex => refuse("a pattern in front of that of ByteLevel"),
        [single] if digits == 0 && PATTERNS.contains(&single) => Ok(true),
        _ if digits == 0 && patterns == DEEPSEEK => Ok(true),
        _ => match patterns.iter().find(|pattern| classes_of(pattern).is_none()) {
            None => Ok(false),
            Some(pattern) => refuse(format!("the pattern {pattern:?}, which two engines may read differently")),
        },
    }
}

/// The classes of characters in the patterns that cut, if these are plain.
pub fn classes(json: &Value) -> Vec<String> {
    let cuts = steps(&json["pre_tokenizer"], "pretokenizers");
    let all: BTreeSet<String> = cuts.into_iter().filter_map(|cut| classes_of(pattern(cut).ok()?)).flatten().collect();
    all.into_iter().collect()
}

fn pattern(cut: &Value) -> Result<&str, Refusal> {
    match (type_of(cut), cut["pattern"]["Regex"].as_str()) {
        ("Split", Some(regex)) if cut["behavior"] == "Isolated" && cut["invert"] == false => Ok(regex),
        (name, _) => refuse(format!("the pre-tokenizer {name} in front of ByteLevel")),
    }
}

/// Whether there are tokens that are looked for in the normalized text.
fn added_tokens(json: &Value, normalizer: Normalizer) -> Result<bool, Refusal> {
    let mut some = false;
    for token in json.as_array().into_iter().flatten() {
        let content = token["content"].as_str().unwrap_or_default();
        for name in ["lstrip", "rstrip", "single_word"] {
            if token[name] == true {
                return refuse(format!("the added token {content:?} with {name}"));
            }
        }
        if content.is_empty() {
            return refuse("an added token without text");
        }
        if token["normalized"] == true {
            let changed = match normalizer {
                Normalizer::None => continue,
                Normalizer::Nfc => super::nfc::changes(content),
                Normalizer::Metaspace => content.contains([' ', '▁']),
                Normalizer::PrependedMetaspace => true,
            };
            if changed {
                return refuse(format!("the added token {content:?}, which the normalizer changes"));
            }
            some = true;
        }
    }
    Ok(some)
}

/// HF looks for the tokens that are not `normalized` first, and for the others in what is left; `fastokens` looks for all
/// of them at once where there is no normalizer. That is the same unless one of the others begins before or at one of the
/// first and goes on into it.
fn tokens_of_one_search(json: &Value) -> Result<(), Refusal> {
    let all = json.as_array().into_iter().flatten();
    let (later, first): (Vec<_>, Vec<_>) = all.partition(|token| token["normalized"] == true);
    for later in later.iter().filter_map(|token| token["content"].as_str()) {
        for first in first.iter().filter_map(|token| token["content"].as_str()) {
            // Where both begin at once and the first is longer, either search takes it.
            let goes_into =
                |(at, _): (usize, char)| later[at..].starts_with(first) || at > 0 && first.starts_with(&later[at..]);
            if later.char_indices().any(goes_into) {
                return refuse(format!("the added token {later:?}, which goes into {first:?}"));
            }
        }
    }
    Ok(())
}

/// Whether the offsets leave out the blanks at the ends of tokens.
fn post_processor(json: &Value) -> Result<bool, Refusal> {
    let mut trim = false;
    for step in steps(json, "processors") {
        match type_of(step) {
            "TemplateProcessing" | "BertProcessing" => {}
            "ByteLevel" | "RobertaProcessing" if step["trim_offsets"] == false => {}
            "ByteLevel" | "RobertaProcessing" if step["add_prefix_space"] == false && !trim => trim = true,
            name @ ("ByteLevel" | "RobertaProcessing") => {
                return refuse(format!("the post-processor {name} with trim_offsets and add_prefix_space"));
            }
            name => return refuse(format!("the post-processor {name}")),
        }
    }
    Ok(trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn qwen() -> Value {
        let split = json!({"type": "Split", "pattern": {"Regex": tiktoken::QWEN2_PATTERN}, "behavior": "Isolated", "invert": false});
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        json!({
            "truncation": null, "padding": null, "added_tokens": [], "post_processor": null,
            "normalizer": {"type": "NFC"},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, bytes]},
            "model": {"type": "BPE", "dropout": null, "vocab": {}, "merges": []},
        })
    }

    fn reason(path: &str, value: Value) -> String {
        let mut json = qwen();
        *json.pointer_mut(path).unwrap() = value;
        admit(&json).unwrap_err().to_string()
    }

    #[test]
    fn what_is_known_is_admitted() {
        let plan = admit(&qwen()).unwrap();
        assert_eq!((plan.letters, plan.nfc, plan.trim), (Letters::Bytes, true, false));
        let mut gemma = qwen();
        gemma["normalizer"] = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        gemma["pre_tokenizer"] =
            json!({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false});
        assert_eq!(admit(&gemma).unwrap().letters, Letters::Characters);
        let replace = gemma["normalizer"].take();
        gemma["normalizer"] =
            json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]});
        gemma["pre_tokenizer"] = Value::Null;
        assert_eq!(admit(&gemma).unwrap().prepend, Prepend::Each);
        gemma["normalizer"] = Value::Null;
        gemma["pre_tokenizer"] =
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true});
        let plan = admit(&gemma).unwrap();
        assert_eq!((plan.prepend, plan.split_at_blanks), (Prepend::First, true));
    }

    #[test]
    fn digits_stand_in_front_of_the_default_pattern_alone() {
        let with = |use_regex: bool| {
            let digits = json!({"type": "Digits", "individual_digits": true});
            let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": use_regex});
            let mut json = qwen();
            json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [digits, bytes]});
            admit(&json)
        };
        assert_eq!(with(true).unwrap().letters, Letters::Bytes);
        assert_eq!(with(false).unwrap_err().to_string(), "Digits in front of no pattern");
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        assert_eq!(reason("/model/dropout", json!(0.1)), "dropout: ids are drawn by chance");
        assert_eq!(reason("/model/type", json!("WordPiece")), "the model WordPiece: only BPE is native");
        assert_eq!(reason("/normalizer", json!({"type": "NFKC"})), "the normalizer NFKC");
        assert!(reason("/truncation", json!({"max_length": 3})).starts_with("truncation is set inside"));
        assert_eq!(
            reason("/pre_tokenizer/pretokenizers/0/pattern/Regex", json!("a.")),
            "the pattern \"a.\", which two engines may read differently"
        );
        let token = |name: &str| json!([{"content": "e\u{301}", "normalized": false, name: true}]);
        assert_eq!(reason("/added_tokens", token("lstrip")), "the added token \"e\\u{301}\" with lstrip");
        assert_eq!(
            reason("/added_tokens", token("normalized")),
            "the added token \"e\\u{301}\", which the normalizer changes"
        );
        let added = |first: &str, later: &str| {
            let mut json = qwen();
            json["normalizer"] = Value::Null;
            json["added_tokens"] =
                json!([{"content": first, "normalized": false}, {"content": later, "normalized": true}]);
            admit(&json).map_err(|refusal| refusal.to_string()).err()
        };
        for later in ["abc", "xbcdx", "bcde", "bcb", "ab"] {
            let reason = format!("the added token {later:?}, which goes into \"bcd\"");
            assert_eq!(added("bcd", later), Some(reason));
        }
        assert!(["da", "bc", "c", "b"].iter().all(|later| added("bcd", later).is_none()));
        assert!(added("bbc", "bb").is_some());
        let trims = json!({"type": "ByteLevel", "trim_offsets": true, "add_prefix_space": true});
        assert_eq!(
            reason("/post_processor", trims),
            "the post-processor ByteLevel with trim_offsets and add_prefix_space"
        );
    }
}
