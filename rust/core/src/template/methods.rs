//! Methods of strings and dicts.

use std::rc::Rc;

use super::access::{iterate, strings};
use super::calls::Called;
use super::limits::fits;
use super::machine::Machine;
use super::operators::{escape, tuple};
use super::order::{equal, require_hashable};
use super::string::{Text, derived, join_with};
use super::value::{Dict, Value};
use super::{Eval, lacks, raise};

/// `value.name(…)`
pub fn call(machine: &Machine<'_>, value: &Value, name: &'static str, called: &Called) -> Eval<Value> {
    match value {
        Value::Str(text) => of_string(machine, text, name, called),
        Value::Dict(dict) => of_dict(dict, name, called),
        Value::List(list) => match name {
            "index" => {
                called.only(1, 1)?;
                let place = list.items.iter().position(|item| equal(item, &called.positional[0]));
                place.map_or_else(|| raise("not in list"), |place| Ok(Value::count(place)))
            }
            "count" => {
                called.only(1, 1)?;
                Ok(Value::count(list.items.iter().filter(|item| equal(item, &called.positional[0])).count()))
            }
            _ => Ok(Value::list(list.items.clone())),
        },
        _ => lacks(format!("{}.{name}", value.type_name())),
    }
}

fn of_dict(dict: &Rc<Dict>, name: &'static str, called: &Called) -> Eval<Value> {
    match name {
        "get" => {
            called.only(1, 2)?;
            require_hashable(&called.positional[0])?;
            let default = || called.positional.get(1).cloned().unwrap_or(Value::None);
            Ok(dict.get(&called.positional[0]).cloned().unwrap_or_else(default))
        }
        // Of the input's dicts keys and items are lists, whose strings know where they come from.
        "keys" | "items" if dict.origin.is_some() => {
            called.only(0, 0)?;
            Ok(Value::list(dict.view(name)))
        }
        "keys" | "items" | "values" => {
            called.only(0, 0)?;
            Ok(Value::View(name, Rc::clone(dict)))
        }
        _ => lacks(format!("dict.{name}")),
    }
}

/// An argument that says how often, -1 for always.
fn times(value: Option<&Value>) -> Eval<Option<usize>> {
    match value {
        None => Ok(None),
        Some(Value::Int(i, _)) => Ok(usize::try_from(*i).ok()),
        Some(_) => lacks("a count that is no whole number"),
    }
}

