//! The core's parts on a conversation of 80 messages: `cargo bench`. Not compared with anything; see `make bench` for that.

use chatspan_core::attribute::attribute;
use chatspan_core::attribute::segments::Segments;
use chatspan_core::render::{Findings, Opening, Render, Role, Root, Run, TurnScaffold, segments_of};
use chatspan_core::text::CharIndex;
use chatspan_core::tokenize::NativeTokenizer;
use divan::Bencher;

const TOKENIZER: &str = include_str!("../../../examples/tokenizer/tokenizer.json");
const MESSAGES: usize = 80;

fn main() {
    divan::main();
}

/// A render, and where the contents stand in it.
fn conversation() -> (String, Vec<Run>, Vec<(usize, i32)>) {
    let (mut text, mut runs, mut owners) = (String::new(), Vec::new(), Vec::new());
    for message_index in 0..i32::try_from(MESSAGES).unwrap_or(0) {
        owners.push((text.len(), message_index));
        text += if message_index % 2 == 0 { "<|im_start|>user\n" } else { "<|im_start|>assistant\n" };
        let start = text.len();
        text += &format!("Which of the {message_index} trains to Cologne is on time? ").repeat(8);
        runs.push(Run { start, end: text.len(), root: Root::Content, message_index, field: 0, content: None });
        text += "<|im_end|>\n";
    }
    (text, runs, owners)
}

fn segmented(text: &str, runs: Vec<Run>, owners: Vec<(usize, i32)>) -> Segments {
    let roles: Vec<Role> = (0..MESSAGES).map(|i| if i % 2 == 0 { Role::Other } else { Role::Assistant }).collect();
    let opening = "<|im_start|>assistant\n".to_owned();
    let context = ("user".to_owned(), "user".to_owned());
    let openings = vec![(context, Some(Opening { whole: opening.clone(), own: opening }))];
    let scaffold = TurnScaffold { openings, ..TurnScaffold::default() };
    let (text, shapes) = (&CharIndex::new(text), &*vec!["user".into(); MESSAGES]);
    let render = Render { text, runs, contents: Vec::new(), owners, roles: &roles, shapes, prompt_start: None };
    segments_of(&render, &scaffold, &Findings::default()).segments
}

#[divan::bench]
fn segments(bencher: Bencher<'_, '_>) {
    let (text, runs, owners) = conversation();
    bencher.bench(|| segmented(&text, runs.clone(), owners.clone()));
}

#[divan::bench(args = [0, 1 << 20])]
fn tokens(bencher: Bencher<'_, '_>, cache_bytes: usize) {
    let (text, _, _) = conversation();
    let Ok(tokenizer) = NativeTokenizer::new(TOKENIZER, cache_bytes) else { return };
    bencher.bench(|| tokenizer.encode(&text));
}

#[divan::bench]
fn attribution(bencher: Bencher<'_, '_>) {
    let (text, runs, owners) = conversation();
    let segments = segmented(&text, runs, owners);
    let Some(tokens) = NativeTokenizer::new(TOKENIZER, 0).ok().and_then(|tokenizer| tokenizer.encode(&text)) else {
        return;
    };
    bencher.bench(|| attribute(&tokens.offsets, &segments));
}
