//! Values as text: `str`, `repr`, `tojson`, with where each part of it comes from.

use std::fmt::Write as _;

use super::machine::Machine;
use super::string::{DERIVED, Joiner, Origin, Text};
use super::value::Value;
use super::{Eval, lacks, raise};

/// How a container was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Style {
    /// `str()`, `repr()`
    Repr,
    /// `tojson`
    Json {
        /// Whether only ASCII is written.
        ensure_ascii: bool,
        /// What a level is indented by.
        indent: Option<String>,
        /// Between items, and behind keys.
        separators: Option<(String, String)>,
        /// Whether keys are sorted.
        sort_keys: bool,
    },
}

/// `str(value)`, with where it comes from.
pub fn to_text(machine: &mut Machine<'_>, value: &Value) -> Eval<Text> {
    Ok(match value {
        Value::Str(text) => text.clone().without_markup(),
        Value::Undefined => Text::plain(""),
        Value::None => Text::plain("None"),
        Value::Bool(b) => Text::plain(if *b { "True" } else { "False" }),
        Value::Int(i, origin) => Text::derived_from(i.to_string(), *origin),
        Value::Float(f, origin) => Text::derived_from(float_text(*f), *origin),
        Value::List(_) | Value::Tuple(_) | Value::Dict(_) => dump(machine, value, &Style::Repr)?,
        Value::Range(start, stop, 1) => Text::plain(format!("range({start}, {stop})")),
        Value::Range(start, stop, step) => Text::plain(format!("range({start}, {stop}, {step})")),
        _ => return lacks(format!("the text of a {}", value.type_name())),
    })
}

/// `markupsafe.soft_str(value)`: a string as it is; of containers that the template made nothing is remembered.
pub fn soft_text(machine: &mut Machine<'_>, value: &Value) -> Eval<Text> {
    match value {
        Value::Str(text) => Ok(text.clone()),
        Value::List(list) if list.origin.is_none() => Ok(Text::plain(to_text(machine, value)?.as_str())),
        Value::Dict(dict) if dict.origin.is_none() => Ok(Text::plain(to_text(machine, value)?.as_str())),
        Value::Tuple(_) => Ok(Text::plain(to_text(machine, value)?.as_str())),
        _ => to_text(machine, value),
    }
}

/// A value written in a style.
///
/// A container of the input is remembered as such; what is in it is found when it is asked for.
pub fn dump(machine: &mut Machine<'_>, value: &Value, style: &Style) -> Eval<Text> {
    let mut writer = Writer { machine, joiner: Joiner::default() };
    match style {
        Style::Repr => writer.repr(value, None, 0)?,
        Style::Json { .. } => writer.json(value, None, 0, style)?,
    }
    let text = writer.joiner.finish();
    let container = match value {
        Value::Dict(dict) if dict.message.is_none() => dict.origin,
        Value::List(list) => list.origin,
        Value::Int(_, origin) | Value::Float(_, origin) => *origin,
        _ => None,
    };
    let Some(container) = container else { return Ok(text) };
    let text: std::sync::Arc<str> = text.as_str().into();
    let origin = machine.new_dump(container, style, text.clone());
    Ok(Text::field(text, origin))
}

struct Writer<'m, 'p> {
    machine: &'m mut Machine<'p>,
    joiner: Joiner,
}

impl Writer<'_, '_> {
    fn put(&mut self, text: &str, container: Option<Origin>) -> Eval<()> {
        self.machine.spend(text.len())?;
        self.joiner.push_str(text, container.map(|origin| (origin, DERIVED)));
        Ok(())
    }

