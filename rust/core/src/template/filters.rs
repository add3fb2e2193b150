//! Jinja's filters, and transformers' `tojson`.

use super::access::{iterate, length, slice};
use super::calls::Called;
use super::counted::{self, escape, in_case, title};
use super::joiner::{join, join_with};
use super::limits::{HEAD, Meter};
use super::machine::Machine;
use super::order::{Number, require_hashable};
use super::selection::{by_attribute, dictsort, extreme, map, select, sort, unique};
use super::string::Text;
use super::value::{Dict, Value};
use super::write::{Style, dump, soft_text, to_text};
use super::{Eval, Halt, lacks, raise};

/// Those of Jinja that it lacks; a name that is in neither list raises when it is reached, as in Jinja.
const LACKING: [&str; 16] = [
    "attr",
    "batch",
    "center",
    "filesizeformat",
    "format",
    "groupby",
    "pprint",
    "random",
    "round",
    "slice",
    "striptags",
    "truncate",
    "urlencode",
    "urlize",
    "wordwrap",
    "xmlattr",
];

/// Those that take no arguments.
const WITHOUT_ARGUMENTS: [&str; 17] = [
    "abs",
    "capitalize",
    "count",
    "e",
    "escape",
    "first",
    "forceescape",
    "items",
    "last",
    "length",
    "list",
    "lower",
    "safe",
    "string",
    "title",
    "upper",
    "wordcount",
];

/// `value | name(…)`
pub fn call(machine: &mut Machine<'_>, name: &str, value: &Value, called: &Called) -> Eval<Value> {
    let found = apply(machine, name, value, called)?;
    // What these give was made before.
    if matches!(name, "default" | "d" | "first" | "last" | "min" | "max") {
        Ok(found)
    } else {
        machine.meter.made(found)
    }
}

