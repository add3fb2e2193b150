//! Attributes, items, slices, `in` and iteration, as Jinja's sandbox has them.

use std::rc::Rc;

use super::counted;
use super::joiner::join;
use super::limits::{HEAD, Meter};
use super::names::{CHANGING_DICTS, CHANGING_LISTS, OF_DICTS, OF_LISTS, OF_NUMBERS, OF_STRINGS, OF_STRINGS_TOO};
use super::operators::tuple;
use super::order::{equal, require_hashable};
use super::string::Text;
use super::value::{Dict, Value};
use super::{Eval, Halt, lacks, raise};

/// Whether a dict has an attribute of this name besides its items, or the sandbox hides it.
pub fn is_of_dicts(name: &str) -> bool {
    name.starts_with('_') || OF_DICTS.contains(&name) || CHANGING_DICTS.contains(&name)
}

fn known(names: &[&'static str], name: &str) -> Option<&'static str> {
    names.iter().find(|each| **each == name).copied()
}

/// `value.name`
pub fn attribute(meter: &Meter, value: &Value, name: &str) -> Eval<Value> {
    let of_object = object_attribute(meter, value, name)?;
    if let Some(found) = of_object {
        return Ok(found);
    }
    Ok(match value {
        Value::Dict(dict) => dict.get_str(meter, name)?.cloned().unwrap_or(Value::Undefined),
        _ => Value::Undefined,
    })
}

/// What Python's `getattr` gives, as far as the sandbox lets it through; none where there is no such attribute.
fn object_attribute(meter: &Meter, value: &Value, name: &str) -> Eval<Option<Value>> {
    let method = |name: Option<&'static str>| name.map(|name| Value::Method(Rc::new(value.clone()), name));
    if name.starts_with('_') && !matches!(value, Value::Undefined | Value::Namespace(_)) {
        // What Python has under such names the sandbox hides; others are items like any.
        return if name.starts_with("__") { lacks(format!("the attribute {name}")) } else { Ok(None) };
    }
    Ok(match value {
        Value::Undefined => return raise("an attribute of something undefined"),
        Value::Str(_) => {
            if known(&OF_STRINGS_TOO, name).is_some() {
                return lacks(format!("str.{name}"));
            }
            method(known(&OF_STRINGS, name))
        }
        Value::Dict(_) => {
            if known(&CHANGING_DICTS, name).is_some() {
                return Ok(Some(Value::Undefined));
            }
            method(known(&OF_DICTS, name))
        }
        Value::List(_) => {
            if known(&CHANGING_LISTS, name).is_some() {
                return Ok(Some(Value::Undefined));
            }
            method(known(&OF_LISTS, name))
        }
        Value::Namespace(attributes) => {
            let attributes = attributes.0.borrow();
            meter.work(attributes.len() / 4)?;
            attributes.iter().find(|(own, _)| **own == *name).map(|(_, value)| value.clone())
        }
        Value::Loop(_) if matches!(name, "cycle" | "changed") => method(known(&["cycle", "changed"], name)),
        Value::Loop(of) => of.attribute(name),
        Value::Int(..) | Value::Float(..) | Value::Bool(_) if known(&OF_NUMBERS, name).is_some() => {
            return lacks(format!("the attribute {name} of a number"));
        }
        Value::Tuple(_) | Value::Range(..) if matches!(name, "count" | "index" | "start" | "stop" | "step") => {
            return lacks(format!("the attribute {name} of a {}", value.type_name()));
        }
        Value::Function("dict") if name == "fromkeys" => return lacks("dict.fromkeys"),
        Value::View(..) | Value::Generator(_) | Value::Macro(_) | Value::Method(..) | Value::Function(_) => {
            return lacks(format!("the attribute {name} of a {}", value.type_name()));
        }
        _ => None,
    })
}

/// `value[key]`
pub fn item(meter: &Meter, value: &Value, key: &Value) -> Eval<Value> {
    let found = match (value, key) {
        (Value::Undefined, _) => return raise("an item of something undefined"),
        (Value::Dict(dict), _) => match require_hashable(meter, key) {
            Err(halt @ Halt::Limit(_)) => return Err(halt),
            Err(_) => return Ok(Value::Undefined),
            Ok(()) => dict.get(meter, key)?.cloned(),
        },
        (Value::List(list), Value::Int(..) | Value::Bool(_)) => at(&list.items, key).cloned(),
        (Value::Tuple(items), Value::Int(..) | Value::Bool(_)) => at(items, key).cloned(),
        (Value::Str(text), Value::Int(..) | Value::Bool(_)) => {
            let chars = counted::count(meter, text)?;
            meter.work(text.marks().len())?;
            index(key, chars).map(|index| {
                let start = text.byte_of(index);
                Value::Str(text.cut(start, text.byte_of(index + 1)))
            })
        }
        (Value::Range(start, _, step), Value::Int(..) | Value::Bool(_)) => {
            let count = value.range_len().unwrap_or(0);
            index(key, count).map(|index| Value::int(start + step * i64::try_from(index).unwrap_or(0)))
        }
        (Value::Namespace(_) | Value::Macro(_) | Value::Loop(_) | Value::Function(_), _) => None,
        _ => None,
    };
    if let Some(found) = found {
        return Ok(found);
    }
    match key {
        Value::Str(name) => Ok(object_attribute(meter, value, name.as_str())?.unwrap_or(Value::Undefined)),
        _ => Ok(Value::Undefined),
    }
}

fn at<'v>(items: &'v [Value], key: &Value) -> Option<&'v Value> {
    index(key, items.len()).and_then(|index| items.get(index))
}

