//! Whose is each token of a rendered chat? The part of chatspan that knows no Python.
//!
//! The modules stand in the order in which the data flows:
//!
//! - [`span`]: half-open ranges with a unit; a wrong one cannot be built
//! - [`error`]: one error type, each kind with its place
//! - [`text`]: blanks as Python sees them; bytes ↔ characters
//! - [`locate`]: contents → character spans of a given render, for those who have no template
//! - [`template`]: messages → a render and where it came from, evaluated here instead of in Jinja2
//! - `tokenize` (feature `native`): text → ids and offsets
//! - [`offsets`]: the token → character table, checked once when it is made
//! - [`project`]: character spans → token spans and masks
//! - [`render`]: a render and where it came from → [`attribute::segments`]: for every character its message and kind
//! - [`attribute`]: segments → whose each token is
//! - [`pairs`]: the same token of the same message on a student's and a teacher's side, and one row of columns for both
//! - [`pad`]: rows of a batch as padded arrays
//! - [`labels`]: which tokens of a row are trained, and the arrays of a batch in one go
//!
//! [`parallel`] has rows of a batch go through side by side; [`forks`] keeps a process from forking meanwhile.

pub mod attribute;
pub mod error;
pub mod forks;
pub mod labels;
pub mod locate;
pub mod offsets;
pub mod pad;
pub mod pairs;
pub mod parallel;
pub mod project;
pub mod render;
pub mod span;
pub mod template;
pub mod text;
#[cfg(feature = "native")]
pub mod tokenize;