fn apply(machine: &mut Machine<'_>, name: &str, value: &Value, called: &Called) -> Eval<Value> {
    let text = |machine: &mut Machine<'_>| soft_text(machine, value);
    if WITHOUT_ARGUMENTS.contains(&name) {
        called.only(0, 0)?;
    }
    Ok(match name {
        "string" => Value::Str(to_text(machine, value)?),
        "safe" => Value::Str(to_text(machine, value)?.into_markup()),
        "e" | "escape" => match value {
            Value::Str(text) => Value::Str(escape(&machine.meter, text)?),
            _ => Value::Str(escape_anew(machine, value)?),
        },
        "forceescape" => Value::Str(escape_anew(machine, value)?),
        "tojson" => tojson(machine, value, called)?,
        "length" | "count" => Value::count(length(&machine.meter, value)?),
        "trim" => {
            called.names(&["chars"])?;
            let chars = match called.argument(0, "chars") {
                None | Some(Value::None) => None,
                Some(Value::Str(chars)) => Some(chars.as_str()),
                Some(_) => return raise("trim wants a string of characters"),
            };
            let text = text(machine)?;
            Value::Str(counted::strip(&machine.meter, &text, chars, true, true)?)
        }
        "upper" | "lower" | "capitalize" => {
            let text = text(machine)?;
            Value::Str(in_case(machine, &text, name)?)
        }
        "title" => {
            let text = text(machine)?;
            Value::Str(title(machine, &text, value)?)
        }
        "default" | "d" => {
            called.names(&["default_value", "boolean"])?;
            let strict = called.argument(1, "boolean").is_some_and(Value::truth);
            if matches!(value, Value::Undefined) || (strict && !value.truth()) {
                called.argument(0, "default_value").cloned().unwrap_or_else(|| Value::str(""))
            } else {
                value.clone()
            }
        }
        "first" => match value {
            Value::Generator(generator) => generator.rest.borrow_mut().next().unwrap_or(Value::Undefined),
            Value::List(items) | Value::Tuple(items) => items.first().cloned().unwrap_or(Value::Undefined),
            _ => iterate(&machine.meter, value)?.into_iter().next().unwrap_or(Value::Undefined),
        },
        "last" => match value {
            Value::Generator(_) | Value::Undefined => return lacks("last of a generator"),
            Value::List(items) | Value::Tuple(items) => items.last().cloned().unwrap_or(Value::Undefined),
            _ => iterate(&machine.meter, value)?.pop().unwrap_or(Value::Undefined),
        },
        "list" => Value::list(iterate(&machine.meter, value)?),
        "items" => match value {
            Value::Undefined => Value::generator(Vec::new(), None),
            Value::Dict(dict) => Value::generator(dict.view(&machine.meter, "items")?, None),
            // A generator, which raises when it is gone through.
            _ => Value::generator(Vec::new(), Some(Halt::Raised("Can only get item pairs from a mapping.".into()))),
        },
        "join" => {
            called.names(&["d", "attribute"])?;
            let separator = match called.argument(0, "d") {
                None => Text::plain(""),
                Some(separator) => to_text(machine, separator)?,
            };
            let mut values = iterate(&machine.meter, value)?;
            if let Some(attribute) = called.argument(1, "attribute") {
                let get = |value: &Value| by_attribute(&machine.meter, value, attribute);
                values = values.iter().map(get).collect::<Eval<_>>()?;
            }
            let parts = values.iter().map(|value| to_text(machine, value)).collect::<Eval<Vec<_>>>()?;
            Value::Str(join_with(&machine.meter, &separator, &parts)?)
        }
        "replace" => {
            called.names(&["old", "new", "count"])?;
            let (Some(old), Some(new)) = (called.argument(0, "old"), called.argument(1, "new")) else {
                return raise("replace wants two strings");
            };
            let most = match called.argument(2, "count") {
                None | Some(Value::None) => None,
                Some(Value::Int(i, _)) => usize::try_from(*i).ok(),
                Some(_) => return lacks("a count that is no whole number"),
            };
            let (own, old, new) = (to_text(machine, value)?, to_text(machine, old)?, to_text(machine, new)?);
            Value::Str(counted::replace(&machine.meter, &own, old.as_str(), &new, most)?)
        }
        "map" => map(machine, value, called)?,
        "select" | "reject" | "selectattr" | "rejectattr" => select(machine, name, value, called)?,
        "dictsort" => dictsort(machine, value, called)?,
        "sort" => sort(machine, value, called)?,
        "unique" => unique(machine, value, called)?,
        "reverse" => match value {
            Value::Str(_) => slice(&machine.meter, value, [Value::None, Value::None, Value::int(-1)])?,
            _ => {
                let mut items = iterate(&machine.meter, value)?;
                items.reverse();
                Value::generator(items, None)
            }
        },
        "indent" => Value::Str(indent(machine, value, called)?),
        "int" => int(machine, value, called)?,
        "float" => match value.number() {
            Some(number) => Value::Float(number.float(), value.origin()),
            None => return lacks("float of what is no number"),
        },
        "abs" => match value.number() {
            Some(Number::Int(i)) => {
                let found = i.checked_abs().ok_or_else(|| Halt::Lacking("a big number".into()))?;
                Value::Int(found, value.origin())
            }
            Some(Number::Float(f)) => Value::Float(f.abs(), value.origin()),
            None => return raise("bad operand type for abs()"),
        },
        "sum" | "min" | "max" if !called.positional.is_empty() || !called.named.is_empty() => {
            return lacks(format!("{name} with arguments"));
        }
        "sum" => {
            let mut values = vec![Value::int(0)];
            values.extend(iterate(&machine.meter, value)?);
            super::operators::add(&machine.meter, &values)?
        }
        "min" | "max" => extreme(machine, &iterate(&machine.meter, value)?, name == "max")?,
        "wordcount" => match value {
            Value::Str(text) if text.as_str().is_ascii() => {
                machine.meter.read(text.len())?;
                let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                Value::count(text.as_str().split(|c| !word(c)).filter(|part| !part.is_empty()).count())
            }
            _ => return lacks("wordcount"),
        },
        _ if LACKING.contains(&name) => return lacks(format!("the filter {name}")),
        _ => return raise(format!("No filter named {name:?} found.")),
    })
}

/// What `forceescape` makes of any value.
fn escape_anew(machine: &mut Machine<'_>, value: &Value) -> Eval<Text> {
    let text = to_text(machine, value)?;
    machine.meter.fits(text.len())?;
    escape(&machine.meter, &text)
}

fn blanks(machine: &Machine<'_>, count: i64) -> Eval<String> {
    let count = usize::try_from(count).unwrap_or(0);
    machine.meter.spend(count)?;
    Ok(" ".repeat(count))
}

/// The characters of what a filter puts in between; traced Jinja2 keeps where they come from.
fn copied(machine: &Machine<'_>, text: &Text) -> Eval<String> {
    if text.is_traced() {
        return lacks("an indentation or a separator of the input");
    }
    machine.meter.spend(text.len())?;
    Ok(text.as_str().to_owned())
}

fn tojson(machine: &mut Machine<'_>, value: &Value, called: &Called) -> Eval<Value> {
    called.names(&["ensure_ascii", "indent", "separators", "sort_keys"])?;
    let indent = match called.argument(1, "indent") {
        None | Some(Value::None) => None,
        Some(Value::Int(i, _)) => Some(blanks(machine, *i)?),
        Some(Value::Str(step)) => Some(copied(machine, step)?),
        Some(_) => return lacks("tojson with such an indent"),
    };
    let separators = match called.argument(2, "separators") {
        None | Some(Value::None) => None,
        Some(value) => match iterate(&machine.meter, value)?.as_slice() {
            [Value::Str(item), Value::Str(key)] => Some((copied(machine, item)?, copied(machine, key)?)),
            _ => return lacks("tojson with such separators"),
        },
    };
    let truth = |index: usize, name: &str| called.argument(index, name).is_some_and(Value::truth);
    let style =
        Style::Json { ensure_ascii: truth(0, "ensure_ascii"), indent, separators, sort_keys: truth(3, "sort_keys") };
    if matches!(value, Value::Generator(_) | Value::View(..) | Value::Range(..)) {
        return raise(format!("Object of type {} is not JSON serializable", value.type_name()));
    }
    Ok(Value::Str(dump(machine, value, &style)?))
}

