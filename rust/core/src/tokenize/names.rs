//! The tokens of ids, as they stand in the vocabulary.

use serde_json::Value;

/// All of them in one text.
pub struct Names {
    text: String,
    /// Of each id the bytes of its token; none of an id without one.
    spans: Vec<(usize, usize)>,
}

impl Names {
    /// Of the vocabulary and the added tokens of a `tokenizer.json`.
    pub fn new(json: &Value) -> Self {
        let in_vocab = json["model"]["vocab"].as_object().into_iter().flatten().map(|(name, id)| (name.as_str(), id));
        let added = json["added_tokens"].as_array().into_iter().flatten();
        let added = added.filter_map(|token| Some((token["content"].as_str()?, &token["id"])));
        let mut made = Self { text: String::new(), spans: Vec::new() };
        for (name, id) in in_vocab.chain(added) {
            let Some(id) = id.as_u64().and_then(|id| u32::try_from(id).ok()) else { continue };
            let id = id as usize;
            if made.spans.len() <= id {
                made.spans.resize(id + 1, (0, 0));
            }
            let start = made.text.len();
            made.text.push_str(name);
            made.spans[id] = (start, made.text.len());
        }
        made
    }

    /// The token of an id.
    pub fn get(&self, id: usize) -> Option<&str> {
        let &(start, end) = self.spans.get(id)?;
        self.text.get(start..end).filter(|name| !name.is_empty())
    }

    /// More than any id.
    pub const fn count(&self) -> usize {
        self.spans.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn added_tokens_are_among_them() {
        let json = json!({"model": {"vocab": {"a": 0, "bc": 2}}, "added_tokens": [{"id": 4, "content": "<s>"}]});
        let names = Names::new(&json);
        let all: Vec<Option<&str>> = (0..6).map(|id| names.get(id)).collect();
        assert_eq!(all, [Some("a"), None, Some("bc"), None, Some("<s>"), None]);
    }
}
