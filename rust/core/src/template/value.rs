//! What templates compute with, and Python's rules of truth, equality and order.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::rc::Rc;
use std::sync::Arc;

use super::program::Macro;
use super::string::{Origin, Text};
use super::{Eval, raise};

/// A value.
#[derive(Clone, Debug)]
pub enum Value {
    /// What is not there.
    Undefined,
    /// `None`
    None,
    /// `True`, `False`
    Bool(bool),
    /// A whole number, and where it comes from.
    Int(i64, Option<Origin>),
    /// Another number, and where it comes from.
    Float(f64, Option<Origin>),
    /// A string.
    Str(Text),
    /// A list.
    List(Rc<List>),
    /// A tuple.
    Tuple(Rc<[Value]>),
    /// A dict.
    Dict(Rc<Dict>),
    /// `dict.keys()` and so on, of a dict that the template made.
    View(&'static str, Rc<Dict>),
    /// `range(…)`: start, stop, step.
    Range(i64, i64, i64),
    /// A generator, which is gone through once.
    Generator(Rc<Generator>),
    /// A namespace.
    Namespace(Rc<RefCell<Vec<(Arc<str>, Value)>>>),
    /// A macro.
    Macro(Rc<Closure>),
    /// The `loop` of a loop.
    Loop(Rc<Loop>),
    /// A method of a value.
    Method(Rc<Value>, &'static str),
    /// A function that every template has.
    Function(&'static str),
}

/// A list, and where it comes from.
#[derive(Debug, Default)]
pub struct List {
    /// Its items.
    pub items: Vec<Value>,
    /// The input's list that it is.
    pub origin: Option<Origin>,
}

/// A dict, and where it comes from.
#[derive(Debug, Default)]
pub struct Dict {
    /// In order.
    pub entries: Vec<(Value, Value)>,
    /// The input's dict that it is.
    pub origin: Option<Origin>,
    /// The message that it is.
    pub message: Option<i32>,
}

/// What a generator still has, and whether it raises at its end.
#[derive(Debug)]
pub struct Generator {
    /// What is left.
    pub rest: RefCell<std::vec::IntoIter<Value>>,
    /// What happens behind that.
    pub end: RefCell<Option<super::Halt>>,
}

/// A macro and what it was defined in.
#[derive(Debug)]
pub struct Closure {
    /// The macro.
    pub of: Arc<Macro>,
    /// Where it looks for names.
    pub scope: Rc<Scope>,
}

/// Variables, and where to look for others.
#[derive(Debug, Default)]
pub struct Scope {
    /// By number of their name.
    pub variables: RefCell<Vec<(u32, Value)>>,
    /// Around it.
    pub outer: Option<Rc<Scope>>,
}

impl Scope {
    /// One inside of another.
    pub fn inside(outer: &Rc<Self>) -> Rc<Self> {
        Rc::new(Self { variables: RefCell::default(), outer: Some(Rc::clone(outer)) })
    }

    /// The value of a name, if it has one.
    pub fn get(&self, name: u32) -> Option<Value> {
        let mut at = self;
        loop {
            if let Some((_, value)) = at.variables.borrow().iter().rev().find(|(own, _)| *own == name) {
                return Some(value.clone());
            }
            at = at.outer.as_deref()?;
        }
    }

    /// Gives a name a value here.
    pub fn set(&self, name: u32, value: Value) {
        let mut variables = self.variables.borrow_mut();
        match variables.iter_mut().find(|(own, _)| *own == name) {
            Some((_, own)) => *own = value,
            None => variables.push((name, value)),
        }
    }
}

/// Where a loop is.
#[derive(Debug)]
pub struct Loop {
    /// All that it goes through.
    pub items: Vec<Value>,
    /// From 0.
    pub index: Cell<usize>,
    /// How many loops it is called in, from 0.
    pub depth: usize,
    /// What `changed` was last told.
    pub changed: RefCell<Option<Vec<Value>>>,
}

impl Value {
    /// The template's own string.
    pub fn str(text: &str) -> Self {
        Self::Str(Text::plain(text))
    }

    /// A whole number of the template's own.
    pub const fn int(number: i64) -> Self {
        Self::Int(number, None)
    }

    /// How many, as a number.
    pub fn count(number: usize) -> Self {
        Self::int(i64::try_from(number).unwrap_or(i64::MAX))
    }

    /// A list of the template's own.
    pub fn list(items: Vec<Self>) -> Self {
        Self::List(Rc::new(List { items, origin: None }))
    }

    /// A generator over these.
    pub fn generator(items: Vec<Self>, end: Option<super::Halt>) -> Self {
        Self::Generator(Rc::new(Generator { rest: RefCell::new(items.into_iter()), end: RefCell::new(end) }))
    }

    /// What Python calls its type.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined => "Undefined",
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(..) => "int",
            Self::Float(..) => "float",
            Self::Str(_) => "str",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::View(..) => "dict view",
            Self::Range(..) => "range",
            Self::Generator(_) => "generator",
            Self::Namespace(_) => "Namespace",
            Self::Macro(_) => "Macro",
            Self::Loop(_) => "LoopContext",
            Self::Method(..) => "method",
            Self::Function(_) => "function",
        }
    }

    /// `bool(value)`
    pub fn truth(&self) -> bool {
        match self {
            Self::Undefined | Self::None => false,
            Self::Bool(b) => *b,
            Self::Int(i, _) => *i != 0,
            Self::Float(f, _) => *f != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::List(list) => !list.items.is_empty(),
            Self::Tuple(items) => !items.is_empty(),
            Self::Dict(dict) | Self::View(_, dict) => !dict.entries.is_empty(),
            Self::Range(..) => self.range_len() != Some(0),
            Self::Loop(of) => !of.items.is_empty(),
            _ => true,
        }
    }

    /// How many numbers a range has; none for what is no range.
    pub fn range_len(&self) -> Option<usize> {
        let Self::Range(start, stop, step) = *self else { return None };
        let (low, high, stride) = if step > 0 { (start, stop, step) } else { (stop, start, -step) };
        let span = high.checked_sub(low)?;
        if span <= 0 {
            return Some(0);
        }
        usize::try_from((span - 1) / stride + 1).ok()
    }

    /// Where it comes from, as far as the first string in it.
    pub fn origin(&self) -> Option<Origin> {
        match self {
            Self::Str(text) => text.origin(),
            Self::Int(_, origin) | Self::Float(_, origin) => *origin,
            Self::List(list) => list.origin.or_else(|| list.items.iter().find_map(Self::origin)),
            Self::Tuple(items) => items.iter().find_map(Self::origin),
            Self::Dict(dict) => dict.origin.or_else(|| dict.entries.iter().find_map(|(_, value)| value.origin())),
            _ => None,
        }
    }

    /// A number, as far as one is compared or counted with.
    pub const fn number(&self) -> Option<Number> {
        match self {
            Self::Bool(b) => Some(Number::Int(*b as i64)),
            Self::Int(i, _) => Some(Number::Int(*i)),
            Self::Float(f, _) => Some(Number::Float(*f)),
            _ => None,
        }
    }
}

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

/// `a == b`
pub fn equal(a: &Value, b: &Value) -> bool {
    if let (Some(a), Some(b)) = (a.number(), b.number()) {
        return a.compare(b) == Some(Ordering::Equal);
    }
    match (a, b) {
        (Value::Undefined, Value::Undefined) | (Value::None, Value::None) => true,
        (Value::Str(a), Value::Str(b)) => a.as_str() == b.as_str(),
        (Value::List(a), Value::List(b)) => all_equal(&a.items, &b.items),
        (Value::Tuple(a), Value::Tuple(b)) => all_equal(a, b),
        (Value::Dict(a), Value::Dict(b)) => {
            a.entries.len() == b.entries.len()
                && a.entries.iter().all(|(key, value)| b.get(key).is_some_and(|other| equal(value, other)))
        }
        (Value::Range(..), Value::Range(..)) => range_items(a) == range_items(b),
        (Value::Namespace(a), Value::Namespace(b)) => Rc::ptr_eq(a, b),
        (Value::Macro(a), Value::Macro(b)) => Rc::ptr_eq(a, b),
        (Value::Generator(a), Value::Generator(b)) => Rc::ptr_eq(a, b),
        (Value::Function(a), Value::Function(b)) => a == b,
        _ => false,
    }
}

fn range_items(range: &Value) -> Vec<i64> {
    let Value::Range(start, _, step) = *range else { return Vec::new() };
    let count = range.range_len().unwrap_or(0);
    (0..count).map(|i| start + step * i64::try_from(i).unwrap_or(0)).collect()
}

fn all_equal(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len() && std::iter::zip(a, b).all(|(a, b)| equal(a, b))
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
        (Value::List(a), Value::List(b)) => (&a.items, &b.items),
        (Value::Tuple(a), Value::Tuple(b)) => (a, b),
        _ => return raise(format!("no order between {} and {}", a.type_name(), b.type_name())),
    };
    for (a, b) in std::iter::zip(pairs.0, pairs.1) {
        if !equal(a, b) {
            return order(a, b);
        }
    }
    Ok(Some(pairs.0.len().cmp(&pairs.1.len())))
}

