//! Python's rules of equality and order, and of what can be a key.

use std::cmp::Ordering;
use std::rc::Rc;

use super::value::Value;
use super::{Eval, lacks, raise};

/// A number.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// Whole.
    Int(i64),
    /// Any other.
    Float(f64),
}

impl Number {
    /// As a float.
    #[expect(clippy::cast_precision_loss, reason = "as Python's, but for numbers that no template has")]
    pub const fn float(self) -> f64 {
        match self {
            Self::Int(i) => i as f64,
            Self::Float(f) => f,
        }
    }

    /// Python's order of numbers.
    pub fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(&b)),
            _ => self.float().partial_cmp(&other.float()),
        }
    }
}

/// How deep values are compared; Python raises not much deeper.
pub const DEEPEST: usize = 300;

/// `a == b`
pub fn equal(a: &Value, b: &Value) -> bool {
    equal_at(a, b, 0)
}

fn equal_at(a: &Value, b: &Value, depth: usize) -> bool {
    if depth > DEEPEST {
        return false;
    }
    let equal = |a: &Value, b: &Value| equal_at(a, b, depth + 1);
    let all_equal = |a: &[Value], b: &[Value]| a.len() == b.len() && std::iter::zip(a, b).all(|(a, b)| equal(a, b));
    if let (Some(a), Some(b)) = (a.number(), b.number()) {
        return a.compare(b) == Some(Ordering::Equal);
    }
    match (a, b) {
        (Value::Undefined, Value::Undefined) | (Value::None, Value::None) => true,
        (Value::Str(a), Value::Str(b)) => a.as_str() == b.as_str(),
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => all_equal(a, b),
        (Value::Dict(a), Value::Dict(b)) => {
            a.entries.len() == b.entries.len()
                && a.entries.iter().all(|(key, value)| b.get(key).is_some_and(|other| equal(value, other)))
        }
        (Value::View("items", a), Value::View("items", b)) => {
            equal(&Value::Dict(Rc::clone(a)), &Value::Dict(Rc::clone(b)))
        }
        (Value::View("keys", a), Value::View("keys", b)) => {
            a.entries.len() == b.entries.len() && a.entries.iter().all(|(key, _)| b.get(key).is_some())
        }
        (Value::View("keys", a), Value::View("items", b)) | (Value::View("items", a), Value::View("keys", b)) => {
            a.entries.is_empty() && b.entries.is_empty()
        }
        (Value::Range(..), Value::Range(..)) => range_items(a) == range_items(b),
        (Value::Namespace(a), Value::Namespace(b)) => Rc::ptr_eq(a, b),
        (Value::Macro(a), Value::Macro(b)) => Rc::ptr_eq(a, b),
        (Value::Generator(a), Value::Generator(b)) => Rc::ptr_eq(a, b),
        (Value::Loop(a), Value::Loop(b)) => Rc::ptr_eq(a, b),
        (Value::Function(a), Value::Function(b)) => a == b,
        _ => false,
    }
}

fn range_items(range: &Value) -> Vec<i64> {
    let Value::Range(start, _, step) = *range else { return Vec::new() };
    let count = range.range_len().unwrap_or(0);
    (0..count).map(|i| start + step * i64::try_from(i).unwrap_or(0)).collect()
}

/// `a < b` and so on: how two values stand to each other; none where they do not (`nan`).
///
/// # Errors
/// They have no order.
pub fn order(a: &Value, b: &Value) -> Eval<Option<Ordering>> {
    if let (Some(a), Some(b)) = (a.number(), b.number()) {
        return Ok(a.compare(b));
    }
    let pairs: (&[Value], &[Value]) = match (a, b) {
        (Value::Str(a), Value::Str(b)) => return Ok(Some(a.as_str().cmp(b.as_str()))),
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => (a, b),
        (Value::View("keys" | "items", _), Value::View("keys" | "items", _)) => {
            return lacks("sets, of keys and items");
        }
        _ => return raise(format!("no order between {} and {}", a.type_name(), b.type_name())),
    };
    let different = std::iter::zip(pairs.0, pairs.1).find(|(a, b)| !equal(a, b));
    match different {
        Some((Value::List(_) | Value::Tuple(_), Value::List(_) | Value::Tuple(_))) => {
            lacks("the order of nested lists")
        }
        Some((a, b)) => order(a, b),
        None => Ok(Some(pairs.0.len().cmp(&pairs.1.len()))),
    }
}

/// Whether a value can be a key.
///
/// # Errors
/// It cannot.
pub fn require_hashable(key: &Value) -> Eval<()> {
    match key {
        Value::View("values", _) => lacks("values of a dict as a key"),
        Value::List(_) | Value::Dict(_) | Value::View(..) | Value::Namespace(_) => {
            raise(format!("unhashable type: '{}'", key.type_name()))
        }
        Value::Tuple(items) if items.iter().any(|item| matches!(item, Value::Tuple(_))) => {
            lacks("keys of nested tuples")
        }
        Value::Tuple(items) => items.iter().try_for_each(require_hashable),
        _ => Ok(()),
    }
}