    fn json(&mut self, value: &Value, container: Option<Origin>, level: usize, style: &Style) -> Eval<()> {
        let Style::Json { ensure_ascii, indent, separators, sort_keys } = style else { return Ok(()) };
        self.machine.descend(level)?;
        let container = own_origin(value).or(container);
        let default = if indent.is_none() { (", ", ": ") } else { (",", ": ") };
        let (item, key_end) = separators.as_ref().map_or(default, |(item, key)| (item.as_str(), key.as_str()));
        let line = |level: usize| indent.as_ref().map(|step| format!("\n{}", step.repeat(level))).unwrap_or_default();
        match value {
            Value::Str(text) => self.string(text, container, &json_quoted(text.as_str(), *ensure_ascii)),
            Value::List(_) | Value::Tuple(_) => {
                let items = items_of(value);
                if items.is_empty() {
                    return self.put("[]", container);
                }
                self.put("[", container)?;
                let between = line(level + 1);
                self.put(&between, container)?;
                for (index, part) in items.iter().enumerate() {
                    if index > 0 {
                        self.put(&format!("{item}{between}"), container)?;
                    }
                    self.json(part, container, level + 1, style)?;
                }
                self.put(&line(level), container)?;
                self.put("]", container)
            }
            Value::Dict(dict) => {
                if dict.entries.is_empty() {
                    return self.put("{}", container);
                }
                let mut entries: Vec<&(Value, Value)> = dict.entries.iter().collect();
                if *sort_keys {
                    if !entries.iter().all(|(key, _)| matches!(key, Value::Str(_))) {
                        return lacks("tojson(sort_keys=true) of keys that are no strings");
                    }
                    entries.sort_by(|(a, _), (b, _)| key_text(a).cmp(key_text(b)));
                }
                self.put("{", container)?;
                let between = line(level + 1);
                self.put(&between, container)?;
                for (index, (key, part)) in entries.into_iter().enumerate() {
                    if index > 0 {
                        self.put(&format!("{item}{between}"), container)?;
                    }
                    let key = match key {
                        Value::Str(text) => json_quoted(text.as_str(), *ensure_ascii),
                        Value::Int(..) | Value::Float(..) | Value::Bool(_) | Value::None => {
                            format!("\"{}\"", json_scalar(key)?)
                        }
                        _ => return raise(format!("keys must be str, int, …, not {}", key.type_name())),
                    };
                    self.put(&format!("{key}{key_end}"), container)?;
                    self.json(part, container, level + 1, style)?;
                }
                self.put(&line(level), container)?;
                self.put("}", container)
            }
            _ => {
                let text = json_scalar(value)?;
                self.put(&text, container)
            }
        }
    }

    fn repr(&mut self, value: &Value, container: Option<Origin>, level: usize) -> Eval<()> {
        self.machine.descend(level)?;
        let container = own_origin(value).or(container);
        match value {
            Value::Str(text) => {
                let quoted = self.quoted(text.as_str())?;
                self.string(text, container, &quoted)
            }
            Value::List(_) | Value::Tuple(_) => {
                let items = items_of(value);
                let (open, close) = if matches!(value, Value::List(_)) { ("[", "]") } else { ("(", ")") };
                self.put(open, container)?;
                for (index, part) in items.iter().enumerate() {
                    if index > 0 {
                        self.put(", ", container)?;
                    }
                    self.repr(part, container, level + 1)?;
                }
                if matches!(value, Value::Tuple(_)) && items.len() == 1 {
                    self.put(",", container)?;
                }
                self.put(close, container)
            }
            Value::Dict(dict) => {
                self.put("{", container)?;
                for (index, (key, part)) in dict.entries.iter().enumerate() {
                    if index > 0 {
                        self.put(", ", container)?;
                    }
                    let key = match key {
                        Value::Str(text) => self.quoted(text.as_str())?,
                        Value::Int(..) | Value::Float(..) | Value::Bool(_) | Value::None => scalar(key)?,
                        _ => return lacks("repr of a dict with keys of other types"),
                    };
                    self.put(&format!("{key}: "), container)?;
                    self.repr(part, container, level + 1)?;
                }
                self.put("}", container)
            }
            _ => {
                let text = scalar(value)?;
                self.put(&text, container)
            }
        }
    }

    /// `repr` of a string. Which characters are printable is of Python's own version of Unicode.
    fn quoted(&self, text: &str) -> Eval<String> {
        if text.is_ascii() { Ok(repr_quoted(text)) } else { self.machine.ask("repr", text) }
    }

