//! What templates compute with, and Python's rules of truth, equality and order.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::Eval;
use super::limits::Meter;
use super::order::{DEEPEST, Number, equal};
use super::program::Macro;
use super::scope::Scope;
use super::string::{Origin, Text};

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
    Tuple(Rc<List>),
    /// A dict.
    Dict(Rc<Dict>),
    /// `dict.keys()` and so on, of a dict that the template made.
    View(&'static str, Rc<Dict>),
    /// `range(…)`: start, stop, step.
    Range(i64, i64, i64),
    /// A generator, which is gone through once.
    Generator(Rc<Generator>),
    /// A namespace.
    Namespace(Rc<Namespace>),
    /// A macro.
    Macro(Rc<Closure>),
    /// The `loop` of a loop.
    Loop(Rc<Loop>),
    /// A method of a value.
    Method(Rc<Value>, &'static str),
    /// A function that every template has.
    Function(&'static str),
}

/// A list or a tuple, and where it comes from.
#[derive(Debug, Default)]
pub struct List {
    /// Its items.
    pub items: Vec<Value>,
    /// The input's list that it is.
    pub origin: Option<Origin>,
}

/// Attributes that a template may change.
#[derive(Debug, Default)]
pub struct Namespace(pub RefCell<Vec<(Arc<str>, Value)>>);

impl std::ops::Deref for List {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.items
    }
}

// A template may nest values as deep as it likes. They are dropped one behind the other, not inside of each other, which
// would take as much of the stack.
thread_local! {
    static GRAVES: RefCell<Option<Vec<Value>>> = const { RefCell::new(None) };
}

/// Drops values, one behind the other.
pub fn bury(values: impl IntoIterator<Item = Value>) {
    let mut values = values.into_iter().filter(Value::holds_others).peekable();
    if values.peek().is_none() {
        return;
    }
    let is_first = GRAVES.with_borrow_mut(|graves| {
        let is_first = graves.is_none();
        graves.get_or_insert_default().extend(values);
        is_first
    });
    if !is_first {
        return;
    }
    // What is buried meanwhile is dropped here, too.
    while GRAVES.with_borrow_mut(|graves| graves.as_mut().and_then(Vec::pop)).is_some() {}
    GRAVES.set(None);
}

impl Drop for List {
    fn drop(&mut self) {
        bury(std::mem::take(&mut self.items));
    }
}

impl Drop for Dict {
    fn drop(&mut self) {
        bury(std::mem::take(&mut self.entries).into_iter().flat_map(|(key, value)| [key, value]));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        bury(self.0.take().into_iter().map(|(_, value)| value));
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        bury(self.rest.take());
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        bury(std::mem::take(&mut self.items).into_iter().chain(self.changed.take().into_iter().flatten()));
    }
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

    /// A number that was made of others, and so comes from where they do.
    #[must_use]
    pub fn from_origin(self, origin: Option<Origin>) -> Self {
        match self {
            Self::Int(i, _) => Self::Int(i, origin),
            Self::Float(f, _) => Self::Float(f, origin),
            other => other,
        }
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

    /// Whether other values may be in it.
    const fn holds_others(&self) -> bool {
        !matches!(
            self,
            Self::Undefined
                | Self::None
                | Self::Bool(_)
                | Self::Int(..)
                | Self::Float(..)
                | Self::Str(_)
                | Self::Range(..)
        )
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
        self.origin_at(0)
    }

    fn origin_at(&self, depth: usize) -> Option<Origin> {
        if depth > DEEPEST {
            return None;
        }
        let inside = |value: &Self| value.origin_at(depth + 1);
        match self {
            Self::Str(text) => text.origin(),
            Self::Int(_, origin) | Self::Float(_, origin) => *origin,
            Self::List(list) | Self::Tuple(list) => list.origin.or_else(|| list.iter().find_map(inside)),
            Self::Dict(dict) => {
                let entry = |(key, value): &(Self, Self)| inside(key).or_else(|| inside(value));
                dict.origin.or_else(|| dict.entries.iter().find_map(entry))
            }
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

/// Keys that are looked through in a step, and bytes of one.
const MANY_KEYS: usize = 8;
const LONG_KEY: usize = 64;

impl Dict {
    /// The value of a key.
    pub fn get(&self, meter: &Meter, key: &Value) -> Eval<Option<&Value>> {
        Ok(self.place(meter, key)?.map(|place| &self.entries[place].1))
    }

    /// The value of a name.
    pub fn get_str(&self, meter: &Meter, key: &str) -> Eval<Option<&Value>> {
        Ok(self.place_of_name(meter, key)?.map(|place| &self.entries[place].1))
    }

    /// Gives a key a value.
    pub fn set(&mut self, meter: &Meter, key: Value, value: Value) -> Eval<()> {
        match self.place(meter, &key)? {
            Some(place) => self.entries[place].1 = value,
            None => self.entries.push((key, value)),
        }
        Ok(())
    }

    fn place(&self, meter: &Meter, key: &Value) -> Eval<Option<usize>> {
        if let Value::Str(key) = key {
            return self.place_of_name(meter, key.as_str());
        }
        meter.work(self.entries.len())?;
        for (place, (own, _)) in self.entries.iter().enumerate() {
            if equal(meter, own, key)? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    #[inline]
    fn place_of_name(&self, meter: &Meter, key: &str) -> Eval<Option<usize>> {
        let count = self.entries.len();
        // Looking for a key takes going through them.
        if count >= MANY_KEYS || key.len() >= LONG_KEY {
            meter.work((count / MANY_KEYS).saturating_add(count.saturating_mul(key.len() / LONG_KEY)))?;
        }
        let is = |own: &Value| matches!(own, Value::Str(text) if text.as_str() == key);
        Ok(self.entries.iter().position(|(own, _)| is(own)))
    }

    /// A key as a template gets it: one of the input's dict is derived from it.
    pub fn shown_key(&self, key: &Value) -> Value {
        match (key, self.origin) {
            (Value::Str(text), Some(origin)) => Value::Str(Text::derived_from(text.as_str(), Some(origin))),
            (_, Some(origin)) => key.clone().from_origin(Some(origin)),
            _ => key.clone(),
        }
    }
}
