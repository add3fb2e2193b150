//! What goes through a text, or takes it apart: counted before it is done.

use super::Eval;
use super::joiner::join_with;
use super::limits::{HEAD, Meter};
use super::machine::Machine;
use super::string::{Text, derived};
use super::value::Value;
use crate::text::is_blank;

/// Parts that few texts have more of.
const MANY: usize = 1 << 14;

/// What a piece of a text takes, which shares the characters.
const PIECE: usize = HEAD;

/// A text may come to pieces, `most` of them; `count` says how many exactly. Each looks at all marks of the text.
fn pieces(meter: &Meter, text: &Text, most: usize, count: impl FnOnce() -> usize) -> Eval<()> {
    meter.read(text.len())?;
    let marks = text.marks().len();
    let pieces = if marks == 0 && most < MANY { most } else { count() };
    meter.work(pieces.saturating_mul(1 + marks))?;
    meter.room(pieces.saturating_mul(size_of::<Value>() + PIECE))
}

/// Pieces that were made take room by themselves; a list counts only that it holds them.
fn made(meter: &Meter, pieces: Vec<Text>) -> Eval<Vec<Text>> {
    meter.spend(pieces.len().saturating_mul(PIECE))?;
    Ok(pieces)
}

/// Its characters, one by one.
pub fn chars(meter: &Meter, text: &Text) -> Eval<Vec<Text>> {
    pieces(meter, text, text.len(), || text.count())?;
    made(meter, text.chars())
}

/// How many characters.
pub fn count(meter: &Meter, text: &Text) -> Eval<usize> {
    meter.skim(text.len())?;
    Ok(text.count())
}

/// As `str.split(separator, most)`.
pub fn split(meter: &Meter, text: &Text, separator: &str, most: Option<usize>) -> Eval<Vec<Text>> {
    // A separator is looked for in all of the text, whatever is found.
    meter.read(separator.len())?;
    let own = text.as_str();
    let bound = (text.len() / separator.len().max(1)).min(most.unwrap_or(usize::MAX)).saturating_add(1);
    pieces(meter, text, bound, || own.matches(separator).take(bound).count() + 1)?;
    made(meter, text.split(separator, most))
}

/// As `str.rsplit(separator, most)`.
pub fn rsplit(meter: &Meter, text: &Text, separator: &str, most: usize) -> Eval<Vec<Text>> {
    meter.read(separator.len())?;
    let own = text.as_str();
    let bound = (text.len() / separator.len().max(1)).min(most).saturating_add(1);
    pieces(meter, text, bound, || own.rmatches(separator).take(bound).count() + 1)?;
    made(meter, text.rsplit(separator, most))
}

/// As `str.split(None, most)`.
pub fn split_blanks(meter: &Meter, text: &Text, most: Option<usize>) -> Eval<Vec<Text>> {
    let bound = (text.len() / 2).min(most.unwrap_or(usize::MAX)).saturating_add(1);
    meter.read(text.len())?;
    let words = || text.as_str().split(is_blank).filter(|word| !word.is_empty());
    pieces(meter, text, bound, || words().take(bound).count())?;
    made(meter, text.split_blanks(most))
}

/// As `str.splitlines(keep_ends)`.
pub fn lines(meter: &Meter, text: &Text, keep_ends: bool) -> Eval<Vec<Text>> {
    pieces(meter, text, text.len() + 1, || text.as_str().matches(super::string::breaks_line).count() + 1)?;
    made(meter, text.lines(keep_ends))
}

/// As `str.strip(chars)`, at the ends that are said. What goes is looked for in the characters one by one.
pub fn strip(meter: &Meter, text: &Text, chars: Option<&str>, left: bool, right: bool) -> Eval<Text> {
    let each = 1 + chars.map_or(0, str::len) / 16;
    let goes = |c: char| meter.work(each).is_ok() && chars.map_or_else(|| is_blank(c), |chars| chars.contains(c));
    let stripped = text.strip(goes, left, right);
    meter.work(text.marks().len())?;
    Ok(stripped)
}

/// As `str.replace(old, new, most)`.
pub fn replace(meter: &Meter, text: &Text, old: &str, new: &Text, most: Option<usize>) -> Eval<Text> {
    if old.is_empty() {
        let own = text.as_str();
        let places = text.len().saturating_add(1).min(most.unwrap_or(usize::MAX));
        meter.fits(text.held().saturating_add(places.saturating_mul(new.len())))?;
        meter.read(own.len())?;
        let replaced = most.map_or_else(|| own.replace("", new.as_str()), |most| own.replacen("", new.as_str(), most));
        return Ok(derived(replaced, &[text, new]));
    }
    join_with(meter, new, &split(meter, text, old, most)?)
}

/// `markupsafe.escape`: what is escaped is derived, the characters between keep their runs.
pub fn escape(meter: &Meter, text: &Text) -> Eval<Text> {
    if text.markup {
        return Ok(text.clone());
    }
    let mut escaped = text.clone();
    for (character, entity) in [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("'", "&#39;"), ("\"", "&#34;")] {
        meter.skim(escaped.len())?;
        if escaped.as_str().contains(character) {
            let entity = if text.is_traced() { derived(entity.into(), &[text]) } else { Text::plain(entity) };
            escaped = join_with(meter, &entity, &split(meter, &escaped, character, None)?)?;
        }
    }
    Ok(escaped.into_markup())
}

/// A string in other letters.
pub fn in_case(machine: &Machine<'_>, text: &Text, name: &str) -> Eval<Text> {
    let own = text.as_str();
    machine.meter.fits(own.len())?;
    machine.meter.read(own.len())?;
    let cased = match name {
        _ if !own.is_ascii() => machine.ask(name, own)?,
        "upper" => own.to_ascii_uppercase(),
        "lower" | "casefold" => own.to_ascii_lowercase(),
        "capitalize" => {
            let mut cased = own.to_ascii_lowercase();
            cased[..own.len().min(1)].make_ascii_uppercase();
            cased
        }
        _ => titled(own, |c| !c.is_ascii_alphabetic()),
    };
    Ok(if text.is_traced() { derived(cased, &[text]) } else { Text::plain(cased) })
}

/// Jinja's `title`: words end at blanks and opening brackets and hyphens.
pub fn title(machine: &Machine<'_>, text: &Text, value: &Value) -> Eval<Text> {
    let own = text.as_str();
    machine.meter.fits(own.len())?;
    machine.meter.read(own.len())?;
    let cased = if own.is_ascii() {
        titled(own, |c| is_blank(c) || matches!(c, '-' | '(' | '{' | '[' | '<'))
    } else {
        machine.ask("title filter", own)?
    };
    if let Value::Str(source) = value {
        return Ok(derived(cased, &[source]));
    }
    Ok(Text::derived_from(cased, value.origin()))
}

/// ASCII in which letters are capital behind what `breaks`, and small elsewhere.
fn titled(own: &str, breaks: impl Fn(char) -> bool) -> String {
    let mut inside = false;
    let mut text = String::with_capacity(own.len());
    text.extend(own.chars().map(|c| {
        let cased = if inside { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
        inside = !breaks(c);
        cased
    }));
    text
}
