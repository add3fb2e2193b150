//! A tokenizer made of a `tokenizer.json`, in Rust.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;

use super::admission::{Letters, Refusal, admit};
use super::bytes::ByteTokenizer;
use super::essence::essence;
use super::pieces::CharacterTokenizer;
use crate::offsets::Offsets;

/// The ids of a text and what they stand for.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The ids.
    pub ids: Vec<u32>,
    /// The characters of each, as HF's `offset_mapping`.
    pub offsets: Offsets,
}

/// How often texts between added tokens were found among those remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Texts that were found.
    pub hits: u64,
    /// Texts that were not.
    pub misses: u64,
    /// What is remembered, in bytes.
    pub bytes: usize,
    /// How many texts are remembered.
    pub entries: usize,
}

/// A tokenizer with the ids and offsets of HF's, as far as [`admit`] lets it be made.
pub struct NativeTokenizer {
    kind: Kind,
    essence: u64,
}

enum Kind {
    Bytes(Box<ByteTokenizer>),
    Characters(Box<CharacterTokenizer>),
}

impl NativeTokenizer {
    /// Of a `tokenizer.json`. Texts between added tokens are remembered in up to `cache_bytes`.
    ///
    /// # Errors
    /// [`Refusal`]: the configuration is not known to come out as HF's.
    pub fn new(json: &str, cache_bytes: usize) -> Result<Self, Refusal> {
        let json = parse(json)?;
        let plan = admit(&json)?;
        let essence = essence(&json, plan);
        let kind = match plan.letters {
            Letters::Bytes => Kind::Bytes(Box::new(ByteTokenizer::new(json, plan, cache_bytes)?)),
            Letters::Characters => Kind::Characters(Box::new(CharacterTokenizer::new(&json, plan, cache_bytes)?)),
        };
        Ok(Self { kind, essence })
    }

    /// Whether this `tokenizer.json` would make the same one.
    pub fn is_of(&self, json: &str) -> bool {
        let plan = parse(json).and_then(|json| Ok((admit(&json)?, json)));
        plan.is_ok_and(|(plan, json)| essence(&json, plan) == self.essence)
    }

    /// Whether its pattern is one that nobody has compared, so that it encodes nothing yet.
    pub fn is_unproven(&self) -> bool {
        matches!(&self.kind, Kind::Bytes(tokenizer) if tokenizer.is_unproven())
    }

    /// The classes of characters in the patterns that cut, each a pattern that matches one character.
    pub fn classes(&self) -> &[String] {
        if let Kind::Bytes(tokenizer) = &self.kind { tokenizer.classes() } else { &[] }
    }

    /// Says which characters it cuts as HF does: it encodes texts of these, once.
    pub fn set_alike(&self, alike: &str) {
        if let Kind::Bytes(tokenizer) = &self.kind {
            tokenizer.set_alike(alike);
        }
    }

    /// The words that a text is cut into before merging: the byte behind each. None where it is not cut.
    pub fn cut(&self, text: &str) -> Option<Vec<usize>> {
        let Kind::Bytes(tokenizer) = &self.kind else { return None };
        catch_unwind(AssertUnwindSafe(|| tokenizer.cut(text))).ok().flatten()
    }

    /// The ids and offsets of a text, as HF's with `add_special_tokens=False`. None where they cannot be told for
    /// certain: such a text is HF's to encode.
    pub fn encode(&self, text: &str) -> Option<Tokens> {
        let encode = || match &self.kind {
            Kind::Bytes(tokenizer) => tokenizer.encode(text),
            Kind::Characters(tokenizer) => tokenizer.encode(text),
        };
        catch_unwind(AssertUnwindSafe(encode)).ok().flatten()
    }

    /// The ids of a text in which nothing is an added token. None where they cannot be told for certain.
    pub fn encode_plain(&self, text: &str) -> Option<Vec<u32>> {
        let encode = || match &self.kind {
            Kind::Bytes(tokenizer) => tokenizer.encode_plain(text),
            Kind::Characters(tokenizer) => tokenizer.encode_plain(text),
        };
        catch_unwind(AssertUnwindSafe(encode)).ok().flatten()
    }

    /// The token of an id, as it stands in the vocabulary.
    pub fn token(&self, id: u32) -> Option<&str> {
        match &self.kind {
            Kind::Bytes(tokenizer) => tokenizer.token(id),
            Kind::Characters(tokenizer) => tokenizer.token(id),
        }
    }

    /// Of the texts between added tokens.
    pub fn cache_stats(&self) -> CacheStats {
        match &self.kind {
            Kind::Bytes(tokenizer) => tokenizer.cache_stats(),
            Kind::Characters(tokenizer) => tokenizer.cache_stats(),
        }
    }
}

fn parse(json: &str) -> Result<Value, Refusal> {
    serde_json::from_str(json).map_err(|error| Refusal(format!("it is not a valid tokenizer.json: {error}")))
}
