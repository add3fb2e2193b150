//! Where added tokens stand in a text: the leftmost one, and of those that begin there the longest.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use memchr::{memchr, memchr2, memchr3};
use serde_json::Value;

/// Added tokens that are looked for together.
pub struct Added {
    /// The bytes that a token begins with.
    firsts: Vec<u8>,
    /// A tree of the tokens' bytes: which token, if any, ends at each node. The first node is the root.
    nodes: Vec<Option<Found>>,
    /// From a node and a byte to the next node.
    edges: HashMap<(u32, u8), u32, BuildHasherDefault<EdgeHasher>>,
}

/// The tokens are not an attacker's: what an edge hashes to may be known.
#[derive(Default)]
struct EdgeHasher(u64);

impl Hasher for EdgeHasher {
    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u8(*byte));
    }

    fn write_u8(&mut self, byte: u8) {
        self.0 = (self.0.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write_u32(&mut self, node: u32) {
        self.0 = u64::from(node).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// An added token that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which one.
    pub id: u32,
    /// How many bytes it has.
    pub bytes: usize,
    /// How many characters it has.
    pub chars: u32,
}

/// Bytes that are looked for at once, and as many such groups as are looked for one beside the other.
const GROUP: usize = 3;
const GROUPS: usize = 2;

impl Added {
    /// Of the `added_tokens` of a `tokenizer.json` that are looked for in the normalized text, or of the others.
    pub fn new(json: &Value, normalized: bool) -> Self {
        let all = json.as_array().into_iter().flatten();
        let those = all.filter(|token| (token["normalized"] == true) == normalized);
        let mut made = Self { firsts: Vec::new(), nodes: vec![None], edges: HashMap::default() };
        those.filter_map(read).for_each(|(text, found)| made.insert(text.as_bytes(), found));
        made.firsts.sort_unstable();
        made.firsts.dedup();
        made
    }

    fn insert(&mut self, text: &[u8], found: Found) {
        self.firsts.extend(text.first());
        let mut node = 0;
        for &byte in text {
            let next = u32::try_from(self.nodes.len()).unwrap_or(0);
            node = *self.edges.entry((node, byte)).or_insert(next);
            if node == next {
                self.nodes.push(None);
            }
        }
        self.nodes[node as usize] = Some(found);
    }

    /// All of them in a text, in order: where each begins, and which it is.
    pub fn search<'t>(&'t self, text: &'t [u8]) -> impl Iterator<Item = (usize, Found)> + 't {
        let mut from = 0;
        // Of each group its next byte in the text, or that it has not been looked for from here on.
        let mut nexts = [None; GROUPS];
        std::iter::from_fn(move || {
            while from < text.len() {
                let at = self.candidate(text, from, &mut nexts)?;
                from = at + 1;
                if let Some(found) = self.longest(&text[at..]) {
                    from = at + found.bytes;
                    return Some((at, found));
                }
            }
            None
        })
    }

    /// The next byte that a token begins with.
    fn candidate(&self, text: &[u8], from: usize, nexts: &mut [Option<usize>; GROUPS]) -> Option<usize> {
        if self.firsts.len() > GROUP * GROUPS {
            return text[from..].iter().position(|byte| self.firsts.binary_search(byte).is_ok()).map(|at| from + at);
        }
        let mut nearest = text.len();
        for (group, next) in self.firsts.chunks(GROUP).zip(nexts) {
            let at = match *next {
                Some(at) if at >= from => at,
                _ => {
                    let rest = &text[from..];
                    let found = match *group {
                        [one] => memchr(one, rest),
                        [one, other] => memchr2(one, other, rest),
                        [one, other, third] => memchr3(one, other, third, rest),
                        _ => None,
                    };
                    found.map_or(text.len(), |at| from + at)
                }
            };
            *next = Some(at);
            nearest = nearest.min(at);
        }
        (nearest < text.len()).then_some(nearest)
    }

    /// The longest one with which a text begins.
    fn longest(&self, text: &[u8]) -> Option<Found> {
        let (mut node, mut longest) = (0, None);
        for &byte in text {
            let Some(&next) = self.edges.get(&(node, byte)) else { break };
            node = next;
            longest = self.nodes[node as usize].or(longest);
        }
        longest
    }
}

fn read(token: &Value) -> Option<(&str, Found)> {
    let text = token["content"].as_str().filter(|text| !text.is_empty())?;
    let id = u32::try_from(token["id"].as_u64()?).ok()?;
    let found = Found { id, bytes: text.len(), chars: u32::try_from(text.chars().count()).ok()? };
    Some((text, found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Each place, each token.
    fn slowly(tokens: &[&str], text: &str) -> Vec<(usize, usize)> {
        let (mut all, mut at) = (Vec::new(), 0);
        while at < text.len() {
            let here =
                tokens.iter().enumerate().filter(|(_, token)| text.as_bytes()[at..].starts_with(token.as_bytes()));
            if let Some((index, token)) = here.max_by_key(|(_, token)| token.len()) {
                all.push((at, index));
                at += token.len();
            } else {
                at += 1;
            }
        }
        all
    }

    fn found(tokens: &[&str], text: &str) -> Vec<(usize, usize)> {
        let list: Vec<Value> =
            tokens.iter().enumerate().map(|(id, content)| json!({"id": id, "content": content})).collect();
        let added = Added::new(&Value::Array(list), false);
        let check = |(start, found): (usize, Found)| {
            let token = tokens[found.id as usize];
            assert_eq!((found.bytes, found.chars as usize), (token.len(), token.chars().count()));
            (start, found.id as usize)
        };
        added.search(text.as_bytes()).map(check).collect()
    }

    #[test]
    fn the_leftmost_and_longest_are_found() {
        let tokens = ["<s>", "<s>>", "<<", "<<<", "é", "\n", "\n\n\n", "[X]", "日本", "▁▁"];
        let many = [&tokens[..], &["1", "2", "3", "4x", "5", "6"]].concat();
        let parts = [
            "<",
            "s",
            ">",
            "<s>",
            "é",
            "\n",
            "x",
            "[X",
            "]",
            "日",
            "本",
            "▁",
            " ",
            "a long piece of text with nothing in it, ",
            "4",
        ];
        for seed in 0..2000_usize {
            let text: String =
                (0..seed % 23).map(|at| parts[(seed * 31 + at * at * 7 + at * seed) % parts.len()]).collect();
            assert_eq!(found(&tokens, &text), slowly(&tokens, &text), "{text:?}");
            assert_eq!(found(&many, &text), slowly(&many, &text), "{text:?}");
        }
        assert_eq!(found(&[], "a"), []);
    }
}
