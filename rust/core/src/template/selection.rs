//! Filters that choose and order items.

use std::cmp::Ordering;
use std::sync::Arc;

use super::access::{item, iterate};
use super::calls::Called;
use super::counted::in_case;
use super::filters::call;
use super::limits::{HEAD, Meter};
use super::machine::Machine;
use super::operators::tuple;
use super::order::{equal, order, order_of_items, require_hashable, sorted};
use super::string::Text;
use super::value::Value;
use super::{Eval, Halt, lacks, raise, tests};

/// What an attribute of a filter names: `a.b.0`.
pub fn by_attribute(meter: &Meter, value: &Value, attribute: &Value) -> Eval<Value> {
    match attribute {
        Value::Str(path) => path.as_str().split('.').try_fold(value.clone(), |value, part| {
            meter.work(10 + part.len() / 4)?;
            let key = part.parse::<i64>().ok().filter(|_| part.bytes().all(|b| b.is_ascii_digit()));
            item(meter, &value, &key.map_or_else(|| Value::str(part), Value::int))
        }),
        _ => item(meter, value, attribute),
    }
}

pub fn map(machine: &mut Machine<'_>, value: &Value, called: &Called) -> Eval<Value> {
    if !value.truth() {
        return Ok(Value::generator(Vec::new(), None));
    }
    if called.positional.is_empty() {
        called.names(&["attribute", "default"])?;
        let Some(attribute) = called.argument(9, "attribute") else { return lacks("map without a filter") };
        let default = called.argument(9, "default");
        let meter = &machine.meter;
        let get = |value: &Value| {
            let found = by_attribute(meter, value, attribute)?;
            Ok(match (found, default) {
                (Value::Undefined, Some(default)) => default.clone(),
                (found, _) => found,
            })
        };
        return lazily(iterate(meter, value)?, |value| get(value).map(Some));
    }
    let Value::Str(name) = &called.positional[0] else { return raise("map wants the name of a filter") };
    let name = Arc::<str>::from(name.as_str());
    let rest = Called { positional: called.positional[1..].to_vec(), named: called.named.clone() };
    lazily(iterate(&machine.meter, value)?, |value| call(machine, &name, value, &rest).map(Some))
}

/// A generator: what goes wrong goes wrong when it is reached.
fn lazily(values: Vec<Value>, mut make: impl FnMut(&Value) -> Eval<Option<Value>>) -> Eval<Value> {
    let mut found = Vec::with_capacity(values.len());
    for value in values {
        match make(&value) {
            Ok(made) => found.extend(made),
            Err(halt @ Halt::Raised(_)) => return Ok(Value::generator(found, Some(halt))),
            Err(halt) => return Err(halt),
        }
    }
    Ok(Value::generator(found, None))
}

pub fn select(machine: &mut Machine<'_>, name: &str, value: &Value, called: &Called) -> Eval<Value> {
    if !value.truth() {
        return Ok(Value::generator(Vec::new(), None));
    }
    let wanted = name.starts_with("select");
    let mut arguments = called.positional.iter().cloned();
    let attribute = if name.ends_with("attr") {
        match arguments.next() {
            Some(attribute) => Some(attribute),
            None => return raise("Missing parameter for attribute name"),
        }
    } else {
        None
    };
    let test = match arguments.next() {
        None => None,
        Some(Value::Str(test)) => Some(Arc::<str>::from(test.as_str())),
        Some(_) => return raise("a test is named by a string"),
    };
    let rest = Called { positional: arguments.collect(), named: called.named.clone() };
    lazily(iterate(&machine.meter, value)?, |value| {
        let tested = match &attribute {
            Some(attribute) => by_attribute(&machine.meter, value, attribute)?,
            None => value.clone(),
        };
        let passes = match &test {
            Some(test) => tests::call(machine, test, &tested, &rest)?,
            None => tested.truth(),
        };
        Ok((passes == wanted).then(|| value.clone()))
    })
}

/// How Jinja sorts without regard to case.
fn sort_key(machine: &Machine<'_>, value: &Value, case_sensitive: bool) -> Eval<Value> {
    match value {
        Value::Str(text) if !case_sensitive => {
            machine.meter.spend(HEAD + text.len())?;
            Ok(Value::Str(in_case(machine, &Text::plain(text.as_str()), "lower")?))
        }
        _ => Ok(value.clone()),
    }
}

