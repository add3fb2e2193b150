//! HF's pre-tokenizer `Metaspace` without `split`: blanks become `▁`, and one may stand in front.

/// Where a `▁` is put in front of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepend {
    /// In front of every piece between added tokens.
    Always,
    /// In front of the text's first piece.
    First,
    /// Nowhere.
    Never,
}

/// The piece as the model sees it, and whether a `▁` was put in front of it.
pub fn with_metaspace(piece: &str, prepend: Prepend, is_first: bool) -> (String, bool) {
    let wanted = match prepend {
        Prepend::Always => true,
        Prepend::First => is_first,
        Prepend::Never => false,
    };
    let put = wanted && !piece.starts_with([' ', '▁']);
    let mut text = String::with_capacity(piece.len() * 3 / 2 + 3);
    if put {
        text.push('▁');
    }
    for (index, word) in piece.split(' ').enumerate() {
        if index > 0 {
            text.push('▁');
        }
        text.push_str(word);
    }
    (text, put)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_put_in_front_only_where_none_stands() {
        assert_eq!(with_metaspace("a b", Prepend::Always, false), ("▁a▁b".into(), true));
        assert_eq!(with_metaspace(" a", Prepend::Always, true), ("▁a".into(), false));
        assert_eq!(with_metaspace("a", Prepend::First, false), ("a".into(), false));
    }
}
