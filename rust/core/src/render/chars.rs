//! A text by its characters.

/// How many characters lie between two marks.
const STRIDE: usize = 64;

/// A text whose characters are found without counting from its beginning.
#[derive(Clone, Debug)]
pub struct CharText<'t> {
    text: &'t str,
    length: usize,
    /// The byte of every [`STRIDE`]th character; none for ASCII, where bytes are characters.
    marks: Vec<usize>,
}

impl<'t> CharText<'t> {
    /// Goes over the text once.
    pub fn new(text: &'t str) -> Self {
        if text.is_ascii() {
            return Self { text, length: text.len(), marks: Vec::new() };
        }
        let mut marks = Vec::with_capacity(text.len() / STRIDE + 1);
        let mut length = 0;
        for (byte, _) in text.char_indices() {
            if length % STRIDE == 0 {
                marks.push(byte);
            }
            length += 1;
        }
        Self { text, length, marks }
    }

    /// How many characters.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// The characters `[start, end)`, as far as there are so many.
    pub fn slice(&self, start: usize, end: usize) -> &'t str {
        let first = self.byte(start);
        &self.text[first..self.byte(end).max(first)]
    }

    fn byte(&self, char: usize) -> usize {
        if char >= self.length {
            return self.text.len();
        }
        if self.marks.is_empty() {
            return char;
        }
        let mark = self.marks[char / STRIDE];
        let ahead = self.text[mark..].char_indices().nth(char % STRIDE);
        ahead.map_or(self.text.len(), |(byte, _)| mark + byte)
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
