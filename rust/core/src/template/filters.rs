//! Jinja's filters, and transformers' `tojson`.

use std::rc::Rc;

use super::access::{iterate, length};
use super::calls::Called;
use super::limits::fits;
use super::machine::Machine;
use super::methods::in_case;
use super::operators::escape;
use super::order::{Number, require_hashable};
use super::selection::{by_attribute, dictsort, extreme, map, select, sort, unique};
use super::string::{Text, derived, join_with};
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
    machine.walk(value)?;
    let text = |machine: &mut Machine<'_>| soft_text(machine, value);
    if WITHOUT_ARGUMENTS.contains(&name) {
        called.only(0, 0)?;
    }
    Ok(match name {
        "string" => Value::Str(to_text(machine, value)?),
        "safe" => Value::Str(to_text(machine, value)?.into_markup()),
        "e" | "escape" => match value {
            Value::Str(text) => Value::Str(escape(text)),
            _ => Value::Str(escape(&Text::plain(to_text(machine, value)?.as_str()))),
        },
        "forceescape" => Value::Str(escape(&Text::plain(to_text(machine, value)?.as_str()))),
        "tojson" => tojson(machine, value, called)?,
        "length" | "count" => Value::count(length(value)?),
        "trim" => {
            called.names(&["chars"])?;
            let chars = match called.argument(0, "chars") {
                None | Some(Value::None) => None,
                Some(Value::Str(chars)) => Some(chars.as_str()),
                Some(_) => return raise("trim wants a string of characters"),
            };
            Value::Str(text(machine)?.strip(chars, true, true))
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
            _ => iterate(value)?.into_iter().next().unwrap_or(Value::Undefined),
        },
        "last" => match value {
            Value::Generator(_) | Value::Undefined => return lacks("last of a generator"),
            _ => iterate(value)?.pop().unwrap_or(Value::Undefined),
        },
        "list" => Value::list(iterate(value)?),
        "items" => match value {
            Value::Undefined => Value::generator(Vec::new(), None),
            Value::Dict(dict) => Value::generator(dict.view("items"), None),
            // A generator, which raises when it is gone through.
            _ => Value::generator(Vec::new(), Some(Halt::Raised("Can only get item pairs from a mapping.".into()))),
        },
        "join" => {
            called.names(&["d", "attribute"])?;
            let separator = match called.argument(0, "d") {
                None => Text::plain(""),
                Some(separator) => to_text(machine, separator)?,
            };
            let mut values = iterate(value)?;
            if let Some(attribute) = called.argument(1, "attribute") {
                values = values.iter().map(|value| by_attribute(value, attribute)).collect::<Eval<_>>()?;
            }
            let parts = values.iter().map(|value| to_text(machine, value)).collect::<Eval<Vec<_>>>()?;
            fits(&parts, separator.len())?;
            Value::Str(join_with(&separator, &parts))
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
            Value::Str(own.replace(old.as_str(), &new, most)?)
        }
        "map" => map(machine, value, called)?,
        "select" | "reject" | "selectattr" | "rejectattr" => select(machine, name, value, called)?,
        "dictsort" => dictsort(machine, value, called)?,
        "sort" => sort(machine, value, called)?,
        "unique" => unique(machine, value, called)?,
        "reverse" => match value {
            Value::Str(_) => return lacks("reverse of a string"),
            _ => {
                let mut items = iterate(value)?;
                items.reverse();
                Value::generator(items, None)
            }
        },
        "indent" => Value::Str(indent(machine, value, called)?),
        "int" => int(value, called)?,
        "float" => match value.number() {
            Some(number) => Value::Float(number.float(), None),
            None => return lacks("float of what is no number"),
        },
        "abs" => match value.number() {
            Some(Number::Int(i)) => Value::int(i.checked_abs().ok_or_else(|| Halt::Lacking("a big number".into()))?),
            Some(Number::Float(f)) => Value::Float(f.abs(), None),
            None => return raise("bad operand type for abs()"),
        },
        "sum" | "min" | "max" if !called.positional.is_empty() || !called.named.is_empty() => {
            return lacks(format!("{name} with arguments"));
        }
        "sum" => {
            let mut values = vec![Value::int(0)];
            values.extend(iterate(value)?);
            super::operators::add(&values)?
        }
        "min" | "max" => extreme(machine, &iterate(value)?, name == "max")?,
        "wordcount" => match value {
            Value::Str(text) if text.as_str().is_ascii() => {
                let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                Value::count(text.as_str().split(|c| !word(c)).filter(|part| !part.is_empty()).count())
            }
            _ => return lacks("wordcount"),
        },
        _ if LACKING.contains(&name) => return lacks(format!("the filter {name}")),
        _ => return raise(format!("No filter named {name:?} found.")),
    })
}

