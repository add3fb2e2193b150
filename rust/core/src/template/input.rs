//! What a template is given: values of JSON's types, each with its place, so that a string knows where it is from.
//!
//! Made once for a render, of whatever holds the messages; shares its texts with that, and can go to another thread.

use std::rc::Rc;
use std::sync::Arc;

use super::operators::tuple;
use super::shared::Shared;
use super::string::{Origin, Text};
use super::value::{Dict, List, Value};
use crate::render::{PartType, Way};

/// A value of the input.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// `None`
    None,
    /// `True`, `False`
    Bool(bool),
    /// A whole number.
    Int(i64, Option<Origin>),
    /// Another number.
    Float(f64, Option<Origin>),
    /// A string.
    Str(Shared, Option<Origin>),
    /// A list.
    List(Vec<Input>, Option<Origin>),
    /// A tuple.
    Tuple(Vec<Input>),
    /// A dict; whether it is a whole message.
    Dict(Vec<(Input, Input)>, Option<Origin>, bool),
}

/// A step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// A key of a dict, or the name of a variable.
    Name(Arc<str>),
    /// A place in a list.
    Index(usize),
}

impl Key {
    /// The name, if it is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Index(_) => None,
        }
    }
}

/// Where a value stands.
#[derive(Clone, Debug)]
pub struct Place {
    /// What it is in.
    pub parent: Option<Origin>,
    /// As what; none for a whole message.
    pub key: Option<Key>,
    /// The message that it is in, or -1.
    pub message: i32,
    /// Its text, if it is one.
    pub text: Option<Shared>,
}

/// The places of all values that strings may come from, by number.
#[derive(Clone, Debug, Default)]
pub struct Places {
    places: Vec<Place>,
    /// The dicts that say of themselves that they are no text, by their `type`.
    parts: Vec<(Origin, PartType)>,
}

impl Places {
    /// Room for so many.
    pub fn with_capacity(count: usize) -> Self {
        Self { places: Vec::with_capacity(count), parts: Vec::new() }
    }

    /// One more.
    pub fn push(&mut self, place: Place) -> Option<Origin> {
        let origin = super::string::size(self.places.len());
        self.places.push(place);
        (origin < super::string::FIRST_DUMP).then_some(origin)
    }

    /// A place.
    pub fn get(&self, origin: Origin) -> Option<&Place> {
        self.places.get(origin as usize)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The keys on the way to a value, the first one first.
    pub fn path(&self, origin: Origin) -> Vec<&Key> {
        let mut path = Vec::new();
        let mut at = self.get(origin);
        while let Some(place) = at {
            path.extend(&place.key);
            at = place.parent.and_then(|parent| self.get(parent));
        }
        path.reverse();
        path
    }

    /// The first and the last key on the way to a value.
    pub fn ends(&self, origin: Origin) -> (Option<&Key>, Option<&Key>) {
        let (mut first, mut last) = (None, None);
        let mut at = self.get(origin);
        while let Some(place) = at {
            if let Some(key) = &place.key {
                last = last.or(Some(key));
                first = Some(key);
            }
            at = place.parent.and_then(|parent| self.get(parent));
        }
        (first, last)
    }

    /// A dict says what it is.
    pub fn is_part(&mut self, origin: Origin, part: PartType) {
        self.parts.push((origin, part));
    }

    /// The way to a value, as far as its kind depends on it.
    pub fn way(&self, origin: Origin) -> Way<'_> {
        let mut way = Way::default();
        let mut next = Some(origin);
        while let Some((origin, place)) = next.and_then(|origin| Some((origin, self.get(origin)?))) {
            if !self.parts.is_empty() {
                way.inside_of(self.parts.iter().find(|(own, _)| *own == origin).map(|(_, part)| *part));
            }
            if let Some(key) = &place.key {
                way.outwards(key.name());
            }
            next = place.parent;
        }
        way
    }

    /// Whether a value is the caller's data: all in messages, tools and documents, but a message's role that is one of
    /// `structural_roles`. Keywords are the template's own, as special tokens are.
    pub fn is_data(&self, origin: Origin, structural_roles: &[impl AsRef<str>]) -> bool {
        let Some(place) = self.get(origin) else { return false };
        if place.message < 0 {
            return matches!(self.ends(origin).0.and_then(Key::name), Some("tools" | "documents"));
        }
        let is_key = place.key.as_ref().and_then(Key::name) == Some("role");
        let is_role = || place.parent.and_then(|parent| self.get(parent)).is_some_and(|parent| parent.key.is_none());
        let is_known = |role: &str| structural_roles.iter().any(|known| known.as_ref() == role);
        !(is_key && is_role() && place.text.as_deref().is_some_and(is_known))
    }

    /// The message that an origin is in, or -1.
    pub fn message(&self, origin: Origin) -> i32 {
        self.get(origin).map_or(-1, |place| place.message)
    }
}

impl Input {
    /// Its place.
    pub const fn origin(&self) -> Option<Origin> {
        match self {
            Self::Int(_, origin)
            | Self::Float(_, origin)
            | Self::Str(_, origin)
            | Self::List(_, origin)
            | Self::Dict(_, origin, _) => *origin,
            _ => None,
        }
    }

    /// The value that a template computes with.
    pub fn value(&self, places: &Places) -> Value {
        match self {
            Self::None => Value::None,
            Self::Bool(b) => Value::Bool(*b),
            Self::Int(i, origin) => Value::Int(*i, *origin),
            Self::Float(f, origin) => Value::Float(*f, *origin),
            Self::Str(text, Some(origin)) => Value::Str(Text::field(text.clone(), *origin)),
            Self::Str(text, None) => Value::Str(Text::plain(text.clone())),
            Self::List(items, origin) => {
                let items = items.iter().map(|item| item.value(places)).collect();
                Value::List(Rc::new(List { items, origin: *origin }))
            }
            Self::Tuple(items) => tuple(items.iter().map(|item| item.value(places)).collect()),
            Self::Dict(entries, origin, is_message) => {
                let entries = entries.iter().map(|(key, value)| (key.value(places), value.value(places))).collect();
                let message = origin.filter(|_| *is_message).map(|origin| places.message(origin));
                Value::Dict(Rc::new(Dict { entries, origin: *origin, message }))
            }
        }
    }
}
