//! Contents → character spans where the whole scaffold is known: nothing is searched, only compared.

use crate::span::{ByteSpan, CharSpan};
use crate::text::{split_blanks, to_char_spans};

/// The place of each content if `text` is `scaffold[0] contents[0] scaffold[1] contents[1] … scaffold[N]`, where
/// any blanks at the contents' ends may be gone, and that holds in exactly one way. Else `None`.
///
/// # Panics
/// Never: a `scaffold` that is not one longer than `contents` fits nothing.
pub fn fit(text: &str, contents: &[&str], scaffold: &[&str]) -> Option<Vec<CharSpan>> {
    let (first, rest) = scaffold.split_first()?;
    if rest.len() != contents.len() || !text.starts_with(first) {
        return None;
    }
    // Where a content can start, with all before it in place: nearly always one position.
    let mut starts = vec![first.len()];
    let mut places: Vec<Vec<Place>> = Vec::with_capacity(contents.len());
    for (content, after) in std::iter::zip(contents, rest) {
        let here: Vec<Place> = starts.iter().flat_map(|&start| places_at(text, start, content, after)).collect();
        starts = here.iter().map(|place| place.next).collect();
        starts.sort_unstable();
        starts.dedup();
        places.push(here);
    }
    if !starts.contains(&text.len()) {
        return None;
    }
    // From the end back, only what leads to the end of the text remains.
    let mut next = text.len();
    let mut found: Vec<Option<ByteSpan>> = Vec::with_capacity(contents.len());
    for here in places.iter().rev() {
        let mut ways = here.iter().filter(|place| place.next == next);
        let (only, None) = (ways.next()?, ways.next()) else { return None };
        found.push(Some(only.span));
        next = only.start;
    }
    found.reverse();
    Some(to_char_spans(text, &found).into_iter().flatten().collect())
}

/// A content's place, with where the scaffold before it ends and the one after it ends.
struct Place {
    start: usize,
    span: ByteSpan,
    next: usize,
}

fn places_at(text: &str, start: usize, content: &str, after: &str) -> Vec<Place> {
    let (lead, core, trail) = split_blanks(content);
    let borders = |blanks: &str| blanks.char_indices().map(|(i, _)| i).chain([blanks.len()]).collect::<Vec<_>>();
    let mut places = Vec::new();
    for from in borders(lead) {
        let kept = &lead[from..];
        let Some(rest) = text[start..].strip_prefix(kept).and_then(|rest| rest.strip_prefix(core)) else { continue };
        for to in borders(trail) {
            let len = kept.len() + core.len() + to;
            if rest.starts_with(&trail[..to]) && rest[to..].starts_with(after) {
                let span = ByteSpan::with_len(start, len);
                places.push(Place { start, span, next: span.end() + after.len() });
            }
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<'t>(text: &'t str, contents: &[&str], scaffold: &[&str]) -> Option<Vec<&'t str>> {
        let spans = fit(text, contents, scaffold)?;
        Some(spans.iter().map(|span| &text[span.range()]).collect())
    }

    #[test]
    fn contents_may_be_words_of_the_scaffold() {
        let scaffold = ["<user>", "<end><assistant>", "<end><user>", "<end>"];
        assert_eq!(
            texts("<user>user<end><assistant>assistant<end><user>user<end>", &["user", "assistant", "user"], &scaffold),
            Some(vec!["user", "assistant", "user"])
        );
    }

    #[test]
    fn the_scaffolds_own_blanks_stay_its_own() {
        assert_eq!(texts("<h>\n\nHi<e>", &["\n\nHi"], &["<h>\n\n", "<e>"]), Some(vec!["Hi"]));
        assert_eq!(texts("<h>\n\n\n\nHi<e>", &["\n\nHi"], &["<h>\n\n", "<e>"]), Some(vec!["\n\nHi"]));
        assert_eq!(
            texts("<s>be kind.\n\n\nHi<e>", &["be kind.\n", "Hi"], &["<s>", "\n\n", "<e>"]),
            Some(vec!["be kind.\n", "Hi"])
        );
    }

    #[test]
    fn what_fits_in_two_ways_or_not_at_all_has_no_answer() {
        // One of the two contents lost its blank, and nothing says which.
        assert_eq!(texts("<a b>", &["a ", " b"], &["<", "", ">"]), None);
        assert_eq!(texts("<a>!", &["a"], &["<", ">"]), None);
        assert_eq!(texts("<b>", &["a"], &["<", ">"]), None);
        assert_eq!(texts("<a>", &["a"], &["<"]), None);
    }
}