fn blanks(machine: &mut Machine<'_>, count: i64) -> Eval<String> {
    let count = usize::try_from(count).unwrap_or(0);
    machine.spend(count)?;
    Ok(" ".repeat(count))
}

fn tojson(machine: &mut Machine<'_>, value: &Value, called: &Called) -> Eval<Value> {
    called.names(&["ensure_ascii", "indent", "separators", "sort_keys"])?;
    let indent = match called.argument(1, "indent") {
        None | Some(Value::None) => None,
        Some(Value::Int(i, _)) => Some(blanks(machine, *i)?),
        Some(Value::Str(step)) => Some(step.as_str().to_owned()),
        Some(_) => return lacks("tojson with such an indent"),
    };
    let separators = match called.argument(2, "separators") {
        None | Some(Value::None) => None,
        Some(value) => match iterate(value)?.as_slice() {
            [Value::Str(item), Value::Str(key)] => Some((item.as_str().to_owned(), key.as_str().to_owned())),
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

/// Jinja's `title`: words end at blanks and opening brackets and hyphens.
fn title(machine: &Machine<'_>, text: &Text, value: &Value) -> Eval<Text> {
    let own = text.as_str();
    let breaks = |c: char| crate::text::is_blank(c) || matches!(c, '-' | '(' | '{' | '[' | '<');
    let mut inside = false;
    let cased: String = if !own.is_ascii() {
        machine.ask("title filter", own)?
    } else {
        own.chars()
            .map(|c| {
                let found = if inside { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
                inside = !breaks(c);
                found
            })
            .collect()
    };
    if let Value::Str(source) = value {
        return Ok(derived(cased, &[source]));
    }
    Ok(Text::derived_from(cased, value.origin()))
}

/// Jinja's `indent`, line for line.
fn indent(machine: &mut Machine<'_>, value: &Value, called: &Called) -> Eval<Text> {
    called.names(&["width", "first", "blank"])?;
    let Value::Str(text) = value else { return lacks("indent of what is no string") };
    let indention = match called.argument(0, "width") {
        None => "    ".to_owned(),
        Some(Value::Int(i, _)) => blanks(machine, *i)?,
        Some(Value::Str(width)) => width.as_str().to_owned(),
        Some(_) => return raise("indent wants a number or a string"),
    };
    machine.spend(text.len())?;
    let (first, blank) =
        (called.argument(1, "first").is_some_and(Value::truth), called.argument(2, "blank").is_some_and(Value::truth));
    let lines = super::string::join([text, &Text::plain("\n")]).lines(false);
    fits(&lines, indention.len() + 1)?;
    let indent = Text::plain(indention.as_str());
    let indented = if blank {
        join_with(&Text::plain(format!("\n{indention}")), &lines)
    } else {
        let mut parts: Vec<Text> = Vec::with_capacity(lines.len());
        for (index, line) in lines.iter().enumerate() {
            let whole = index > 0 && !line.is_empty();
            parts.push(if whole { super::string::join([&indent, line]) } else { line.clone() });
        }
        join_with(&Text::plain("\n"), &parts)
    };
    Ok(if first { super::string::join([&indent, &indented]) } else { indented })
}

fn int(value: &Value, called: &Called) -> Eval<Value> {
    called.names(&["default", "base"])?;
    if called.argument(1, "base").is_some() {
        return lacks("int with a base");
    }
    let default = || called.argument(0, "default").cloned().unwrap_or_else(|| Value::int(0));
    Ok(match value {
        Value::Int(i, _) => Value::int(*i),
        Value::Bool(b) => Value::int(i64::from(*b)),
        Value::Str(text) => {
            let own = text.as_str().trim_matches(crate::text::is_blank);
            let digits = own.strip_prefix(['-', '+']).unwrap_or(own);
            if !digits.is_empty() && digits.len() < 18 && digits.bytes().all(|b| b.is_ascii_digit()) {
                Value::int(own.parse().unwrap_or(0))
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
pub fn dict_of(called: &Called) -> Eval<Value> {
    called.at_most(1)?;
    let mut dict = Dict::default();
    match called.positional.first() {
        None => {}
        Some(Value::Undefined) => return raise("dict of something undefined"),
        Some(Value::Dict(other)) => {
            let shown = |(key, value): &(Value, Value)| (other.shown_key(key), value.clone());
            dict.entries = other.entries.iter().map(shown).collect();
        }
        Some(pairs) => {
            for pair in iterate(pairs)? {
                let mut pair = iterate(&pair)?;
                let (Some(value), Some(key), true) = (pair.pop(), pair.pop(), pair.is_empty()) else {
                    return raise("dictionary update sequence element has another length than 2");
                };
                require_hashable(&key)?;
                dict.set(key, value);
            }
        }
    }
    for (name, value) in &called.named {
        dict.set(Value::str(name), value.clone());
    }
    Ok(Value::Dict(Rc::new(dict)))
}