pub fn dictsort(machine: &Machine<'_>, value: &Value, called: &Called) -> Eval<Value> {
    called.names(&["case_sensitive", "by", "reverse"])?;
    let case_sensitive = called.argument(0, "case_sensitive").is_some_and(Value::truth);
    let reverse = called.argument(2, "reverse").is_some_and(Value::truth);
    let by_value = match called.argument(1, "by") {
        None => false,
        Some(Value::Str(by)) if by.as_str() == "key" => false,
        Some(Value::Str(by)) if by.as_str() == "value" => true,
        Some(_) => return raise("You can only sort by either \"key\" or \"value\""),
    };
    let Value::Dict(dict) = value else { return raise("dictsort wants a dict") };
    let meter = &machine.meter;
    meter.room_for(dict.entries.len().saturating_mul(4))?;
    let keyed = dict
        .entries
        .iter()
        .map(|(key, value)| {
            let sorted_by = sort_key(machine, if by_value { value } else { key }, case_sensitive)?;
            meter.spend(HEAD + size_of::<(Value, Value)>())?;
            Ok((sorted_by, tuple(vec![dict.shown_key(key), value.clone()])))
        })
        .collect::<Eval<Vec<_>>>()?;
    Ok(Value::list(sorted(meter, &keyed, reverse, |a, b| order(meter, a, b))?))
}

pub fn sort(machine: &Machine<'_>, value: &Value, called: &Called) -> Eval<Value> {
    called.names(&["reverse", "case_sensitive", "attribute"])?;
    let reverse = called.argument(0, "reverse").is_some_and(Value::truth);
    let case_sensitive = called.argument(1, "case_sensitive").is_some_and(Value::truth);
    let attribute = match called.argument(2, "attribute") {
        None | Some(Value::None) => None,
        Some(Value::Str(path)) if path.as_str().contains(',') => return lacks("sort by several attributes"),
        Some(attribute) => Some(attribute),
    };
    let meter = &machine.meter;
    let values = iterate(meter, value)?;
    meter.room_for(values.len().saturating_mul(4))?;
    let keyed = values
        .into_iter()
        .map(|value| {
            let by = attribute.map_or_else(|| Ok(value.clone()), |attribute| by_attribute(meter, &value, attribute))?;
            Ok((sort_key(machine, &by, case_sensitive)?, value))
        })
        .collect::<Eval<Vec<_>>>()?;
    // Jinja compares lists of attributes, in which what is equal needs no order.
    let by_items = |a: &Value, b: &Value| order_of_items(meter, std::slice::from_ref(a), std::slice::from_ref(b));
    Ok(Value::list(sorted(meter, &keyed, reverse, by_items)?))
}

pub fn unique(machine: &Machine<'_>, value: &Value, called: &Called) -> Eval<Value> {
    called.names(&["case_sensitive", "attribute"])?;
    let case_sensitive = called.argument(0, "case_sensitive").is_some_and(Value::truth);
    let attribute = called.argument(1, "attribute").filter(|attribute| !matches!(attribute, Value::None));
    let mut seen: Vec<Value> = Vec::new();
    let meter = &machine.meter;
    lazily(iterate(meter, value)?, |value| {
        let by = attribute.map_or_else(|| Ok(value.clone()), |attribute| by_attribute(meter, value, attribute))?;
        let key = sort_key(machine, &by, case_sensitive)?;
        require_hashable(meter, &key)?;
        meter.work(seen.len())?;
        for other in &seen {
            if equal(meter, other, &key)? {
                return Ok(None);
            }
        }
        seen.push(key);
        Ok(Some(value.clone()))
    })
}

pub fn extreme(machine: &Machine<'_>, values: &[Value], most: bool) -> Eval<Value> {
    let mut best: Option<(Value, &Value)> = None;
    for value in values {
        machine.meter.work(4)?;
        let key = sort_key(machine, value, false)?;
        let better = match &best {
            None => true,
            Some((other, _)) => {
                order(&machine.meter, &key, other)? == Some(if most { Ordering::Greater } else { Ordering::Less })
            }
        };
        if better {
            best = Some((key, value));
        }
    }
    Ok(best.map_or(Value::Undefined, |(_, value)| value.clone()))
}
