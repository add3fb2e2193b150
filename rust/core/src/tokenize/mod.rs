//! Text → ids and offsets in Rust, with HF's offsets.
//!
//! In the order in which things happen: [`admission`] says which configurations may be tried at all; [`native`] makes one
//! of two kinds; [`essence`] tells whether a configuration makes the same one.
//!
//! - [`bytes`]: ids of the crate `fastokens`. [`widths`] is how much text each id stands for, by which ids are laid out over
//!   the text; [`nfc`] does so where the normalizer composed characters. [`cut`] is about patterns that nobody has compared.
//! - [`pieces`]: over characters, between added tokens ([`added`]). [`characters`] has the tokens of a piece, [`remembered`]
//!   those of pieces that were seen before.
//!
//! [`trim`] takes blanks off the offsets; [`names`] has the tokens' texts.

mod added;
mod admission;
mod bytes;
mod characters;
mod cut;
mod essence;
mod names;
mod native;
mod nfc;
mod pieces;
mod remembered;
mod trim;
mod widths;

pub use admission::Refusal;
pub use native::{CacheStats, NativeTokenizer, Tokens};
