//! Python's rules of equality and order, and of what can be a key. What is compared is counted.

use std::cmp::Ordering;
use std::iter::{Zip, zip};
use std::rc::Rc;
use std::slice::Iter;

use super::limits::Meter;
use super::string::Text;
use super::value::{Dict, Value};
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

/// Texts that take longer to compare than a step.
const LONG: usize = 64;

/// Two values that are being compared.
enum Pair<'v> {
    /// It is known whether they are equal.
    Known(bool),
    /// Lists of one length: the pairs of items that are left.
    Items(Zip<Iter<'v, Value>, Iter<'v, Value>>),
    /// Dicts of one length: the entries of one that are left, and the other.
    Entries(Iter<'v, (Value, Value)>, &'v Dict),
}

/// `a == b`
///
/// # Errors
/// They are nested too deeply, or a bound is reached.
#[inline]
pub fn equal(meter: &Meter, a: &Value, b: &Value) -> Eval<bool> {
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => same_text(meter, a, b),
        (Value::Int(a, _), Value::Int(b, _)) => Ok(a == b),
        _ => match pair(meter, a, b)? {
            Pair::Known(found) => Ok(found),
            containers => all_equal(meter, containers),
        },
    }
}

/// Whether all in two containers is equal. Values may hold the same lists many times over: each time counts.
fn all_equal(meter: &Meter, containers: Pair<'_>) -> Eval<bool> {
    let mut open = vec![containers];
    while let Some(last) = open.last_mut() {
        let next = match last {
            Pair::Items(items) => items.next(),
            Pair::Entries(entries, other) => match entries.next() {
                Some((key, value)) => match other.get(meter, key)? {
                    Some(found) => Some((value, found)),
                    None => return Ok(false),
                },
                None => None,
            },
            Pair::Known(_) => None,
        };
        let Some((a, b)) = next else {
            open.pop();
            continue;
        };
        meter.work(8)?;
        match pair(meter, a, b)? {
            Pair::Known(true) => {}
            Pair::Known(false) => return Ok(false),
            _ if open.len() == DEEPEST => return lacks("comparing values nested so deeply"),
            inner => open.push(inner),
        }
    }
    Ok(true)
}

fn pair<'v>(meter: &Meter, a: &'v Value, b: &'v Value) -> Eval<Pair<'v>> {
    if let (Value::Str(a), Value::Str(b)) = (a, b) {
        return Ok(Pair::Known(same_text(meter, a, b)?));
    }
    if let (Some(a), Some(b)) = (a.number(), b.number()) {
        return Ok(Pair::Known(a.compare(b) == Some(Ordering::Equal)));
    }
    Ok(match (a, b) {
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => match a.len() == b.len() {
            // As in Python, a list equals itself whatever is in it.
            true if !Rc::ptr_eq(a, b) => Pair::Items(zip(a.iter(), b.iter())),
            same => Pair::Known(same),
        },
        (Value::Dict(a), Value::Dict(b)) => match a.entries.len() == b.entries.len() {
            true if !Rc::ptr_eq(a, b) => Pair::Entries(a.entries.iter(), b),
            same => Pair::Known(same),
        },
        (Value::View("items", a), Value::View("items", b)) => match a.entries.len() == b.entries.len() {
            true if !Rc::ptr_eq(a, b) => Pair::Entries(a.entries.iter(), b),
            same => Pair::Known(same),
        },
        (Value::View("keys", a), Value::View("keys", b)) => Pair::Known(same_keys(meter, a, b)?),
        _ => Pair::Known(match (a, b) {
            (Value::View("keys", a), Value::View("items", b)) | (Value::View("items", a), Value::View("keys", b)) => {
                a.entries.is_empty() && b.entries.is_empty()
            }
            (Value::Undefined, Value::Undefined) | (Value::None, Value::None) => true,
            (Value::Range(a_start, _, a_step), Value::Range(b_start, _, b_step)) => {
                let count = a.range_len();
                count == b.range_len()
                    && (count == Some(0) || (a_start == b_start && (count == Some(1) || a_step == b_step)))
            }
            (Value::Namespace(a), Value::Namespace(b)) => Rc::ptr_eq(a, b),
            (Value::Macro(a), Value::Macro(b)) => Rc::ptr_eq(a, b),
            (Value::Generator(a), Value::Generator(b)) => Rc::ptr_eq(a, b),
            (Value::Loop(a), Value::Loop(b)) => Rc::ptr_eq(a, b),
            (Value::Function(a), Value::Function(b)) => a == b,
            _ => false,
        }),
    })
}

