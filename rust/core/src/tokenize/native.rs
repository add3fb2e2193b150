//! A tokenizer made of a `tokenizer.json`, in Rust.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fastokens::added_tokens::Segment;
use fastokens::{AddedTokenPolicy, EncodeSegment, Tokenizer};
use serde_json::Value;

use super::admission::{Letters, Plan, Refusal, admit};
use super::metaspace::with_metaspace;
use super::nfc::place_composed;
use super::place::{CharacterCursor, Ranges, place_bytes, place_characters};
use super::trim::Trims;
use super::widths::{Width, Widths, of_added_token, of_token};
use crate::offsets::Offsets;
use crate::parallel::wake;
use crate::text::count;

/// The ids of a text and what they stand for.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The ids.
    pub ids: Vec<i64>,
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
    tokenizer: Tokenizer,
    plan: Plan,
    widths: Widths,
    trims: Option<Trims>,
    /// What stands for text that has no token, if that can happen.
    unknown: Option<u32>,
}

impl NativeTokenizer {
    /// Of a `tokenizer.json`. Texts between added tokens are remembered in up to `cache_bytes`.
    ///
    /// # Errors
    /// [`Refusal`]: the configuration is not known to come out as HF's.
    pub fn new(json: &str, cache_bytes: usize) -> Result<Self, Refusal> {
        let mut json: Value = serde_json::from_str(json)
            .map_err(|error| Refusal(format!("it is not a valid tokenizer.json: {error}")))?;
        let plan = admit(&json)?;
        // It encodes long texts on the threads of the pool.
        wake();
        let byte_fallback = json["model"]["byte_fallback"] == true;
        let unknown = json["model"]["unk_token"].as_str().map(str::to_owned);
        let count = highest_id(&json) + 1;
        // What takes no part in the ids, and what is done here.
        for name in ["post_processor", "decoder"] {
            json[name] = Value::Null;
        }
        for name in ["continuing_subword_prefix", "end_of_word_suffix", "dropout"] {
            json["model"][name] = Value::Null;
        }
        if plan.metaspace.is_some() {
            json["pre_tokenizer"] = Value::Null;
        }
        let made = catch_unwind(AssertUnwindSafe(|| Tokenizer::from_json(json)));
        let mut tokenizer = match made {
            Ok(made) => made.map_err(|error| Refusal(format!("it cannot be made natively: {error}")))?,
            Err(_) => return Err(Refusal("it cannot be made natively".into())),
        };
        if cache_bytes > 0 {
            tokenizer.enable_segment_cache(cache_bytes);
        }
        let token = |id: usize| u32::try_from(id).ok().and_then(|id| tokenizer.id_to_token(id));
        let added = |id: usize| {
            let id = u32::try_from(id).ok()?;
            tokenizer.added_tokens().and_then(|added| added.id_to_token(id))
        };
        let widths = Widths::new(count, |id| match (added(id), token(id)) {
            (Some(content), _) => of_added_token(content, plan.letters),
            (None, Some(token)) => of_token(token, plan.letters, byte_fallback),
            (None, None) => Width::Unknown,
        });
        let trims = plan.trim.then(|| Trims::new(count, token));
        let all_bytes =
            byte_fallback && (0..=255).all(|b: u8| tokenizer.token_to_id(&format!("<0x{b:02X}>")).is_some());
        let unknown = unknown.filter(|_| !all_bytes).and_then(|name| tokenizer.token_to_id(&name));
        Ok(Self { tokenizer, plan, widths, trims, unknown })
    }

    /// The ids and offsets of a text, as HF's with `add_special_tokens=False`. None where they cannot be told for
    /// certain: such a text is HF's to encode.
    pub fn encode(&self, text: &str) -> Option<Tokens> {
        let (ids, ranges) = catch_unwind(AssertUnwindSafe(|| self.ids_and_ranges(text))).ok().flatten()?;
        let offsets = Offsets::of_ranges(ranges, count(text)).ok()?;
        Some(Tokens { ids: ids.into_iter().map(i64::from).collect(), offsets })
    }

