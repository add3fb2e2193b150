//! A byte-level tokenizer: ids of the crate `fastokens`, laid out over the text.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fastokens::{AddedTokenPolicy, Normalizer, Tokenizer};
use serde_json::Value;

use super::admission::{Plan, Refusal};
use super::native::{CacheStats, Tokens};
use super::nfc::{keeps_all, place_composed};
use super::place::{Ranges, place_ascii, place_bytes};
use super::trim::Trims;
use super::widths::{Width, Widths, of_added_token, of_token};
use crate::offsets::Offsets;
use crate::parallel::wake;
use crate::text::count;

/// Ids and ranges of texts whose tokens are made of bytes.
pub struct ByteTokenizer {
    tokenizer: Tokenizer,
    plan: Plan,
    widths: Widths,
    trims: Option<Trims>,
}

impl ByteTokenizer {
    /// Of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Refusal`]: `fastokens` cannot make it.
    pub fn new(mut json: Value, plan: Plan, cache_bytes: usize) -> Result<Self, Refusal> {
        // It encodes long texts on the threads of the pool.
        wake();
        let count = highest_id(&json).saturating_add(1);
        // What takes no part in the ids, and what is done here.
        for name in ["post_processor", "decoder"] {
            json[name] = Value::Null;
        }
        for name in ["continuing_subword_prefix", "end_of_word_suffix", "dropout"] {
            json["model"][name] = Value::Null;
        }
        let made = catch_unwind(AssertUnwindSafe(|| Tokenizer::from_json(json)));
        let mut tokenizer = match made {
            Ok(made) => made.map_err(|error| Refusal(format!("it cannot be made natively: {error}")))?,
            Err(_) => return Err(Refusal("it cannot be made natively".into())),
        };
        if cache_bytes > 0 {
            tokenizer.enable_segment_cache(cache_bytes);
        }
        let added = |id| tokenizer.added_tokens().and_then(|added| added.id_to_token(id));
        let widths = Widths::new(count, |id| match (added(id), tokenizer.id_to_token(id)) {
            (Some(content), _) => of_added_token(content),
            (None, Some(token)) => of_token(token),
            (None, None) => Width::Unknown,
        });
        let trims = plan.trim.then(|| Trims::new(count as usize, |id| tokenizer.id_to_token(u32::try_from(id).ok()?)));
        Ok(Self { tokenizer, plan, widths, trims })
    }

    /// The ids of a text and their offsets. None where these cannot be told for certain.
    pub fn encode(&self, text: &str) -> Option<Tokens> {
        // Positions are counted in 32 bits.
        i32::try_from(text.len()).ok()?;
        let is_ascii = text.is_ascii();
        let changes = |normalizer: &Normalizer| !keeps_all(text, |part| normalizer.is_identity_on(part));
        let composed = self.plan.nfc && !is_ascii && self.tokenizer.normalizer().is_some_and(changes);
        if composed && self.plan.normalized_tokens {
            return None;
        }
        let ids: Vec<u32> = self.tokenizer.encode_unpadded(text, false, AddedTokenPolicy::All).ok()?;
        if let Some(trims) = &self.trims {
            let mut ranges = self.place(text, &ids, composed)?.0;
            trims.apply(&ids, &mut ranges);
            let offsets = Offsets::of_ranges(ranges, count(text)).ok()?;
            return Some(Tokens { ids: widened(&ids), offsets });
        }
        if is_ascii && let Some(ranges) = place_ascii(text.len(), &ids, &self.widths) {
            return Some(Tokens { ids: widened(&ids), offsets: Offsets::laid(ranges, text.len()) });
        }
        let (ranges, count) = self.place(text, &ids, composed)?;
        let offsets = if composed { Offsets::of_ranges(ranges, count).ok()? } else { Offsets::laid(ranges, count) };
        Some(Tokens { ids: widened(&ids), offsets })
    }

    /// The ranges of ids, and how many characters the text has.
    fn place(&self, text: &str, ids: &[u32], composed: bool) -> Option<(Ranges, usize)> {
        if composed {
            let ranges = place_composed(text, ids, self.tokenizer.added_tokens(), &self.widths)?;
            Some((ranges, count(text)))
        } else {
            place_bytes(text, ids, &self.widths)
        }
    }

    /// The ids of a text in which nothing is an added token.
    pub fn encode_plain(&self, text: &str) -> Option<Vec<i64>> {
        let ids: Vec<u32> = self.tokenizer.encode_unpadded(text, false, AddedTokenPolicy::None).ok()?;
        Some(ids.into_iter().map(i64::from).collect())
    }

    /// The token of an id.
    pub fn token(&self, id: u32) -> Option<&str> {
        self.tokenizer.id_to_token(id)
    }

    /// Of the texts between added tokens.
    pub fn cache_stats(&self) -> CacheStats {
        self.tokenizer.segment_cache_stats().map_or_else(CacheStats::default, |stats| CacheStats {
            hits: stats.hits,
            misses: stats.misses,
            bytes: stats.bytes,
            entries: stats.entries,
        })
    }
}

fn widened(ids: &[u32]) -> Vec<i64> {
    ids.iter().map(|&id| i64::from(id)).collect()
}

fn highest_id(json: &Value) -> u32 {
    let in_vocab = json["model"]["vocab"].as_object().into_iter().flatten().filter_map(|(_, id)| id.as_u64());
    let added = json["added_tokens"].as_array().into_iter().flatten().filter_map(|token| token["id"].as_u64());
    in_vocab.chain(added).max().and_then(|id| u32::try_from(id).ok()).unwrap_or(0)
}
