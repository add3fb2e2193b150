//! Characters that several hold: made here, or those of whoever gave the input, which keeps them.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Characters, shared.
#[derive(Clone)]
pub enum Shared {
    /// Made here.
    Own(Arc<str>),
    /// Borrowed of what holds them and does not change them.
    Held(Arc<dyn AsRef<str> + Send + Sync>),
}

impl Deref for Shared {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Own(text) => text,
            Self::Held(holder) => (**holder).as_ref(),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl PartialEq for Shared {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl From<Arc<str>> for Shared {
    fn from(text: Arc<str>) -> Self {
        Self::Own(text)
    }
}

impl From<&str> for Shared {
    fn from(text: &str) -> Self {
        Self::Own(text.into())
    }
}

impl From<String> for Shared {
    fn from(text: String) -> Self {
        Self::Own(text.into())
    }
}