fn of_string(machine: &Machine<'_>, text: &Text, name: &'static str, called: &Called) -> Eval<Value> {
    let string = |index: usize| match called.positional.get(index) {
        Some(Value::Str(text)) => Ok(text),
        Some(other) => raise(format!("expected a str, not {}", other.type_name())),
        None => raise(format!("{name} takes more arguments")),
    };
    let affix = |is: &dyn Fn(&str) -> bool| match called.positional.first() {
        Some(Value::Str(affix)) => Ok(Value::Bool(is(affix.as_str()))),
        Some(Value::Tuple(items)) => Ok(Value::Bool(strings(items)?.iter().any(|affix| is(affix.as_str())))),
        _ => raise(format!("{name} first arg must be str or a tuple of str")),
    };
    let all = |is: fn(char) -> bool| {
        called.only(0, 0)?;
        if !text.as_str().is_ascii() {
            return Ok(Value::Bool(machine.ask(name, text.as_str())? == "True"));
        }
        Ok(Value::Bool(!text.is_empty() && text.as_str().chars().all(is)))
    };
    Ok(match name {
        "strip" | "lstrip" | "rstrip" => {
            called.only(0, 1)?;
            let chars = match called.positional.first() {
                None | Some(Value::None) => None,
                Some(_) => Some(string(0)?.as_str()),
            };
            Value::Str(text.strip(chars, name != "rstrip", name != "lstrip"))
        }
        "split" | "rsplit" => {
            called.names(&["sep", "maxsplit"])?;
            let separator = called.argument(0, "sep");
            let most = times(called.argument(1, "maxsplit"))?;
            let parts = match (separator, name, most) {
                (None | Some(Value::None), "split", most) => text.split_blanks(most),
                (None | Some(Value::None), _, None) => text.split_blanks(None),
                (None | Some(Value::None), ..) => return lacks("rsplit by blanks"),
                (Some(Value::Str(separator)), ..) if separator.is_empty() => return raise("empty separator"),
                (Some(Value::Str(separator)), "rsplit", Some(most)) => text.rsplit(separator.as_str(), most),
                (Some(Value::Str(separator)), _, most) => text.split(separator.as_str(), most),
                (Some(other), ..) => return raise(format!("must be str or None, not {}", other.type_name())),
            };
            Value::list(parts.into_iter().map(Value::Str).collect())
        }
        "splitlines" => {
            called.names(&["keepends"])?;
            let keep = called.argument(0, "keepends").is_some_and(Value::truth);
            Value::list(text.lines(keep).into_iter().map(Value::Str).collect())
        }
        "partition" | "rpartition" => {
            called.only(1, 1)?;
            let separator = string(0)?.as_str();
            if separator.is_empty() {
                return raise("empty separator");
            }
            let whole = text.as_str();
            let found = if name == "partition" { whole.find(separator) } else { whole.rfind(separator) };
            let (first, second) = match found {
                Some(at) => (at, at + separator.len()),
                None if name == "partition" => (whole.len(), whole.len()),
                None => (0, 0),
            };
            let parts = [text.cut(0, first), text.cut(first, second), text.cut(second, whole.len())];
            tuple(parts.into_iter().map(Value::Str).collect())
        }
        "replace" => {
            called.only(2, 3)?;
            let (old, new) = (string(0)?, string(1)?);
            Value::Str(text.replace(old.as_str(), new, times(called.positional.get(2))?)?)
        }
        "join" => {
            called.only(1, 1)?;
            let parts = strings(&iterate(&called.positional[0])?)?;
            fits(&parts, text.len())?;
            if text.markup {
                let parts: Vec<Text> = parts.iter().map(escape).collect();
                Value::Str(join_with(text, &parts).into_markup())
            } else {
                Value::Str(join_with(text, &parts))
            }
        }
        "removeprefix" => {
            called.only(1, 1)?;
            let rest = text.as_str().strip_prefix(string(0)?.as_str()).unwrap_or_else(|| text.as_str());
            Value::Str(text.cut(text.len() - rest.len(), text.len()))
        }
        "removesuffix" => {
            called.only(1, 1)?;
            let rest = text.as_str().strip_suffix(string(0)?.as_str()).unwrap_or_else(|| text.as_str());
            Value::Str(text.cut(0, rest.len()))
        }
        "startswith" if called.positional.len() == 1 => affix(&|affix| text.as_str().starts_with(affix))?,
        "endswith" if called.positional.len() == 1 => affix(&|affix| text.as_str().ends_with(affix))?,
        "find" | "rfind" | "index" | "rindex" if called.positional.len() == 1 => {
            let (whole, part) = (text.as_str(), string(0)?.as_str());
            let found = if name.starts_with('r') { whole.rfind(part) } else { whole.find(part) };
            match found {
                Some(byte) => Value::count(whole[..byte].chars().count()),
                None if name.ends_with("index") => return raise("substring not found"),
                None => Value::int(-1),
            }
        }
        "count" if called.positional.len() == 1 => match string(0)?.as_str() {
            "" => Value::count(text.count() + 1),
            part => Value::count(text.as_str().matches(part).count()),
        },
        "upper" | "lower" | "title" | "capitalize" | "casefold" => {
            called.only(0, 0)?;
            Value::Str(in_case(machine, text, name)?)
        }
        "isdigit" | "isdecimal" | "isnumeric" => all(|c| c.is_ascii_digit())?,
        "isalpha" => all(|c| c.is_ascii_alphabetic())?,
        "isalnum" => all(|c| c.is_ascii_alphanumeric())?,
        "isspace" => all(crate::text::is_blank)?,
        "isupper" | "islower" if !text.as_str().is_ascii() => all(|_| false)?,
        "isupper" | "islower" => {
            called.only(0, 0)?;
            let (upper, lower) = (
                text.as_str().contains(|c: char| c.is_ascii_uppercase()),
                text.as_str().contains(|c: char| c.is_ascii_lowercase()),
            );
            Value::Bool(if name == "isupper" { upper && !lower } else { lower && !upper })
        }
        _ => return lacks(format!("str.{name}")),
    })
}

/// A string in other letters.
pub fn in_case(machine: &Machine<'_>, text: &Text, name: &str) -> Eval<Text> {
    let own = text.as_str();
    let cased = match name {
        _ if !own.is_ascii() => machine.ask(name, own)?,
        "upper" => own.to_ascii_uppercase(),
        "lower" | "casefold" => own.to_ascii_lowercase(),
        "capitalize" => {
            let mut chars = own.chars();
            let first = chars.next().map(|c| c.to_ascii_uppercase());
            first.into_iter().chain(chars.map(|c| c.to_ascii_lowercase())).collect()
        }
        _ => {
            let mut inside = false;
            own.chars()
                .map(|c| {
                    let cased = if inside { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
                    inside = c.is_ascii_alphabetic();
                    cased
                })
                .collect()
        }
    };
    Ok(if text.is_traced() { derived(cased, &[text]) } else { Text::plain(cased) })
}
