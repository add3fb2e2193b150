//! `locate` against listing every placement.

use chatspan_core::error::Error;
use chatspan_core::locate::{Anchor, Blanks, locate};
use chatspan_core::span::CharSpan;
use chatspan_core::text::split_blanks;
use proptest::prelude::*;

/// Few letters, so that contents repeat, overlap and equal their scaffold.
fn words(most: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof![4 => Just('a'), 3 => Just('é'), 2 => Just(' '), 1 => Just('\n')], 0..most)
        .prop_map(|letters| letters.into_iter().collect())
}

fn chars(text: &str, start: usize, end: usize) -> String {
    text.chars().skip(start).take(end - start).collect()
}

/// What may be left of a content.
fn variants(content: &str, blanks: Blanks) -> Vec<String> {
    let (lead, core, trail) = split_blanks(content);
    let (lead, trail): (Vec<char>, Vec<char>) = (lead.chars().collect(), trail.chars().collect());
    let mut all = Vec::new();
    for from in 0..=lead.len() {
        for to in 0..=trail.len() {
            let fits = match blanks {
                Blanks::Unknown => true,
                Blanks::Kept => from == 0 && to == trail.len(),
                Blanks::Stripped => from == lead.len() && to == 0,
            };
            if fits {
                all.push(lead[from..].iter().copied().chain(core.chars()).chain(trail[..to].iter().copied()).collect());
            }
        }
    }
    all
}

/// Every placement of the contents from `from` on.
fn placements(
    text: &str,
    contents: &[String],
    anchors: &[(String, String)],
    blanks: Blanks,
    from: usize,
) -> Vec<Vec<Option<(usize, usize)>>> {
    let Some((content, rest)) = contents.split_first() else { return vec![vec![]] };
    let after = |end: usize, place: Option<(usize, usize)>| {
        let tails = placements(text, rest, anchors.get(1..).unwrap_or(&[]), blanks, end);
        tails.into_iter().map(move |tail| [vec![place], tail].concat()).collect::<Vec<_>>()
    };
    if content.trim().is_empty() {
        return after(from, None);
    }
    let count = text.chars().count();
    let mut found = Vec::new();
    for start in from..=count {
        for end in start..=count {
            let anchored = anchors.first().is_none_or(|(before, behind)| {
                chars(text, 0, start).ends_with(before) && chars(text, end, count).starts_with(behind)
            });
            if anchored && variants(content, blanks).contains(&chars(text, start, end)) {
                found.extend(after(end, Some((start, end))));
            }
        }
    }
    found
}

fn ends(spans: Vec<Option<CharSpan>>) -> Vec<Option<(usize, usize)>> {
    spans.into_iter().map(|span| span.map(|s| (s.start(), s.end()))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn one_placement_is_the_answer_and_any_other_number_is_an_error(
        parts in proptest::collection::vec((words(4), words(4)), 1..4),
        tail in words(4),
        trimmed in any::<bool>(),
        anchored in any::<bool>(),
        which in 0..3_usize,
        spoil in proptest::option::of(words(4)),
    ) {
        let blanks = [Blanks::Unknown, Blanks::Kept, Blanks::Stripped][which];
        let mut text = String::new();
        for (scaffold, content) in &parts {
            text += scaffold;
            text += if trimmed { content.trim() } else { content };
        }
        text += &tail;
        let mut contents: Vec<String> = parts.iter().map(|(_, content)| content.clone()).collect();
        if let Some(other) = spoil {
            contents[0] = other;
        }
        let befores = parts.iter().map(|(scaffold, _)| scaffold.clone());
        let behinds = parts.iter().skip(1).map(|(scaffold, _)| scaffold.clone()).chain([tail.clone()]);
        let anchors: Vec<(String, String)> = if anchored { befores.zip(behinds).collect() } else { vec![] };

        let all = placements(&text, &contents, &anchors, blanks, 0);
        let given: Vec<&str> = contents.iter().map(String::as_str).collect();
        let pairs: Vec<Anchor> = anchors.iter().map(|(before, after)| Anchor { before, after }).collect();
        let got = locate(&text, &given, anchored.then_some(&pairs), blanks);
        match (all.len(), got) {
            (0, got) => prop_assert!(matches!(got, Err(Error::ContentNotFound { .. })), "{got:?}"),
            (1, got) => prop_assert_eq!(ends(got.unwrap()), all[0].clone()),
            (_, got) => {
                let Err(Error::AmbiguousContent { content_index, candidates, .. }) = got else {
                    return Err(TestCaseError::fail(format!("{} placements, but {got:?}", all.len())));
                };
                // Each place that the error names is one of some placement.
                for candidate in candidates {
                    let place = Some((candidate.span.start(), candidate.span.end()));
                    prop_assert!(all.iter().any(|placement| placement[content_index] == place));
                }
            }
        }
    }

    #[test]
    fn any_strings_are_an_answer_or_an_error(text in ".{0,20}", contents in proptest::collection::vec(".{0,4}", 0..4)) {
        let contents: Vec<&str> = contents.iter().map(String::as_str).collect();
        if let Err(error) = locate(&text, &contents, None, Blanks::Unknown) {
            prop_assert!(error.to_string().contains("content "));
        }
    }
}