/// Whether a value can be a key.
///
/// # Errors
/// It cannot.
pub fn require_hashable(key: &Value) -> Eval<()> {
    match key {
        Value::List(_) | Value::Dict(_) | Value::View(..) | Value::Namespace(_) => {
            raise(format!("unhashable type: '{}'", key.type_name()))
        }
        Value::Tuple(items) => items.iter().try_for_each(require_hashable),
        _ => Ok(()),
    }
}

impl Dict {
    /// The value of a key.
    pub fn get(&self, key: &Value) -> Option<&Value> {
        if let Value::Str(text) = key {
            return self.get_str(text.as_str());
        }
        self.entries.iter().find(|(own, _)| equal(own, key)).map(|(_, value)| value)
    }

    /// The value of a name.
    pub fn get_str(&self, key: &str) -> Option<&Value> {
        let is = |own: &Value| matches!(own, Value::Str(text) if text.as_str() == key);
        self.entries.iter().find(|(own, _)| is(own)).map(|(_, value)| value)
    }

    /// Gives a key a value.
    pub fn set(&mut self, key: Value, value: Value) {
        match self.entries.iter_mut().find(|(own, _)| equal(own, &key)) {
            Some((_, own)) => *own = value,
            None => self.entries.push((key, value)),
        }
    }

    /// A key as a template gets it: one of the input's dict is derived from it.
    pub fn shown_key(&self, key: &Value) -> Value {
        match (key, self.origin) {
            (Value::Str(text), Some(origin)) => Value::Str(Text::derived_from(text.as_str(), Some(origin))),
            _ => key.clone(),
        }
    }
}
