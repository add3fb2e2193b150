//! Values as text: `str`, `repr`, `tojson`, with where each part of it comes from.

use super::joiner::Joiner;
use super::machine::Machine;
use super::order::{order, sorted};
use super::quoted::{float_text, json_quoted, repr_quoted};
use super::string::{DERIVED, Origin, Run, Text};
use super::value::{Dict, Value};
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

impl Style {
    /// The bytes that it takes.
    pub fn held(&self) -> usize {
        let Self::Json { indent, separators, .. } = self else { return 0 };
        let between = separators.as_ref().map_or(0, |(item, key)| item.len() + key.len());
        indent.as_ref().map_or(0, String::len) + between
    }
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

/// `markupsafe.soft_str(value)`: a string as it is.
pub fn soft_text(machine: &mut Machine<'_>, value: &Value) -> Eval<Text> {
    match value {
        Value::Str(text) => Ok(text.clone()),
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
    let text = writer.finish()?;
    let container = match value {
        Value::Dict(dict) if dict.message.is_none() => dict.origin,
        Value::List(list) => list.origin,
        Value::Int(_, origin) | Value::Float(_, origin) => *origin,
        _ => None,
    };
    let Some(container) = container else { return Ok(text) };
    let origin = machine.new_dump(container, style, text.whole())?;
    Ok(text.renamed(origin))
}

struct Writer<'m, 'p> {
    machine: &'m mut Machine<'p>,
    joiner: Joiner,
}

impl Writer<'_, '_> {
    fn put(&mut self, text: &str, container: Option<Origin>) -> Eval<()> {
        let run = if container.is_some() { size_of::<Run>() } else { 0 };
        self.machine.meter.spend(text.len() + run)?;
        self.machine.meter.work(3 + text.len() / 16)?;
        self.joiner.push_str(text, container.map(|origin| (origin, DERIVED)));
        Ok(())
    }

    /// A new line and its indentation, if there is any.
    fn line(&mut self, indent: Option<&str>, level: usize, container: Option<Origin>) -> Eval<()> {
        let Some(step) = indent else { return Ok(()) };
        self.put("\n", container)?;
        if step.is_empty() {
            return Ok(());
        }
        self.machine.meter.work(level)?;
        (0..level).try_for_each(|_| self.put(step, container))
    }

    /// The text is copied once more.
    fn finish(self) -> Eval<Text> {
        self.machine.meter.room(self.joiner.held())?;
        Ok(self.joiner.finish())
    }

    fn json(&mut self, value: &Value, container: Option<Origin>, level: usize, style: &Style) -> Eval<()> {
        let Style::Json { ensure_ascii, .. } = style else { return Ok(()) };
        self.machine.meter.descend(level)?;
        let container = own_origin(value).or(container);
        match value {
            Value::Str(text) => {
                let quoted = self.json_string(text.as_str(), *ensure_ascii)?;
                self.string(text, container, &quoted)
            }
            Value::List(items) | Value::Tuple(items) => {
                if items.is_empty() {
                    return self.put("[]", container);
                }
                self.put("[", container)?;
                for (index, part) in items.iter().enumerate() {
                    self.between(index, container, level, style)?;
                    self.json(part, container, level + 1, style)?;
                }
                self.close("]", container, level, style)
            }
            Value::Dict(dict) => {
                if dict.entries.is_empty() {
                    return self.put("{}", container);
                }
                self.put("{", container)?;
                for (index, (key, part)) in self.entries(dict, style)?.into_iter().enumerate() {
                    self.between(index, container, level, style)?;
                    self.json_key(key, container, style)?;
                    self.json(part, container, level + 1, style)?;
                }
                self.close("}", container, level, style)
            }
            _ => {
                let text = json_scalar(value)?;
                self.put(&text, container)
            }
        }
    }

    /// In front of an item.
    fn between(&mut self, index: usize, container: Option<Origin>, level: usize, style: &Style) -> Eval<()> {
        let Style::Json { indent, separators, .. } = style else { return Ok(()) };
        if index > 0 {
            let default = if indent.is_none() { ", " } else { "," };
            self.put(separators.as_ref().map_or(default, |(item, _)| item), container)?;
        }
        self.line(indent.as_deref(), level + 1, container)
    }

    fn close(&mut self, bracket: &str, container: Option<Origin>, level: usize, style: &Style) -> Eval<()> {
        let Style::Json { indent, .. } = style else { return Ok(()) };
        self.line(indent.as_deref(), level, container)?;
        self.put(bracket, container)
    }

    fn json_key(&mut self, key: &Value, container: Option<Origin>, style: &Style) -> Eval<()> {
        let Style::Json { ensure_ascii, separators, .. } = style else { return Ok(()) };
        let container = key.origin().or(container);
        let key = match key {
            Value::Str(text) => self.json_string(text.as_str(), *ensure_ascii)?,
            Value::Int(..) | Value::Float(..) | Value::Bool(_) | Value::None => format!("\"{}\"", json_scalar(key)?),
            _ => return raise(format!("keys must be str, int, …, not {}", key.type_name())),
        };
        self.put(&key, container)?;
        self.put(separators.as_ref().map_or(": ", |(_, key_end)| key_end), container)
    }

    /// The entries in the order in which they are written.
    fn entries<'v>(&self, dict: &'v Dict, style: &Style) -> Eval<Vec<&'v (Value, Value)>> {
        let meter = &self.machine.meter;
        meter.work(dict.entries.len())?;
        if !matches!(style, Style::Json { sort_keys: true, .. }) {
            return Ok(dict.entries.iter().collect());
        }
        if !dict.entries.iter().all(|(key, _)| matches!(key, Value::Str(_))) {
            return lacks("tojson(sort_keys=true) of keys that are no strings");
        }
        let keyed: Vec<(Value, &(Value, Value))> = dict.entries.iter().map(|entry| (entry.0.clone(), entry)).collect();
        sorted(meter, &keyed, false, |a, b| order(meter, a, b))
    }

    fn json_string(&self, text: &str, ensure_ascii: bool) -> Eval<String> {
        self.quotes(text)?;
        Ok(json_quoted(text, ensure_ascii))
    }

    /// A text is quoted before it is written: six bytes at most for one.
    fn quotes(&self, text: &str) -> Eval<()> {
        self.machine.meter.read(text.len())?;
        self.machine.meter.room(text.len().saturating_mul(6))
    }

    fn repr(&mut self, value: &Value, container: Option<Origin>, level: usize) -> Eval<()> {
        self.machine.meter.descend(level)?;
        let container = own_origin(value).or(container);
        match value {
            Value::Str(text) => {
                let quoted = self.quoted(text.as_str())?;
                self.string(text, container, &quoted)
            }
            Value::List(items) | Value::Tuple(items) => {
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
                    let shown = match key {
                        Value::Str(text) => self.quoted(text.as_str())?,
                        Value::Int(..) | Value::Float(..) | Value::Bool(_) | Value::None => scalar(key)?,
                        _ => return lacks("repr of a dict with keys of other types"),
                    };
                    self.put(&format!("{shown}: "), key.origin().or(container))?;
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
        self.quotes(text)?;
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
                self.machine.meter.spend(end - start + size_of::<Run>())?;
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
