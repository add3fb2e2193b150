//! `+`, `-`, `%` and so on, and comparisons.

use std::cmp::Ordering;
use std::rc::Rc;

use super::access::contains;
use super::counted::escape;
use super::joiner::{join, repeat};
use super::limits::Meter;
use super::order::{Number, equal, order};
use super::string::Text;
use super::value::{List, Value};
use super::{Eval, lacks, raise};

/// `a + b + …`
pub fn add(meter: &Meter, values: &[Value]) -> Eval<Value> {
    if let Some(texts) = plain_texts(values) {
        return Ok(Value::Str(join(meter, texts)?));
    }
    let mut values = values.iter();
    let first = values.next().cloned().unwrap_or(Value::Undefined);
    values.try_fold(first, |sum, value| add_two(meter, &sum, value))
}

/// The texts that values are, if they all are and none escapes what is added to it.
pub fn plain_texts(values: &[Value]) -> Option<Vec<&Text>> {
    let texts = values.iter().map(|value| match value {
        Value::Str(text) if !text.markup => Some(text),
        _ => None,
    });
    texts.collect()
}

fn add_two(meter: &Meter, a: &Value, b: &Value) -> Eval<Value> {
    let joined = |a: &[Value], b: &[Value]| {
        let count = a.len().saturating_add(b.len());
        meter.work(count)?;
        meter.room_for(count)?;
        Ok([a, b].concat())
    };
    match (a, b) {
        (Value::Str(a), Value::Str(b)) if a.markup => {
            Ok(Value::Str(join(meter, [a, &escape(meter, b)?])?.into_markup()))
        }
        (Value::Str(a), Value::Str(b)) if b.markup => {
            Ok(Value::Str(join(meter, [&escape(meter, a)?, b])?.into_markup()))
        }
        (Value::Str(a), Value::Str(b)) => Ok(Value::Str(join(meter, [a, b])?)),
        (Value::List(a), Value::List(b)) => Ok(Value::list(joined(a, b)?)),
        (Value::Tuple(a), Value::Tuple(b)) => Ok(tuple(joined(a, b)?)),
        _ => arithmetic("add", a, b),
    }
}

/// `a - b` and so on.
pub fn binary(meter: &Meter, operator: &'static str, a: &Value, b: &Value) -> Eval<Value> {
    match (operator, a, b) {
        ("mul", Value::Str(text), times) | ("mul", times, Value::Str(text)) if whole(times).is_some() => {
            Ok(Value::Str(repeat(meter, text, count(times))?))
        }
        ("mul", of @ (Value::List(list) | Value::Tuple(list)), times)
        | ("mul", times, of @ (Value::List(list) | Value::Tuple(list)))
            if whole(times).is_some() =>
        {
            // Nothing, as often as it may be, is nothing.
            let times = if list.is_empty() { 0 } else { count(times) };
            let items = list.len().saturating_mul(times);
            meter.work(items)?;
            meter.room_for(items)?;
            let items = std::iter::repeat_n(&list.items, times).flatten().cloned().collect();
            Ok(if matches!(of, Value::List(_)) { Value::list(items) } else { tuple(items) })
        }
        ("mod", Value::Str(_), _) => lacks("% of a string"),
        ("sub", Value::View("keys" | "items", _), _) | ("sub", _, Value::View("keys" | "items", _)) => {
            lacks("sets, of keys and items")
        }
        _ => arithmetic(operator, a, b),
    }
}

/// How often something is repeated.
fn count(times: &Value) -> usize {
    usize::try_from(whole(times).unwrap_or(0)).unwrap_or(0)
}

const fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Int(i, _) => Some(*i),
        Value::Bool(b) => Some(*b as i64),
        _ => None,
    }
}

fn arithmetic(operator: &str, a: &Value, b: &Value) -> Eval<Value> {
    let found = calculated(operator, a, b)?;
    Ok(found.from_origin(a.origin().or_else(|| b.origin())))
}

fn calculated(operator: &str, a: &Value, b: &Value) -> Eval<Value> {
    let (Some(x), Some(y)) = (a.number(), b.number()) else {
        return raise(format!("unsupported operand types for {operator}: {} and {}", a.type_name(), b.type_name()));
    };
    if let (Number::Int(x), Number::Int(y)) = (x, y) {
        if matches!(operator, "div" | "floordiv" | "mod") && y == 0 {
            return raise("division by zero");
        }
        let found = match operator {
            "add" => x.checked_add(y),
            "sub" => x.checked_sub(y),
            "mul" => x.checked_mul(y),
            "floordiv" => x.checked_div_euclid(y).map(|_| x.div_euclid(y)).map(|q| floor_fix(x, y, q)),
            "mod" => x.checked_rem(y).map(|r| if r != 0 && (r < 0) != (y < 0) { r + y } else { r }),
            "pow" if y >= 0 => u32::try_from(y).ok().and_then(|y| x.checked_pow(y)),
            "div" => return Ok(Value::Float(Number::Int(x).float() / Number::Int(y).float(), None)),
            _ => None,
        };
        return found.map_or_else(|| lacks("numbers of more than 64 bits"), |found| Ok(Value::int(found)));
    }
    let (x, y) = (x.float(), y.float());
    if matches!(operator, "div" | "floordiv" | "mod") && y == 0.0 {
        return raise("division by zero");
    }
    Ok(Value::Float(
        match operator {
            "add" => x + y,
            "sub" => x - y,
            "mul" => x * y,
            "div" => x / y,
            _ => return lacks(format!("{operator} of floats")),
        },
        None,
    ))
}

/// Python rounds down; `div_euclid` leaves a remainder that is not negative.
const fn floor_fix(x: i64, y: i64, euclid: i64) -> i64 {
    if y < 0 && x.rem_euclid(y) != 0 { euclid - 1 } else { euclid }
}

/// `-a`, `+a`
pub fn sign(value: &Value, negative: bool) -> Eval<Value> {
    let found = match value.number() {
        Some(Number::Int(i)) if negative => {
            i.checked_neg().map_or_else(|| lacks("numbers of more than 64 bits"), |i| Ok(Value::int(i)))
        }
        Some(Number::Int(i)) => Ok(Value::int(i)),
        Some(Number::Float(f)) => Ok(Value::Float(if negative { -f } else { f }, None)),
        None => raise(format!("bad operand type for unary: '{}'", value.type_name())),
    };
    Ok(found?.from_origin(value.origin()))
}

/// `a < b` and so on.
pub fn compare(meter: &Meter, operator: &str, a: &Value, b: &Value) -> Eval<bool> {
    match (a, b) {
        // These are equal where they are the same object, which is not known of them.
        (Value::Method(..), Value::Method(..)) => return lacks("whether methods are equal"),
        (Value::View("values", a), Value::View("values", b)) if Rc::ptr_eq(a, b) => {
            return lacks("whether values of a dict are equal");
        }
        _ => {}
    }
    Ok(match operator {
        "eq" => equal(meter, a, b)?,
        "ne" => !equal(meter, a, b)?,
        "in" => contains(meter, b, a)?,
        "notin" => !contains(meter, b, a)?,
        _ => {
            let found = order(meter, a, b)?;
            match operator {
                "lt" => found == Some(Ordering::Less),
                "lteq" => matches!(found, Some(Ordering::Less | Ordering::Equal)),
                "gt" => found == Some(Ordering::Greater),
                _ => matches!(found, Some(Ordering::Greater | Ordering::Equal)),
            }
        }
    })
}

/// A tuple of these.
pub fn tuple(items: Vec<Value>) -> Value {
    Value::Tuple(Rc::new(List { items, origin: None }))
}