/// A place among so many, also counted from the end; none outside.
fn index(key: &Value, count: usize) -> Option<usize> {
    let place = match key {
        Value::Int(place, _) => *place,
        Value::Bool(place) => i64::from(*place),
        _ => return None,
    };
    let count = i64::try_from(count).ok()?;
    let place = if place < 0 { place + count } else { place };
    usize::try_from(place).ok().filter(|_| place < count)
}

/// `value[start:stop:step]`
pub fn slice(meter: &Meter, value: &Value, parts: [Value; 3]) -> Eval<Value> {
    let whole = |part: &Value| match part {
        Value::None => Ok(None),
        Value::Int(i, _) => Ok(Some(*i)),
        Value::Bool(b) => Ok(Some(i64::from(*b))),
        _ => raise("slice indices must be integers or None or have an __index__ method"),
    };
    let [start, stop, step] = &parts;
    let count = match value {
        Value::Str(text) => counted::count(meter, text)?,
        Value::List(items) | Value::Tuple(items) => items.len(),
        Value::Range(..) => return lacks("a slice of a range"),
        _ => return raise(format!("'{}' object is not subscriptable", value.type_name())),
    };
    let (start, stop, step) = (whole(start)?, whole(stop)?, whole(step)?.unwrap_or(1));
    if step == 0 {
        return raise("slice step cannot be zero");
    }
    let places = Places::new(start, stop, step, count);
    let items = |items: &[Value]| {
        meter.work(places.count)?;
        meter.room_for(places.count)?;
        Ok(places.iter().map(|place| items[place].clone()).collect())
    };
    Ok(match value {
        Value::Str(text) if step == 1 => {
            meter.work(text.marks().len())?;
            let first = places.iter().next().unwrap_or(0);
            Value::Str(text.cut(text.byte_of(first), text.byte_of(first + places.count)))
        }
        Value::Str(text) => Value::Str(characters(meter, text, &places)?),
        Value::List(list) => Value::list(items(list)?),
        Value::Tuple(tuple_items) => tuple(items(tuple_items)?),
        _ => Value::Undefined,
    })
}

/// Characters of a text that do not stand beside each other.
fn characters(meter: &Meter, text: &Text, places: &Places) -> Eval<Text> {
    let own = text.as_str();
    meter.read(own.len())?;
    meter.work(places.count.saturating_mul(20 + text.marks().len()))?;
    meter.room_for(places.count)?;
    let starts: Vec<usize> = if own.is_ascii() {
        Vec::new()
    } else {
        meter.room(own.len().saturating_mul(2 * size_of::<usize>()))?;
        own.char_indices().map(|(start, _)| start).chain([own.len()]).collect()
    };
    let byte = |place: usize| starts.get(place).copied().unwrap_or(place);
    let characters: Vec<Text> = places.iter().map(|place| text.cut(byte(place), byte(place + 1))).collect();
    join(meter, &characters)
}

/// The places that Python's `slice.indices` goes through.
struct Places {
    start: i64,
    step: i64,
    count: usize,
}

impl Places {
    fn new(start: Option<i64>, stop: Option<i64>, step: i64, count: usize) -> Self {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let (low, high) = if step > 0 { (0, count) } else { (-1, count - 1) };
        let clamp = |place: i64| (if place < 0 { place.saturating_add(count) } else { place }).clamp(low, high);
        let start = start.map_or(if step > 0 { low } else { high }, clamp);
        let stop = stop.map_or(if step > 0 { high } else { low }, clamp);
        let span = if step > 0 { stop - start } else { start - stop };
        let count = if span <= 0 { 0 } else { (span - 1) / step.saturating_abs() + 1 };
        Self { start, step, count: usize::try_from(count).unwrap_or(0) }
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        let next = |place: &i64| Some(place.saturating_add(self.step));
        std::iter::successors(Some(self.start), next).take(self.count).flat_map(usize::try_from)
    }
}