fn same_keys(meter: &Meter, a: &Dict, b: &Dict) -> Eval<bool> {
    if a.entries.len() != b.entries.len() {
        return Ok(false);
    }
    for (key, _) in &a.entries {
        meter.work(1)?;
        if b.get(meter, key)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

#[inline]
fn same_text(meter: &Meter, a: &Text, b: &Text) -> Eval<bool> {
    if a.len() != b.len() {
        return Ok(false);
    }
    if a.len() >= LONG {
        meter.skim(a.len())?;
    }
    Ok(a.as_str() == b.as_str())
}

/// How two values stand to each other; none where they do not (`nan`).
pub type Order = Eval<Option<Ordering>>;

/// `a < b` and so on.
///
/// # Errors
/// They have no order, or a bound is reached.
pub fn order(meter: &Meter, a: &Value, b: &Value) -> Order {
    if let (Some(a), Some(b)) = (a.number(), b.number()) {
        return Ok(a.compare(b));
    }
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => {
            meter.skim(a.len().min(b.len()))?;
            Ok(Some(a.as_str().cmp(b.as_str())))
        }
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => order_of_items(meter, a, b),
        (Value::View("keys" | "items", _), Value::View("keys" | "items", _)) => lacks("sets, of keys and items"),
        _ => raise(format!("no order between {} and {}", a.type_name(), b.type_name())),
    }
}

/// As lists are ordered: what is equal needs no order.
pub fn order_of_items(meter: &Meter, a: &[Value], b: &[Value]) -> Order {
    for (a, b) in zip(a, b) {
        meter.work(1)?;
        if !equal(meter, a, b)? {
            return match (a, b) {
                (Value::List(_) | Value::Tuple(_), Value::List(_) | Value::Tuple(_)) => {
                    lacks("the order of nested lists")
                }
                _ => order(meter, a, b),
            };
        }
    }
    Ok(Some(a.len().cmp(&b.len())))
}

/// Items in the order of their keys, equal ones as they were.
///
/// # Errors
/// Keys have no order, or a bound is reached.
pub fn sorted<T: Clone>(
    meter: &Meter,
    items: &[(Value, T)],
    reverse: bool,
    order: impl Fn(&Value, &Value) -> Order,
) -> Eval<Vec<T>> {
    meter.room(items.len().saturating_mul(2 * size_of::<usize>() + size_of::<T>()))?;
    let is_behind = |a: usize, b: usize| {
        meter.work(6)?;
        match order(&items[a].0, &items[b].0)? {
            Some(found) => Ok(found == if reverse { Ordering::Less } else { Ordering::Greater }),
            None => lacks("the order of nan"),
        }
    };
    let places = merge_sorted((0..items.len()).collect(), is_behind)?;
    Ok(places.into_iter().map(|place| items[place].1.clone()).collect())
}

/// The standard library's sorts cannot end early.
fn merge_sorted(mut places: Vec<usize>, is_behind: impl Fn(usize, usize) -> Eval<bool>) -> Eval<Vec<usize>> {
    let mut width = 1;
    while width < places.len() {
        let mut merged = Vec::with_capacity(places.len());
        for pair in places.chunks(2 * width) {
            let (mut left, mut right) = pair.split_at(width.min(pair.len()));
            while let (Some(first), Some(second)) = (left.first(), right.first()) {
                let side = if is_behind(*first, *second)? { &mut right } else { &mut left };
                merged.extend(side.split_off_first());
            }
            merged.extend(left.iter().chain(right));
        }
        places = merged;
        width *= 2;
    }
    Ok(places)
}

/// Whether a value can be a key.
///
/// # Errors
/// It cannot.
pub fn require_hashable(meter: &Meter, key: &Value) -> Eval<()> {
    match key {
        Value::View("values", _) => lacks("values of a dict as a key"),
        Value::List(_) | Value::Dict(_) | Value::View(..) | Value::Namespace(_) => {
            raise(format!("unhashable type: '{}'", key.type_name()))
        }
        Value::Tuple(items) => {
            meter.work(items.len())?;
            if items.iter().any(|item| matches!(item, Value::Tuple(_))) {
                return lacks("keys of nested tuples");
            }
            items.iter().try_for_each(|item| require_hashable(meter, item))
        }
        _ => Ok(()),
    }
}