    /// The ids of a text in which nothing is an added token. None where they cannot be told for certain.
    pub fn encode_plain(&self, text: &str) -> Option<Vec<i64>> {
        let encode = || {
            let metaspace = self.plan.metaspace.map(|prepend| with_metaspace(text, prepend, true).0);
            let text = metaspace.as_deref().unwrap_or(text);
            self.tokenizer.encode_unpadded::<Vec<u32>>(text, false, AddedTokenPolicy::None).ok()
        };
        let ids = catch_unwind(AssertUnwindSafe(encode)).ok().flatten()?;
        Some(ids.into_iter().map(i64::from).collect())
    }

    /// The token of an id, as it stands in the vocabulary.
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

    fn ids_and_ranges(&self, text: &str) -> Option<(Vec<u32>, Ranges)> {
        // Positions are counted in 32 bits.
        i32::try_from(text.len()).ok()?;
        if self.plan.metaspace.is_some() {
            return self.between_added_tokens(text);
        }
        let composed =
            self.plan.nfc && self.tokenizer.normalizer().is_some_and(|normalizer| !normalizer.is_identity_on(text));
        if composed && self.plan.normalized_tokens {
            return None;
        }
        let ids: Vec<u32> = self.tokenizer.encode_unpadded(text, false, AddedTokenPolicy::All).ok()?;
        let mut ranges = match self.plan.letters {
            Letters::Characters => place_characters(text, &ids, self.unknown, &self.widths),
            Letters::Bytes if composed => place_composed(text, &ids, self.tokenizer.added_tokens(), &self.widths),
            Letters::Bytes => place_bytes(text, &ids, &self.widths),
        }?;
        if let Some(trims) = &self.trims {
            trims.apply(&ids, &mut ranges);
        }
        Some((ids, ranges))
    }

    /// With `Metaspace`, which `fastokens` does not know: each piece between added tokens is made `▁` here.
    fn between_added_tokens(&self, text: &str) -> Option<(Vec<u32>, Ranges)> {
        let prepend = self.plan.metaspace?;
        let mut ids = Vec::with_capacity(text.len() / 3 + 8);
        let mut ranges = Vec::with_capacity(text.len() / 3 + 8);
        let mut start = 0_u32;
        let added = self.tokenizer.added_tokens();
        for segment in added.map_or_else(|| vec![Segment::Text(text)], |added| added.split(text)) {
            match segment {
                Segment::Token(id) => {
                    let Width::Characters(count) = self.widths.get(id) else { return None };
                    let end = start + u32::try_from(count).ok()?;
                    ids.push(id);
                    ranges.push((start, end));
                    start = end;
                }
                Segment::Text("") => {}
                Segment::Text(piece) => {
                    let (piece, put) = with_metaspace(piece, prepend, start == 0);
                    let found: Vec<u32> =
                        self.tokenizer.encode_segments_unpadded(&[EncodeSegment::ordinary(&piece)]).ok()?;
                    // The `▁` that was put in front shares the first character.
                    let shift = u32::from(put);
                    let mut cursor = CharacterCursor::at(0);
                    for &id in &found {
                        let width = if Some(id) == self.unknown { Width::Unknown } else { self.widths.get(id) };
                        let (first, last) = cursor.take(width)?;
                        ranges.push((start + first.saturating_sub(shift), start + last.saturating_sub(shift).max(1)));
                    }
                    if usize::try_from(cursor.char()) != Ok(piece.chars().count()) {
                        return None;
                    }
                    start += cursor.char() - shift;
                    ids.extend(found);
                }
            }
        }
        if let Some(trims) = &self.trims {
            trims.apply(&ids, &mut ranges);
        }
        Some((ids, ranges))
    }
}

fn highest_id(json: &Value) -> usize {
    let in_vocab = json["model"]["vocab"].as_object().into_iter().flatten().filter_map(|(_, id)| id.as_u64());
    let added = json["added_tokens"].as_array().into_iter().flatten().filter_map(|token| token["id"].as_u64());
    in_vocab.chain(added).max().and_then(|id| usize::try_from(id).ok()).unwrap_or(0)
}
