//! A byte-level tokenizer: ids of the crate `fastokens`, laid out over the text.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use fastokens::json_structs::NormalizerConfig;
use fastokens::pre_tokenized::PreTokenizedString;
use fastokens::{AddedTokenPolicy, Normalizer, Tokenizer};
use serde_json::Value;

use super::admission::{Plan, Refusal, classes};
use super::cut::Alike;
use super::native::{CacheStats, Tokens};
use super::nfc::{encode_composed, keeps_all};
use super::trim::{Trims, blanks_of};
use super::widths::{Placed, Widths, of_added_token, of_token};
use crate::offsets::Offsets;
use crate::parallel::wake;
use crate::text::count;

/// Ids and ranges of texts whose tokens are made of bytes.
pub struct ByteTokenizer {
    /// Without its normalizer.
    tokenizer: Tokenizer,
    nfc: Option<Normalizer>,
    plan: Plan,
    widths: Widths,
    trims: Option<Trims>,
    /// What is known of a pattern that was not known before.
    alike: OnceLock<Alike>,
    classes: Vec<String>,
}

impl ByteTokenizer {
    /// Of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Refusal`]: `fastokens` cannot make it.
    pub fn new(mut json: Value, plan: Plan, cache_bytes: usize) -> Result<Self, Refusal> {
        // It encodes long texts on the threads of the pool.
        wake();
        let classes = classes(&json);
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
        let token = |id| tokenizer.id_to_token(id);
        let widths = Widths::new(count, |id| {
            let width = added(id).map_or_else(|| of_token(token(id)?), of_added_token)?;
            let (leading, trailing) = if plan.trim { blanks_of(token(id)?) } else { (0, 0) };
            width.without_blanks(leading, trailing)
        });
        let trims = plan.trim.then(|| Trims::new(count as usize, |id| token(u32::try_from(id).ok()?)));
        // Whether it changes a text is looked at here, once.
        let nfc = if plan.nfc { Normalizer::from_config(NormalizerConfig::Nfc).ok() } else { None };
        tokenizer.set_normalizer(None);
        Ok(Self { tokenizer, nfc, plan, widths, trims, alike: OnceLock::new(), classes })
    }

    /// The ids of a text and their offsets. None where these cannot be told for certain.
    pub fn encode(&self, text: &str) -> Option<Tokens> {
        // Positions are counted in 32 bits.
        i32::try_from(text.len()).ok()?;
        let changes = |nfc: &Normalizer| !keeps_all(text, |part| nfc.is_identity_on(part));
        if self.nfc.as_ref().is_some_and(changes) {
            return self.encode_composed(text);
        }
        let ids = self.ids(text, AddedTokenPolicy::All)?;
        let Placed { ranges, some_empty, bytes, chars } =
            if self.plan.trim { self.widths.place::<true>(&ids) } else { self.widths.place::<false>(&ids) }?;
        let offsets = if some_empty { Offsets::laid_with_empty(ranges, chars) } else { Offsets::laid(ranges, chars) };
        (bytes == text.len()).then_some(Tokens { ids, offsets })
    }

    /// Those of a text that the normalizer changes.
    fn encode_composed(&self, text: &str) -> Option<Tokens> {
        if self.plan.normalized_tokens {
            return None;
        }
        let plain = |piece: &str| self.ids(piece, AddedTokenPolicy::None);
        let (ids, mut ranges) = encode_composed(text, self.tokenizer.added_tokens(), &self.widths, plain)?;
        if let Some(trims) = &self.trims {
            trims.apply(&ids, &mut ranges);
        }
        Some(Tokens { ids, offsets: Offsets::of_ranges(ranges, count(text)).ok()? })
    }

    fn ids(&self, text: &str, added: AddedTokenPolicy) -> Option<Vec<u32>> {
        if !self.plan.knows_pattern && !self.alike.get()?.has_all(text) {
            return None;
        }
        self.tokenizer.encode_unpadded(text, false, added).ok()
    }

    /// The ids of a text in which nothing is an added token.
    pub fn encode_plain(&self, text: &str) -> Option<Vec<u32>> {
        match &self.nfc {
            Some(nfc) => self.ids(&nfc.normalize(text), AddedTokenPolicy::None),
            None => self.ids(text, AddedTokenPolicy::None),
        }
    }

    /// Whether it is not known yet which texts it cuts as HF does.
    pub fn is_unproven(&self) -> bool {
        !self.plan.knows_pattern && self.alike.get().is_none()
    }

    /// The classes of characters in its patterns, see [`classes`].
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The characters that it cuts as HF does: texts with others are HF's.
    pub fn set_alike(&self, alike: &str) {
        _ = self.alike.set(Alike::new(alike));
    }

    /// The words of a text: the byte behind each. None where they cannot be told.
    pub fn cut(&self, text: &str) -> Option<Vec<usize>> {
        let mut words = PreTokenizedString::from_text(text);
        self.tokenizer.pre_tokenizer()?.pre_tokenize(&mut words).ok()?;
        let mut at = 0;
        // Each byte has become a letter.
        let end = |word| {
            at += words.split_text(word).chars().count();
            at
        };
        let ends: Vec<usize> = words.splits().iter().map(end).collect();
        (ends.last().copied().unwrap_or(0) == text.len()).then_some(ends)
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

fn highest_id(json: &Value) -> u32 {
    let in_vocab = json["model"]["vocab"].as_object().into_iter().flatten().filter_map(|(_, id)| id.as_u64());
    let added = json["added_tokens"].as_array().into_iter().flatten().filter_map(|token| token["id"].as_u64());
    in_vocab.chain(added).max().and_then(|id| u32::try_from(id).ok()).unwrap_or(0)
}
