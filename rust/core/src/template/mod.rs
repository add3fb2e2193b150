//! A chat template, evaluated: messages in, a render out, with where each character came from.
//!
//! Jinja2's own parser stands in front, in Python: it makes the [`program`]. The modules stand in the order of the data:
//!
//! - [`program`]: the template's syntax tree, as it comes from the front
//! - [`input`]: what a template is given, each value with its place
//! - [`shared`]: characters that several hold
//! - [`string`]: strings that remember which characters are copies of which field; [`joiner`] puts them together
//! - [`value`]: what templates compute with, under names ([`scope`]); [`order`]: Python's rules of equality and order
//! - [`counted`]: what goes through a text, or takes it apart
//! - [`access`]: attributes, items, slices, `in`, iteration; [`names`] of attributes
//! - [`operators`]: `+`, `-`, `%`, comparisons
//! - [`write`]: values as text: `str`, `repr`, `tojson`; [`quoted`]: of single ones
//! - [`methods`], [`filters`], [`selection`], [`tests`]: what templates call
//! - [`output`]: what is written; [`owners`]: which message was being rendered
//! - [`machine`]: statements; [`expressions`], [`calls`]; [`limits`]: what a template may take
//! - [`rendered`]: what came of it, for the rest of the core
//!
//! What the machine does not know it does not guess: [`Halt::Lacking`] leaves the template to Jinja2.

mod access;
mod calls;
mod counted;
mod expressions;
mod filters;
pub mod input;
mod joiner;
mod limits;
mod machine;
mod methods;
mod names;
mod operators;
mod order;
mod output;
mod owners;
pub mod program;
mod quoted;
mod rendered;
mod scope;
mod selection;
mod shared;
pub mod string;
mod tests;
pub mod value;
mod write;

pub use input::{Input, Places};
pub use limits::Limits;
pub use machine::Host;
pub use output::Root as Written;
pub use program::Program;
pub use rendered::{Dump, Rendered, char_in, render};
pub use shared::Shared;
pub use write::Style;

/// Why a render stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The template raises: what it says.
    Raised(String),
    /// The machine lacks something: what.
    Lacking(String),
    /// A bound was reached: which, and what it is, as `steps=500000000`.
    Limit(String),
}

/// What most of the machine gives.
pub type Eval<T> = Result<T, Halt>;

/// The template raises.
pub(crate) fn raise<T>(message: impl Into<String>) -> Eval<T> {
    Err(Halt::Raised(message.into()))
}

/// The machine lacks something.
pub(crate) fn lacks<T>(what: impl Into<String>) -> Eval<T> {
    Err(Halt::Lacking(what.into()))
}