    /// A quoted string: a copy between the quotes where nothing is escaped.
    fn string(&mut self, text: &Text, container: Option<Origin>, quoted: &str) -> Eval<()> {
        if !text.is_traced() {
            return self.put(quoted, container);
        }
        let (open, inner, close) = (&quoted[..1], &quoted[1..quoted.len() - 1], &quoted[quoted.len() - 1..]);
        self.put(open, container)?;
        if inner == text.as_str() {
            let mut position = 0;
            for run in text.runs().iter() {
                let (start, end) = (run.start as usize, run.end as usize);
                self.put(&inner[position..start], container)?;
                self.machine.spend(end - start)?;
                self.joiner.push_str(&inner[start..end], Some((run.origin, run.at)));
                position = end;
            }
            self.put(&inner[position..], container)?;
        } else {
            self.put(inner, text.origin().or(container))?;
        }
        self.put(close, container)
    }
}

fn own_origin(value: &Value) -> Option<Origin> {
    match value {
        Value::Dict(dict) => dict.origin,
        Value::List(list) => list.origin,
        Value::Int(_, origin) | Value::Float(_, origin) => *origin,
        _ => None,
    }
}

fn items_of(value: &Value) -> &[Value] {
    match value {
        Value::List(items) | Value::Tuple(items) => items,
        _ => &[],
    }
}

fn key_text(key: &Value) -> &str {
    if let Value::Str(text) = key { text.as_str() } else { "" }
}

fn scalar(value: &Value) -> Eval<String> {
    Ok(match value {
        Value::Undefined => "Undefined".into(),
        Value::None => "None".into(),
        Value::Bool(b) => if *b { "True" } else { "False" }.into(),
        Value::Int(i, _) => i.to_string(),
        Value::Float(f, _) => float_text(*f),
        _ => return lacks(format!("repr of a {}", value.type_name())),
    })
}

fn json_scalar(value: &Value) -> Eval<String> {
    Ok(match value {
        Value::None => "null".into(),
        Value::Bool(b) => if *b { "true" } else { "false" }.into(),
        Value::Int(i, _) => i.to_string(),
        Value::Float(f, _) if f.is_nan() => "NaN".into(),
        Value::Float(f, _) if f.is_infinite() => if *f > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        Value::Float(f, _) => float_text(*f),
        _ => return raise(format!("Object of type {} is not JSON serializable", value.type_name())),
    })
}

/// `json.dumps` of a string.
fn json_quoted(text: &str, ensure_ascii: bool) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            c if c < ' ' || (ensure_ascii && !(' '..='~').contains(&c)) => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(quoted, "\\u{unit:04x}");
                }
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// `repr` of an ASCII string.
fn repr_quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(quote);
    for c in text.chars() {
        match c {
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c == quote => {
                quoted.push('\\');
                quoted.push(c);
            }
            c if c < ' ' || c == '\u{7f}' => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push(quote);
    quoted
}

/// `repr` of a float.
pub fn float_text(number: f64) -> String {
    if number.is_nan() {
        return "nan".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.into();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let text = format!("{number}");
        return if text.contains('.') { text } else { format!("{text}.0") };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_as_python_writes_them() {
        for (number, text) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (1e100, "1e+100"),
            (123.456, "123.456"),
        ] {
            assert_eq!(float_text(number), text);
        }
    }

    #[test]
    fn strings_are_quoted_as_python_does() {
        assert_eq!(repr_quoted("it's"), "\"it's\"");
        assert_eq!(repr_quoted("\"it's\"\n\u{1}"), "'\"it\\'s\"\\n\\x01'");
        assert_eq!(json_quoted("é\"\u{1f600}\u{7f}", true), "\"\\u00e9\\\"\\ud83d\\ude00\\u007f\"");
        assert_eq!(json_quoted("é\u{7f}", false), "\"é\u{7f}\"");
    }
}
