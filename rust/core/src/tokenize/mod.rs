//! Text → ids and offsets in Rust, with the ids of the crate `fastokens` and HF's offsets.
//!
//! In the order in which things happen: [`admission`] says which configurations may be tried at all; [`widths`] is how
//! much text each id stands for; [`place`] lays ids out over the text; [`nfc`] does so where the normalizer composed
//! characters; [`metaspace`] makes blanks `▁`; [`native`] is all of it together.

mod admission;
mod metaspace;
mod native;
mod nfc;
mod place;
mod trim;
mod widths;

pub use admission::Refusal;
pub use native::{CacheStats, NativeTokenizer, Tokens};