/// Jinja's `indent`, line for line.
fn indent(machine: &Machine<'_>, value: &Value, called: &Called) -> Eval<Text> {
    called.names(&["width", "first", "blank"])?;
    let Value::Str(text) = value else { return lacks("indent of what is no string") };
    let indention = match called.argument(0, "width") {
        None => "    ".to_owned(),
        Some(Value::Int(i, _)) => blanks(machine, *i)?,
        Some(Value::Str(width)) => copied(machine, width)?,
        Some(_) => return raise("indent wants a number or a string"),
    };
    let (first, blank) =
        (called.argument(1, "first").is_some_and(Value::truth), called.argument(2, "blank").is_some_and(Value::truth));
    let meter = &machine.meter;
    let lines = counted::lines(meter, &join(meter, [text, &Text::plain("\n")])?, false)?;
    let indent = Text::plain(indention.as_str());
    let indented = if blank {
        meter.fits(indention.len())?;
        join_with(meter, &Text::plain(format!("\n{indention}")), &lines)?
    } else {
        let mut parts: Vec<Text> = Vec::with_capacity(lines.len());
        for (index, line) in lines.iter().enumerate() {
            let whole = index > 0 && !line.is_empty();
            let part = if whole { join(meter, [&indent, line])? } else { line.clone() };
            meter.spend(if whole { HEAD + part.held() } else { 0 })?;
            parts.push(part);
        }
        join_with(meter, &Text::plain("\n"), &parts)?
    };
    if first { join(meter, [&indent, &indented]) } else { Ok(indented) }
}

fn int(machine: &Machine<'_>, value: &Value, called: &Called) -> Eval<Value> {
    called.names(&["default", "base"])?;
    if called.argument(1, "base").is_some() {
        return lacks("int with a base");
    }
    let origin = value.origin().map(|origin| machine.field(origin));
    let default = || match called.argument(0, "default") {
        None => Value::Int(0, origin),
        Some(Value::Int(i, None)) => Value::Int(*i, origin),
        Some(Value::Float(f, None)) => Value::Float(*f, origin),
        Some(default) => default.clone(),
    };
    Ok(match value {
        Value::Int(i, origin) => Value::Int(*i, *origin),
        Value::Bool(b) => Value::int(i64::from(*b)),
        Value::Str(text) => {
            machine.meter.read(text.len())?;
            machine.meter.fits(text.len())?;
            let own = text.as_str().trim_matches(crate::text::is_blank);
            let digits = own.strip_prefix(['-', '+']).unwrap_or(own);
            if !digits.is_empty() && digits.len() < 18 && digits.bytes().all(|b| b.is_ascii_digit()) {
                Value::Int(own.parse().unwrap_or(0), origin)
            } else if own.is_ascii() && !own.contains(|c: char| c.is_ascii_digit()) {
                let infinite = own.to_ascii_lowercase();
                if infinite.contains("inf") || infinite.contains("nan") {
                    return lacks("int of a float");
                }
                default()
            } else {
                return lacks("int of such a string");
            }
        }
        Value::None => default(),
        Value::Undefined => return raise("int of something undefined"),
        _ => return lacks(format!("int of a {}", value.type_name())),
    })
}

/// A dict of pairs, as `dict(…)` makes it.
pub fn dict_of(meter: &Meter, called: &Called) -> Eval<Dict> {
    called.at_most(1)?;
    let mut dict = Dict::default();
    match called.positional.first() {
        None => {}
        Some(Value::Undefined) => return raise("dict of something undefined"),
        Some(Value::Dict(other)) => {
            meter.work(other.entries.len())?;
            meter.room_for(other.entries.len().saturating_mul(2))?;
            let shown = |(key, value): &(Value, Value)| (other.shown_key(key), value.clone());
            dict.entries = other.entries.iter().map(shown).collect();
        }
        Some(pairs) => {
            for pair in iterate(meter, pairs)? {
                let mut pair = iterate(meter, &pair)?;
                let (Some(value), Some(key), true) = (pair.pop(), pair.pop(), pair.is_empty()) else {
                    return raise("dictionary update sequence element has another length than 2");
                };
                require_hashable(meter, &key)?;
                dict.set(meter, key, value)?;
                meter.room_for(dict.entries.len().saturating_mul(4))?;
            }
        }
    }
    for (name, value) in &called.named {
        dict.set(meter, Value::str(name), value.clone())?;
    }
    Ok(dict)
}