/// `needle in value`
pub fn contains(meter: &Meter, value: &Value, needle: &Value) -> Eval<bool> {
    let any = |items: &[Value]| {
        for item in items {
            meter.work(1)?;
            if equal(meter, item, needle)? {
                return Ok(true);
            }
        }
        Ok(false)
    };
    match value {
        Value::Str(text) => {
            let Value::Str(needle) = needle else {
                return raise(format!("'in <string>' requires string as left operand, not {}", needle.type_name()));
            };
            meter.read(text.len())?;
            meter.read(needle.len())?;
            Ok(text.as_str().contains(needle.as_str()))
        }
        Value::View("items", dict) => match needle {
            Value::Tuple(pair) if pair.len() == 2 => {
                require_hashable(meter, &pair[0])?;
                dict.get(meter, &pair[0])?.map_or(Ok(false), |value| equal(meter, value, &pair[1]))
            }
            _ => Ok(false),
        },
        Value::Dict(dict) | Value::View("keys", dict) => {
            require_hashable(meter, needle)?;
            Ok(dict.get(meter, needle)?.is_some())
        }
        Value::List(items) | Value::Tuple(items) => any(items),
        Value::Generator(_) => lacks("`in` of a generator"),
        _ => any(&iterate(meter, value)?),
    }
}

/// What `for` goes through.
pub fn iterate(meter: &Meter, value: &Value) -> Eval<Vec<Value>> {
    if !matches!(value, Value::Str(_) | Value::Generator(_))
        && let Ok(count) = length(meter, value)
    {
        meter.work(count)?;
        meter.room_for(count)?;
    }
    Ok(match value {
        Value::Undefined => Vec::new(),
        Value::Str(text) => counted::chars(meter, text)?.into_iter().map(Value::Str).collect(),
        Value::List(items) | Value::Tuple(items) => items.to_vec(),
        Value::Dict(dict) => dict.keys(),
        Value::View(kind, dict) => dict.view(meter, kind)?,
        Value::Range(start, _, step) => {
            let count = value.range_len().unwrap_or(0);
            (0..count).map(|i| Value::int(start + step * i64::try_from(i).unwrap_or(0))).collect()
        }
        Value::Generator(generator) => {
            let items: Vec<Value> = generator.rest.borrow_mut().by_ref().collect();
            meter.work(items.len())?;
            if let Some(halt) = generator.end.borrow_mut().take() {
                return Err(halt);
            }
            items
        }
        Value::Loop(_) => return lacks("a loop over `loop`"),
        _ => return raise(format!("'{}' object is not iterable", value.type_name())),
    })
}

/// `len(value)`
pub fn length(meter: &Meter, value: &Value) -> Eval<usize> {
    Ok(match value {
        Value::Undefined => 0,
        Value::Str(text) => counted::count(meter, text)?,
        Value::List(items) | Value::Tuple(items) => items.len(),
        Value::Dict(dict) | Value::View(_, dict) => dict.entries.len(),
        Value::Range(..) => value.range_len().unwrap_or(0),
        Value::Loop(of) => of.items.len(),
        _ => return raise(format!("object of type '{}' has no len()", value.type_name())),
    })
}

impl Dict {
    /// Its keys, as a template gets them.
    pub fn keys(&self) -> Vec<Value> {
        self.entries.iter().map(|(key, _)| self.shown_key(key)).collect()
    }

    /// Its keys, values, or both.
    pub fn view(&self, meter: &Meter, kind: &str) -> Eval<Vec<Value>> {
        meter.work(self.entries.len())?;
        Ok(match kind {
            "keys" => self.keys(),
            "values" => self.entries.iter().map(|(_, value)| value.clone()).collect(),
            _ => {
                meter.spend(self.entries.len().saturating_mul(HEAD + size_of::<(Value, Value)>()))?;
                let pair = |(key, value): &(Value, Value)| tuple(vec![self.shown_key(key), value.clone()]);
                self.entries.iter().map(pair).collect()
            }
        })
    }
}

impl super::value::Loop {
    fn attribute(&self, name: &str) -> Option<Value> {
        let (index, count) = (self.index.get(), self.items.len());
        let neighbour =
            |place: Option<usize>| place.and_then(|p| self.items.get(p)).cloned().unwrap_or(Value::Undefined);
        Some(match name {
            "index" => Value::count(index + 1),
            "index0" => Value::count(index),
            "revindex" => Value::count(count - index),
            "revindex0" => Value::count(count - index - 1),
            "first" => Value::Bool(index == 0),
            "last" => Value::Bool(index + 1 == count),
            "length" => Value::count(count),
            "depth" => Value::count(self.depth + 1),
            "depth0" => Value::count(self.depth),
            "previtem" => neighbour(index.checked_sub(1)),
            "nextitem" => neighbour(Some(index + 1)),
            _ => return None,
        })
    }
}

/// Strings of any value that has them: a list's own items, as `str.join` takes them.
pub fn strings(values: &[Value]) -> Eval<Vec<Text>> {
    values
        .iter()
        .enumerate()
        .map(|(index, value)| match value {
            Value::Str(text) => Ok(text.clone()),
            _ => raise(format!("sequence item {index}: expected str instance, {} found", value.type_name())),
        })
        .collect()
}
