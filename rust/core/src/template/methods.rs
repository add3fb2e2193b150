//! Methods of strings and dicts.

use std::rc::Rc;

use super::access::{iterate, strings};
use super::calls::Called;
use super::counted::{self, escape, in_case};
use super::joiner::join_with;
use super::limits::Meter;
use super::machine::Machine;
use super::operators::tuple;
use super::order::{equal, require_hashable};
use super::string::Text;
use super::value::{Dict, List, Value};
use super::{Eval, lacks, raise};

/// `value.name(…)`
pub fn call(machine: &Machine<'_>, value: &Value, name: &'static str, called: &Called) -> Eval<Value> {
    let found = match value {
        Value::Str(text) => of_string(machine, text, name, called)?,
        // What is in it was made before.
        Value::Dict(dict) if name == "get" => return get(&machine.meter, dict, called),
        Value::Dict(dict) => of_dict(&machine.meter, dict, name, called)?,
        Value::List(list) => of_list(&machine.meter, list, name, called)?,
        _ => return lacks(format!("{}.{name}", value.type_name())),
    };
    machine.meter.made(found)
}

fn of_list(meter: &Meter, list: &List, name: &'static str, called: &Called) -> Eval<Value> {
    meter.work(list.len())?;
    if name == "copy" {
        meter.room_for(list.len())?;
        return Ok(Value::list(list.to_vec()));
    }
    called.only(1, 1)?;
    let mut count = 0;
    for (place, item) in list.iter().enumerate() {
        if equal(meter, item, &called.positional[0])? {
            if name == "index" {
                return Ok(Value::count(place));
            }
            count += 1;
        }
    }
    if name == "index" { raise("not in list") } else { Ok(Value::count(count)) }
}

fn get(meter: &Meter, dict: &Dict, called: &Called) -> Eval<Value> {
    called.only(1, 2)?;
    require_hashable(meter, &called.positional[0])?;
    let default = || called.positional.get(1).cloned().unwrap_or(Value::None);
    Ok(dict.get(meter, &called.positional[0])?.cloned().unwrap_or_else(default))
}

fn of_dict(meter: &Meter, dict: &Rc<Dict>, name: &'static str, called: &Called) -> Eval<Value> {
    match name {
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
    let meter = &machine.meter;
    let string = |index: usize| match called.positional.get(index) {
        Some(Value::Str(text)) => Ok(text),
        Some(other) => raise(format!("expected a str, not {}", other.type_name())),
        None => raise(format!("{name} takes more arguments")),
    };
    let affix = |is: &dyn Fn(&str) -> bool| match called.positional.first() {
        Some(Value::Str(affix)) => {
            meter.skim(affix.len().min(text.len()))?;
            Ok(Value::Bool(is(affix.as_str())))
        }
        Some(Value::Tuple(items)) => {
            meter.work(items.len())?;
            meter.room_for(items.len())?;
            let affixes = strings(items)?;
            affixes.iter().try_for_each(|affix| meter.skim(affix.len().min(text.len())))?;
            Ok(Value::Bool(affixes.iter().any(|affix| is(affix.as_str()))))
        }
        _ => raise(format!("{name} first arg must be str or a tuple of str")),
    };
    // A part is looked for in all of the text, and made ready first.
    let search = |part: usize| meter.read(text.len().saturating_add(part));
    let all = |is: fn(char) -> bool| {
        called.only(0, 0)?;
        meter.read(text.len())?;
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
            Value::Str(counted::strip(meter, text, chars, name != "rstrip", name != "lstrip")?)
        }
        "split" | "rsplit" => {
            called.names(&["sep", "maxsplit"])?;
            let separator = called.argument(0, "sep");
            let most = times(called.argument(1, "maxsplit"))?;
            let parts = match (separator, name, most) {
                (None | Some(Value::None), "split", most) => counted::split_blanks(meter, text, most)?,
                (None | Some(Value::None), _, None) => counted::split_blanks(meter, text, None)?,
                (None | Some(Value::None), ..) => return lacks("rsplit by blanks"),
                (Some(Value::Str(separator)), ..) if separator.is_empty() => return raise("empty separator"),
                (Some(Value::Str(separator)), "rsplit", Some(most)) => {
                    counted::rsplit(meter, text, separator.as_str(), most)?
                }
                (Some(Value::Str(separator)), _, most) => counted::split(meter, text, separator.as_str(), most)?,
                (Some(other), ..) => return raise(format!("must be str or None, not {}", other.type_name())),
            };
            Value::list(parts.into_iter().map(Value::Str).collect())
        }
        "splitlines" => {
            called.names(&["keepends"])?;
            let keep = called.argument(0, "keepends").is_some_and(Value::truth);
            Value::list(counted::lines(meter, text, keep)?.into_iter().map(Value::Str).collect())
        }
        "partition" | "rpartition" => {
            called.only(1, 1)?;
            let separator = string(0)?.as_str();
            if separator.is_empty() {
                return raise("empty separator");
            }
            search(separator.len())?;
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
            Value::Str(counted::replace(meter, text, old.as_str(), new, times(called.positional.get(2))?)?)
        }
        "join" => {
            called.only(1, 1)?;
            let mut parts = strings(&iterate(meter, &called.positional[0])?)?;
            if text.markup {
                parts = parts.iter().map(|part| escape(meter, part)).collect::<Eval<_>>()?;
            }
            let joined = join_with(meter, text, &parts)?;
            Value::Str(if text.markup { joined.into_markup() } else { joined })
        }
        "removeprefix" => {
            called.only(1, 1)?;
            meter.skim(string(0)?.len().min(text.len()))?;
            let rest = text.as_str().strip_prefix(string(0)?.as_str()).unwrap_or_else(|| text.as_str());
            Value::Str(text.cut(text.len() - rest.len(), text.len()))
        }
        "removesuffix" => {
            called.only(1, 1)?;
            meter.skim(string(0)?.len().min(text.len()))?;
            let rest = text.as_str().strip_suffix(string(0)?.as_str()).unwrap_or_else(|| text.as_str());
            Value::Str(text.cut(0, rest.len()))
        }
        "startswith" if called.positional.len() == 1 => affix(&|affix| text.as_str().starts_with(affix))?,
        "endswith" if called.positional.len() == 1 => affix(&|affix| text.as_str().ends_with(affix))?,
        "find" | "rfind" | "index" | "rindex" if called.positional.len() == 1 => {
            let (whole, part) = (text.as_str(), string(0)?.as_str());
            search(part.len())?;
            let found = if name.starts_with('r') { whole.rfind(part) } else { whole.find(part) };
            match found {
                Some(byte) => Value::count(whole[..byte].chars().count()),
                None if name.ends_with("index") => return raise("substring not found"),
                None => Value::int(-1),
            }
        }
        "count" if called.positional.len() == 1 => {
            search(string(0)?.len())?;
            match string(0)?.as_str() {
                "" => Value::count(text.count() + 1),
                part => Value::count(text.as_str().matches(part).count()),
            }
        }
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
            meter.read(text.len())?;
            let (upper, lower) = (
                text.as_str().contains(|c: char| c.is_ascii_uppercase()),
                text.as_str().contains(|c: char| c.is_ascii_lowercase()),
            );
            Value::Bool(if name == "isupper" { upper && !lower } else { lower && !upper })
        }
        _ => return lacks(format!("str.{name}")),
    })
}
