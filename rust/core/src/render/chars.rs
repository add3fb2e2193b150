//! A text by its characters.

use crate::text::CharIndex;

/// A text whose characters are found without counting from its beginning.
pub struct CharText<'t> {
    text: &'t str,
    index: CharIndex<'t>,
}

impl<'t> CharText<'t> {
    /// Goes over the text once.
    pub fn new(text: &'t str) -> Self {
        Self { text, index: CharIndex::new(text) }
    }

    /// How many characters.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// The characters `[start, end)`, as far as there are so many.
    pub fn slice(&self, start: usize, end: usize) -> &'t str {
        let first = self.index.byte(start);
        &self.text[first..self.index.byte(end).max(first)]
    }
}

/// How many characters a text has.
pub fn count(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_found_on_both_sides_of_marks() {
        let text = "aé😀".repeat(100);
        let chars = CharText::new(&text);
        assert_eq!((chars.len(), count(&text)), (300, 300));
        for start in [0, 1, 62, 63, 64, 65, 127, 128, 298, 299, 300, 999] {
            let wanted: String = text.chars().skip(start).take(5).collect();
            assert_eq!(chars.slice(start, start + 5), wanted, "from {start}");
        }
        assert_eq!(CharText::new("abc").slice(1, 9), "bc");
        assert_eq!(CharText::new("é").slice(2, 1), "");
    }
}
